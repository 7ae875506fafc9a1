"""
An OpenID provider on a loopback port that answers as it is told, also wrongly.

Left alone it is a correct one: discovery, authorization endpoint (everybody is
signed in at once), token endpoint with PKCE and client authentication, key set
and userinfo. A test changes one thing, then looks at what was asked of it.

    async with FakeOp() as op:
        op.claims["aud"] = "somebody-else"        # an overlay; DROP removes
        fields = op.answer(redirect)              # what the browser would bring back
        op.instead["jwks"] = hang                 # or a handler of one's own
        assert op.asked["token"] == 1
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import secrets
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from html import escape
from typing import Any, Self
from urllib.parse import parse_qsl, unquote_plus, urlencode, urlsplit

import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import get_default_algorithms

#: In an overlay: without this member.
DROP = object()

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@functools.cache
def rsa_private_key(number: int = 1, bits: int = 2048, exponent: int = 65537) -> rsa.RSAPrivateKey:
    """The same key for the same arguments: making them is slow."""
    return rsa.generate_private_key(exponent, bits)


@functools.cache
def ec_private_key(number: int = 1, curve: type[ec.EllipticCurve] = ec.SECP256R1) -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(curve())


@functools.cache
def ed_private_key(number: int = 1) -> ed25519.Ed25519PrivateKey:
    return ed25519.Ed25519PrivateKey.generate()


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key with the name and algorithm under which it signs."""

    private: Any = field(default_factory=rsa_private_key)
    kid: str | None = "key-1"
    algorithm: str = "RS256"

    def jwk(self, **overlay: Any) -> dict[str, Any]:
        """The public half, as it is published."""
        public = json.loads(get_default_algorithms()[self.algorithm].to_jwk(self.private.public_key()))
        public.pop("key_ops", None)
        return overlaid({**public, "use": "sig", "alg": self.algorithm, "kid": self.kid or DROP}, overlay)

    def signature(self, signing_input: bytes, algorithm: str | None = None) -> bytes:
        return get_default_algorithms()[algorithm or self.algorithm].sign(signing_input, self.private)


