"""
The demo identity provider: SAML 2.0 and OpenID Connect for one service, on loopback.

This is its HTTP side. A login waits in the address of its own form, which is
posted back to where it came from and judged again; so tabs do not disturb each
other, and nothing is kept for visitors who leave. What the protocols ask is
decided in oidc.py and saml.py, who people are in users.py.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Awaitable, Callable, Mapping

from aiohttp import web

from passproxy.demo.assertions import KeyPair, key_pair
from passproxy.demo.authorization import Client
from passproxy.demo.loopback import LoopbackServer, is_loopback_authority
from passproxy.demo.oidc import OpenIdProvider
from passproxy.demo.refusals import Answerable, GrantRefused, Refused, Unanswerable, single
from passproxy.demo.rendering import page
from passproxy.demo.saml import SamlProvider, ServiceProvider
from passproxy.demo.sessions import COOKIE_NAME, LIFETIME_SECONDS, Sessions, SignIn
from passproxy.demo.users import USERS, user_with

#: Everything is below this path, and so is the cookie: the other servers of a demo
#: share the host name, but do not get to see it.
PREFIX = "/idp"

#: A token request has a few hundred bytes, a sign-in form fewer.
FORM_LIMIT_BYTES = 16 * 1024

OIDC_PATHS = {
    "authorization_endpoint": "/oidc/authorize",
    "token_endpoint": "/oidc/token",
    "userinfo_endpoint": "/oidc/userinfo",
    "jwks_uri": "/oidc/jwks.json",
    "end_session_endpoint": "/oidc/logout",
}
SAML_METADATA_PATH = "/saml/metadata"
SAML_SSO_PATH = "/saml/sso"

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class DemoIdentityProvider(LoopbackServer):
    """
    Knows one service, PassProxy at `application_origin` (such as `http://127.0.0.1:8080`).

    `issuer`, `metadata_url`, `client_id` and `client_secret` are what its
    configuration needs; the first two are known from `start()` on. Unless `keys`
    are given, a fresh pair signs for both protocols.
    """

    client_id = "passproxy-demo"

    def __init__(
        self,
        application_origin: str,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        keys: KeyPair | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(host, port)
        self.client_secret = secrets.token_urlsafe(32)
        self._application = application_origin.rstrip("/")
        self._clock = clock
        self._keys = keys or key_pair("PassProxy demo identity provider", clock())

    @property
    def issuer(self) -> str:
        return self.base_url + PREFIX

    @property
    def metadata_url(self) -> str:
        """Of the SAML metadata; it is the entity id as well."""
        return self.issuer + SAML_METADATA_PATH

    def build(self, base_url: str) -> web.Application:
        reserved = f"{self._application}/.passproxy"
        issuer = base_url + PREFIX
        client = Client(self.client_id, self.client_secret, f"{reserved}/oidc/callback", f"{reserved}/logged-out")
        service_provider = ServiceProvider(f"{reserved}/saml/metadata", f"{reserved}/saml/acs")
        entity_id, sso_url = issuer + SAML_METADATA_PATH, issuer + SAML_SSO_PATH
        oidc = OpenIdProvider(issuer, client, OIDC_PATHS, self._keys, self._clock)
        saml = SamlProvider(entity_id, sso_url, service_provider, self._keys, self._clock)
        return _Endpoints(oidc, saml, self._application, self._clock).application()


class _Endpoints:
    def __init__(
        self, oidc: OpenIdProvider, saml: SamlProvider, application_origin: str, clock: Callable[[], float]
    ) -> None:
        self._oidc = oidc
        self._saml = saml
        self._application = application_origin
        self._clock = clock
        self._sessions = Sessions()

    def application(self) -> web.Application:
        application = web.Application(middlewares=[_guard], client_max_size=FORM_LIMIT_BYTES)
        discovery = PREFIX + "/.well-known/openid-configuration"
        paths = {name: PREFIX + path for name, path in OIDC_PATHS.items()}
        application.add_routes(
            [
                web.get("/", self._home),
                web.get(PREFIX, self._home),
                web.get(discovery, self._discovery),
                web.get(paths["jwks_uri"], self._jwks),
                web.get(paths["authorization_endpoint"], self._authorize),
                web.post(paths["authorization_endpoint"], self._authorize),
                web.post(paths["token_endpoint"], self._token),
                web.get(paths["userinfo_endpoint"], self._userinfo),
                web.post(paths["userinfo_endpoint"], self._userinfo),
                web.get(paths["end_session_endpoint"], self._end_session),
                web.post(paths["end_session_endpoint"], self._end_session),
                web.get(PREFIX + SAML_METADATA_PATH, self._metadata),
                web.get(PREFIX + SAML_SSO_PATH, self._saml_sso),
                web.post(PREFIX + SAML_SSO_PATH, self._saml_sso),
            ]
        )
        return application

    async def _home(self, request: web.Request) -> web.StreamResponse:
        return page(
            "home.html",
            sign_in=self._remembered(request),
            issuer=self._oidc.issuer,
            logout_path=PREFIX + OIDC_PATHS["end_session_endpoint"],
            metadata_path=PREFIX + SAML_METADATA_PATH,
            discovery_path=PREFIX + "/.well-known/openid-configuration",
            application=self._application,
        )

    async def _discovery(self, request: web.Request) -> web.StreamResponse:
        return web.json_response(self._oidc.discovery())

    async def _jwks(self, request: web.Request) -> web.StreamResponse:
        return web.json_response(self._oidc.jwks())

    async def _metadata(self, request: web.Request) -> web.StreamResponse:
        return web.Response(body=self._saml.metadata(), content_type="application/samlmetadata+xml")

    async def _authorize(self, request: web.Request) -> web.StreamResponse:
        fields = single(request.query.items())
        try:
            wanted = self._oidc.authorization_request(fields)
            if request.method == "POST":
                return await self._with_password(request, lambda who: _see_other(self._oidc.answer(wanted, who)))
            sign_in = self._remembered(request)
            if sign_in is not None and not wanted.needs_password(sign_in, self._clock()):
                return _see_other(self._oidc.answer(wanted, sign_in))
            if "none" in wanted.prompt:
                raise Answerable("login_required", "Nobody is signed in here.")
        except Answerable as refusal:
            return _see_other(self._oidc.error_answer(fields, refusal))
        return self._form()

    async def _saml_sso(self, request: web.Request) -> web.StreamResponse:
        wanted = self._saml.authn_request(single(request.query.items()))
        if request.method == "POST":
            return await self._with_password(request, lambda who: self._post(self._saml.answer(wanted, who)))
        sign_in = self._remembered(request)
        if sign_in is None or wanted.needs_password(sign_in):
            return self._form()
        return self._post(self._saml.answer(wanted, sign_in))

    async def _token(self, request: web.Request) -> web.StreamResponse:
        try:
            form = single(_texts(await request.post()))
        except Unanswerable as refusal:
            raise GrantRefused("invalid_request", refusal.sentence) from None
        return _private_json(self._oidc.tokens(form, request.headers.get("Authorization")))

    async def _userinfo(self, request: web.Request) -> web.StreamResponse:
        return _private_json(self._oidc.userinfo(request.headers.get("Authorization")))

    async def _end_session(self, request: web.Request) -> web.StreamResponse:
        posted = _texts(await request.post()) if request.method == "POST" else ()
        target = self._oidc.after_logout(single((*request.query.items(), *posted)))
        self._sessions.forget(request.cookies.get(COOKIE_NAME, ""))
        response = _see_other(target) if target else page("signed_out.html", application=self._application)
        response.del_cookie(COOKIE_NAME, path=PREFIX)
        return response

    async def _with_password(
        self, request: web.Request, answer: Callable[[SignIn], web.Response]
    ) -> web.StreamResponse:
        """Judge the posted sign-in form; a right password is answered, and remembered in this browser."""
        # Another site must not sign this browser in as somebody else (login CSRF).
        if request.headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none"):
            raise Unanswerable("The sign-in form was not sent from this page.")
        form = single(_texts(await request.post()))
        login = form.get("username", "").strip()
        user = user_with(login, form.get("password", ""))
        if user is None:
            return self._form(login, failed=True)
        sign_in = SignIn(user, self._clock())
        response = answer(sign_in)
        self._sessions.forget(request.cookies.get(COOKIE_NAME, ""))
        response.set_cookie(
            COOKIE_NAME,
            self._sessions.remember(sign_in),
            path=PREFIX,
            max_age=LIFETIME_SECONDS,
            httponly=True,
            samesite="Lax",
        )
        return response

    def _form(self, login: str = "", *, failed: bool = False) -> web.Response:
        """The sign-in form. It has no action: it goes back to its own address, which holds the whole request."""
        return page(
            "sign_in.html",
            # A wrong password is no success, and 401 would need a scheme to offer.
            status=403 if failed else 200,
            form_targets=(self._application,),
            application=self._application,
            users=USERS,
            login=login,
            failed=failed,
        )

    def _post(self, fields: Mapping[str, str]) -> web.Response:
        return page(
            "post.html",
            form_targets=(self._application,),
            application=self._application,
            action=self._saml.acs_url,
            fields=fields,
        )

    def _remembered(self, request: web.Request) -> SignIn | None:
        return self._sessions.find(request.cookies.get(COOKIE_NAME, ""), self._clock())


@web.middleware
async def _guard(request: web.Request, handler: _Handler) -> web.StreamResponse:
    """Names other than loopback's are refused; refusals become answers."""
    if not is_loopback_authority(request.headers.get("Host", "")):
        return page("refused.html", status=421, sentence="This server answers to loopback names only.")
    try:
        return await handler(request)
    except GrantRefused as refusal:
        challenge = {"WWW-Authenticate": _challenge(request, refusal)} if refusal.status == 401 else {}
        body = {"error": refusal.error, "error_description": refusal.sentence}
        return _private_json(body, status=refusal.status, headers=challenge)
    except Refused as refusal:
        return page("refused.html", status=400, sentence=refusal.sentence)


def _challenge(request: web.Request, refusal: GrantRefused) -> str:
    """RFC 6749 5.2 for the token endpoint, RFC 6750 3 for userinfo."""
    if refusal.error == "invalid_client":
        return 'Basic realm="demo"'
    # Without any credentials the challenge names no error.
    return 'Bearer realm="demo"' + (f', error="{refusal.error}"' if "Authorization" in request.headers else "")


def _texts(form: Mapping[str, object]) -> tuple[tuple[str, str], ...]:
    return tuple((name, value) for name, value in form.items() if isinstance(value, str))


def _see_other(url: str) -> web.Response:
    return web.Response(
        status=303, headers={"Location": url, "Cache-Control": "no-store", "Referrer-Policy": "strict-origin"}
    )


def _private_json(
    body: Mapping[str, object], *, status: int = 200, headers: Mapping[str, str] | None = None
) -> web.Response:
    return web.json_response(body, status=status, headers={"Cache-Control": "no-store", **(headers or {})})