def overlaid(members: Mapping[str, Any], overlay: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in {**members, **overlay}.items() if value is not DROP}


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _base64url_decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def left_half(value: str, algorithm: str = "RS256") -> str:
    """What `at_hash` and `c_hash` carry in a token that is signed with this algorithm."""
    found = hashlib.new("sha512" if algorithm == "EdDSA" else f"sha{algorithm[2:]}", value.encode()).digest()
    return base64url(found[: len(found) // 2])


def signed(header: Mapping[str, Any], claims: Mapping[str, Any] | bytes, key: SigningKey) -> str:
    """A compact JWS with exactly this header and payload, whatever they say."""
    payload = claims if isinstance(claims, bytes) else json.dumps(claims).encode()
    signing_input = f"{base64url(json.dumps(header).encode())}.{base64url(payload)}"
    return f"{signing_input}.{base64url(key.signature(signing_input.encode()))}"


@dataclass(slots=True)
class _Grant:
    query: dict[str, str]
    is_used: bool = False


class FakeOp:
    """One provider with one client. `now` is its clock."""

    def __init__(
        self, client_id: str = "app", client_secret: str | None = "s3cret", now: Callable[[], float] = time.time
    ) -> None:
        self.client_id = client_id
        self.client_secret = client_secret
        #: The client's public key: then only assertions of its private one prove who it is.
        self.client_key: Any = None
        self.client_assertions: list[tuple[dict[str, Any], dict[str, Any]]] = []
        self.now = now
        self.issuer = ""
        self.signing_key = SigningKey()
        #: What is published; None means the one signing key.
        self.published: list[dict[str, Any]] | None = None
        self.person: dict[str, Any] = {
            "sub": "248289761001",
            "preferred_username": "alice",
            "email": "alice@example.com",
            "email_verified": True,
            "name": "Alice Liddell",
            "groups": ["staff", "platform-eng"],
        }
        # Overlays on what would be said.
        self.discovery: dict[str, Any] = {}
        self.header: dict[str, Any] = {}
        self.claims: dict[str, Any] = {}
        self.token_response: dict[str, Any] = {}
        self.userinfo: dict[str, Any] = {}
        self.answer_fields: dict[str, Any] = {}
        #: Makes the ID token of header and claims instead of signing them.
        self.forge: Callable[[dict[str, Any], dict[str, Any]], str] | None = None
        #: Makes a signed userinfo answer of header and claims.
        self.userinfo_forge: Callable[[dict[str, Any], dict[str, Any]], str] | None = None
        #: Whole answers, by endpoint: discovery, par, jwks, token, userinfo, graph.
        self.instead: dict[str, Handler] = {}
        #: How often each endpoint was asked, and what arrived at the token endpoint.
        self.asked: Counter[str] = Counter()
        #: Awaited before the token endpoint answers.
        self.before_token: Callable[[], Awaitable[Any]] | None = None
        self.token_requests: list[tuple[dict[str, str], dict[str, str]]] = []
        #: The pages of groups that are kept elsewhere, and what arrived there.
        self.group_pages: list[Any] = [["g-1", "g-2"]]
        self.group_requests: list[tuple[str, str, str]] = []
        self.push_requests: list[dict[str, str]] = []
        self.push_response: dict[str, Any] = {}
        self.userinfo_headers: list[dict[str, str]] = []
        #: Refresh tokens are given when this is on, each good for one use; what was used.
        self.rotates = False
        self.session_id = "sid-1"
        self.logged_out: list[dict[str, str]] = []
        self.revoked: list[str] = []
        self._refresh: dict[str, _Grant] = {}
        self._grants: dict[str, _Grant] = {}
        self._pushed: dict[str, dict[str, str]] = {}
        self._runner: web.AppRunner | None = None
        self._port = 0

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def open(self) -> None:
        """Start listening; again on the same port after `close`."""
        app = web.Application()
        app.router.add_get("/.well-known/openid-configuration", self._endpoint("discovery", self._discovery))
        app.router.add_get("/authorize", self._endpoint("authorize", self._authorize))
        app.router.add_get("/jwks", self._endpoint("jwks", self._jwks))
        app.router.add_post("/par", self._endpoint("par", self._par))
        app.router.add_post("/token", self._endpoint("token", self._token))
        app.router.add_post("/revoke", self._endpoint("revoke", self._revoke))
        app.router.add_get("/end", self._endpoint("end", self._end))
        app.router.add_get("/userinfo", self._endpoint("userinfo", self._userinfo))
        app.router.add_route("*", "/graph/{tail:.*}", self._endpoint("graph", self._graph))
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self._port, reuse_address=True)
        await site.start()
        self._port = self._runner.addresses[0][1]
        self.issuer = f"http://127.0.0.1:{self._port}"

    async def close(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def answer(self, redirect: str) -> dict[str, str]:
        """Sign somebody in at the authorization endpoint: the fields that the browser brings back."""
        query = dict(parse_qsl(urlsplit(redirect).query, strict_parsing=True))
        if "request_uri" in query:
            # RFC 9126 4: for the client that pushed it, once, and nothing beside it counts.
            assert set(query) == {"client_id", "request_uri"}
            query = self._pushed.pop(query["request_uri"])
        code = secrets.token_urlsafe(24)
        self._grants[code] = _Grant(query)
        fields = {"code": code, "state": query["state"]}
        if self.discovery.get("authorization_response_iss_parameter_supported"):
            fields["iss"] = self.issuer
        return overlaid(fields, self.answer_fields)

    def description(self) -> dict[str, Any]:
        return overlaid(
            {
                "issuer": self.issuer,
                "authorization_endpoint": f"{self.issuer}/authorize",
                "token_endpoint": f"{self.issuer}/token",
                "jwks_uri": f"{self.issuer}/jwks",
                "userinfo_endpoint": f"{self.issuer}/userinfo",
                "end_session_endpoint": f"{self.issuer}/end",
                "revocation_endpoint": f"{self.issuer}/revoke",
                "response_types_supported": ["code"],
                "id_token_signing_alg_values_supported": ["RS256"],
                "code_challenge_methods_supported": ["S256"],
            },
            self.discovery,
        )

    def id_token(self, **bound: str) -> str:
        """The ID token of a login or a renewal, as the overlays have it."""
        now = int(self.now())
        key = self.signing_key
        header = overlaid({"alg": key.algorithm, "typ": "JWT", "kid": key.kid or DROP}, self.header)
        claims = {"iss": self.issuer, "aud": self.client_id, "iat": now, "exp": now + 300}
        claims = overlaid({**claims, **bound, **self.person}, self.claims)
        if self.forge is not None:
            return self.forge(header, claims)
        return signed(header, claims, key)

    def access_token(
        self, header: Mapping[str, Any] | None = None, key: SigningKey | None = None, **overlay: Any
    ) -> str:
        """A token of a program, as RFC 9068 has it, for whoever `aud` names."""
        now, key = int(self.now()), key or self.signing_key
        claims = {
            "iss": self.issuer,
            "aud": "https://api.example.com",
            "sub": "service-7",
            "azp": "nightly",
            "groups": ["ops"],
            "iat": now,
            "exp": now + 300,
        }
        head = overlaid({"alg": key.algorithm, "typ": "at+jwt", "kid": key.kid or DROP}, header or {})
        return signed(head, overlaid(claims, overlay), key)

    def _endpoint(self, name: str, handler: Handler) -> Handler:
        async def counted(request: web.Request) -> web.StreamResponse:
            self.asked[name] += 1
            return await self.instead.get(name, handler)(request)

        return counted

    async def _discovery(self, _: web.Request) -> web.StreamResponse:
        return web.json_response(self.description())

    async def _jwks(self, _: web.Request) -> web.StreamResponse:
        return web.json_response({"keys": [self.signing_key.jwk()] if self.published is None else self.published})

    async def _authorize(self, request: web.Request) -> web.StreamResponse:
        asked = self._pushed.get(request.query.get("request_uri", ""), dict(request.query))
        fields = self.answer(str(request.url))
        if asked.get("response_mode") == "form_post":
            return web.Response(text=_self_submitting(asked["redirect_uri"], fields), content_type="text/html")
        raise web.HTTPFound(asked["redirect_uri"] + "?" + urlencode(fields))

    async def _par(self, request: web.Request) -> web.StreamResponse:
        form = dict(parse_qsl(await request.text(), strict_parsing=True))
        self.push_requests.append(form)
        if not self._is_client(request, form):
            return web.json_response({"error": "invalid_client"}, status=401)
        request_uri = f"urn:ietf:params:oauth:request_uri:{secrets.token_urlsafe(12)}"
        self._pushed[request_uri] = {k: v for k, v in form.items() if not k.startswith("client_") or k == "client_id"}
        response = {"request_uri": request_uri, "expires_in": 60}
        return web.json_response(overlaid(response, self.push_response), status=201)

    async def _token(self, request: web.Request) -> web.StreamResponse:
        if self.before_token is not None:
            await self.before_token()
        form = dict(parse_qsl(await request.text(), strict_parsing=True))
        self.token_requests.append((form, dict(request.headers)))
        if not self._is_client(request, form):
            return web.json_response({"error": "invalid_client"}, status=401)
        is_refresh = form.get("grant_type") == "refresh_token"
        known = self._refresh if is_refresh else self._grants
        grant = known.get(form.get("refresh_token" if is_refresh else "code", ""))
        if grant is None or grant.is_used or (not is_refresh and not _fits(grant.query, form)):
            return web.json_response({"error": "invalid_grant", "error_description": "no such grant"}, status=400)
        grant.is_used = True
        access_token = secrets.token_urlsafe(24)
        nonce = {} if is_refresh else {"nonce": grant.query["nonce"]}
        bound = {"at_hash": left_half(access_token, self.signing_key.algorithm), **nonce}
        response = {
            "access_token": access_token,
            "token_type": "Bearer",
            "expires_in": 300,
            "id_token": self.id_token(**bound, **({"sid": self.session_id} if self.rotates else {})),
        }
        if self.rotates:
            response["refresh_token"] = secrets.token_urlsafe(24)
            self._refresh[response["refresh_token"]] = _Grant(grant.query)
        return web.json_response(overlaid(response, self.token_response))

    async def _revoke(self, request: web.Request) -> web.StreamResponse:
        form = dict(parse_qsl(await request.text(), strict_parsing=True))
        if not self._is_client(request, form):
            return web.json_response({"error": "invalid_client"}, status=401)
        self.revoked.append(form["token"])
        return web.Response()

    async def _end(self, request: web.Request) -> web.StreamResponse:
        """RP-Initiated Logout 1.0: ends at once, and sends the browser back."""
        self.logged_out.append(dict(request.query))
        raise web.HTTPFound(request.query["post_logout_redirect_uri"])

    def logout_token(self, header: Mapping[str, Any] | None = None, **overlay: Any) -> str:
        """A logout token of the session there, as the overlays have it."""
        now = int(self.now())
        claims = {
            "iss": self.issuer,
            "aud": self.client_id,
            "iat": now,
            "exp": now + 120,
            "jti": secrets.token_urlsafe(8),
            "sid": self.session_id,
            "sub": self.person["sub"],
            "events": {"http://schemas.openid.net/event/backchannel-logout": {}},
        }
        key = self.signing_key
        head = overlaid({"alg": key.algorithm, "typ": "logout+jwt", "kid": key.kid or DROP}, header or {})
        return signed(head, overlaid(claims, overlay), key)

    def _is_client(self, request: web.Request, form: Mapping[str, str]) -> bool:
        if self.client_key is not None:
            return "client_secret" not in form and self._is_asserted(form)
        scheme, _, credentials = request.headers.get("Authorization", "").partition(" ")
        if scheme == "Basic":
            found = tuple(map(unquote_plus, base64.b64decode(credentials).decode().split(":")))
            return "client_secret" not in form and found == (self.client_id, self.client_secret)
        return (form.get("client_id"), form.get("client_secret")) == (self.client_id, self.client_secret)

    def _is_asserted(self, form: Mapping[str, str]) -> bool:
        """RFC 7523 3, strictly: for this issuer alone, by the registered key, short-lived and new."""
        if form.get("client_assertion_type") != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer":
            return False
        head, claims = (json.loads(_base64url_decoded(part)) for part in form["client_assertion"].split(".")[:2])
        jwt.decode_complete(
            form["client_assertion"],
            self.client_key,
            algorithms=["RS256", "PS256", "ES256"],
            options={"verify_signature": True, "verify_exp": False, "verify_iat": False, "verify_aud": False},
        )
        is_new = claims["jti"] not in [earlier["jti"] for _, earlier in self.client_assertions]
        self.client_assertions.append((head, claims))
        return (
            is_new
            and claims["iss"] == claims["sub"] == form.get("client_id") == self.client_id
            and claims["aud"] == self.issuer
            and self.now() < claims["exp"] <= self.now() + 60
        )

    def refer_to_groups(self, path: str = "/graph/users/1/getMemberObjects") -> None:
        """The ID token has a reference instead of groups, as Entra ID makes it."""
        self.claims.update(groups=DROP, _claim_names={"groups": "src1"})
        self.claims["_claim_sources"] = {"src1": {"endpoint": path if "://" in path else self.issuer + path}}
        self.userinfo["groups"] = DROP

    async def _graph(self, request: web.Request) -> web.StreamResponse:
        self.group_requests.append((request.method, request.headers["Authorization"], await request.text()))
        number = int(request.query.get("$skiptoken", "0"))
        address = f"{self.issuer}{request.path}?$skiptoken={number + 1}"
        following = {"@odata.nextLink": address} if number + 1 < len(self.group_pages) else {}
        return web.json_response({"value": self.group_pages[number], **following})

    async def _userinfo(self, request: web.Request) -> web.StreamResponse:
        self.userinfo_headers.append(dict(request.headers))
        if self.userinfo_forge is None:
            return web.json_response(overlaid(self.person, self.userinfo))
        header = overlaid({"alg": self.signing_key.algorithm, "kid": self.signing_key.kid or DROP}, self.header)
        claims = overlaid({"iss": self.issuer, "aud": self.client_id, **self.person}, self.userinfo)
        return web.Response(text=self.userinfo_forge(header, claims), content_type="application/jwt")


def _self_submitting(action: str, fields: Mapping[str, str]) -> str:
    """OAuth 2.0 Form Post Response Mode, appendix A."""
    inputs = "".join(f'<input type="hidden" name="{name}" value="{escape(value)}">' for name, value in fields.items())
    return f'<body onload="document.forms[0].submit()"><form method="post" action="{escape(action)}">{inputs}</form>'


def _fits(query: Mapping[str, str], form: Mapping[str, str]) -> bool:
    challenge = base64url(hashlib.sha256(form.get("code_verifier", "").encode()).digest())
    return (
        form.get("grant_type") == "authorization_code"
        and form.get("redirect_uri") == query["redirect_uri"]
        and (query.get("code_challenge"), query.get("code_challenge_method")) == (challenge, "S256")
    )
