"""The release blockers of the catalogue that are about the edge and about sessions, one test each."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path

import jwt
import pytest
import pytest_asyncio

from passproxy.core.errors import IdentityUnsafe
from passproxy.core.identity import AttributeRules, Authentication, identity_from
from passproxy.core.tokens import KeyRing, Purpose
from passproxy.keyfile import obtained_keys
from tests.attacks.edge import Edge, edge
from tests.fakes.gateway import demo_idp, get, navigation, protecting, request, saml_at
from tests.fakes.log import Log
from tests.fakes.raw import Raw
from tests.fakes.upstream import Upstream, ok
from tests.fakes.websocket import accepting, handshake

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Edge]:
    async with edge(tmp_path_factory.mktemp("edge")) as running:
        yield running


@pytest.fixture(autouse=True)
def as_new(site: Edge) -> None:
    site.upstream.script = ok
    site.upstream.forget()


@pytest.mark.parametrize("name", ["ad\udcffmin", "admin\r\nX-A: b", "admin\x00", "ad\u2028min", "\u202enimda"])
async def test_release_blocker_06_a_name_that_no_header_can_carry_is_no_identity(site: Edge, name: str):
    """Nothing is dropped on the way: a name is carried whole, or the login is refused."""
    for attribute in ("preferred_username", "name", "email"):
        claimed = Authentication("https://idp", "sub", {attribute: (name,)}, 0)
        with pytest.raises(IdentityUnsafe):
            identity_from(claimed, AttributeRules())
    with pytest.raises(IdentityUnsafe):
        identity_from(Authentication("https://idp", name, {}, 0), AttributeRules())


async def test_release_blocker_06_a_name_beyond_ascii_arrives_whole(site: Edge):
    await site.asked(get("/", cookie=site.passproxy.cookie("j\u00f6rg\u20ac\U0001f600")))
    assert site.upstream.requests[0].one(b"x-passproxy-user") == "j\u00f6rg\u20ac\U0001f600".encode()


@pytest.mark.parametrize(
    "path", ["/public/../admin", "//admin", "/public/..;/admin", "/public%2f..%2fadmin", "/public/%2e%2e/admin"]
)
async def test_release_blocker_07_the_path_is_judged_and_forwarded_as_the_same_bytes(site: Edge, log: Log, path: str):
    await site.refuses(navigation(path), log, 302, 400)
    await site.asked(get(path, cookie=site.cookie))
    assert site.upstream.requests[0].target == path.encode()


async def test_release_blocker_07_host_and_target_must_agree(site: Edge, log: Log):
    await site.refuses(get("http://app.example.com/", host="evil.example", cookie=site.cookie), log, 421)
    await site.refuses(get("http://evil.example/health", cookie=site.cookie), log, 421)
    await site.refuses(get("/health#/admin", cookie=site.cookie), log, 400)


@pytest.mark.parametrize(
    "field",
    ["X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-Uri", "X-Forwarded-Prefix", "X-Forwarded-Port", "Forwarded"],
)
async def test_release_blocker_08_forwarded_fields_of_a_client_decide_nothing(site: Edge, log: Log, field: str):
    answer = await site.refuses(navigation("/admin", f"{field}: evil.example"), log, 302)
    plain = await site.refuses(navigation("/admin"), log, 302)
    static = [
        part for part in plain.one(b"location").split(b"&") if not part.startswith((b"state", b"nonce", b"code_ch"))
    ]
    assert all(part in answer.one(b"location") for part in static)
    await site.asked(get("/public/x", f"{field}: evil.example"))
    assert b"evil" not in site.upstream.requests[0].head


async def test_release_blocker_09_identity_fields_are_deleted_even_when_there_is_nothing_to_set(site: Edge):
    spoofs = [
        f"{name}: evil" for name in ("X-Passproxy-Groups", "x_passproxy_email", "X.Passproxy.Name", "X-Passproxy-User")
    ]
    cookie = site.passproxy.cookie(groups=())
    for target, known in (("/", cookie), ("/public/x", cookie), ("/public/x", None)):
        await site.asked(get(target, *spoofs, cookie=known))
        assert b"evil" not in site.upstream.requests[-1].head
        assert len(site.upstream.requests[-1].all(b"x-passproxy-user")) == (known is not None)
        assert not site.upstream.requests[-1].all(b"x-passproxy-groups")


async def test_release_blocker_10_connection_cannot_remove_what_is_added(site: Edge):
    await site.asked(
        get("/", "Connection: X-Passproxy-User, X-Forwarded-For", "X-Passproxy-User: evil", cookie=site.cookie)
    )
    (seen,) = site.upstream.requests
    assert seen.all(b"x-passproxy-user") == [b"alice"]
    assert seen.all(b"x-forwarded-for") == [b"127.0.0.1"]


async def test_release_blocker_11_no_tunnel_without_session_origin_and_101(site: Edge, log: Log):
    site.upstream.script = accepting
    await site.refuses(handshake(), log, 401)
    await site.refuses(handshake(cookie=site.cookie, origin="https://evil.example"), log, 403)
    site.upstream.script = ok
    async with site.raw() as raw:
        got = await raw.ask(handshake(cookie=site.cookie) + get("/admin", cookie=site.cookie))
        assert got.status == 200
        assert await raw.is_closed()
    assert [seen.target for seen in site.upstream.requests] == [b"/socket"]


GARBAGE = [
    "",
    "x",
    ".",
    "..",
    "a.b.c",
    "eyJhbGciOiJub25lIn0.e30.",
    "eyJhbGciOiJIUzI1NiJ9.e30.AAAA",
    "\xff\xfe.\xff.\xff",
    "e30.e30.e30",
    "%00",
    "A" * 4096,
    "A" * 20_000,
    "eyJ" + "A" * 3000 + "." + "B" * 500 + "." + "C" * 43,
    base64.urlsafe_b64encode(b"[" * 3000).decode() + ".e30.AAAA",
    base64.urlsafe_b64encode(b'{"alg":"HS256","kid":1' + b"0" * 3000 + b"}").decode().rstrip("=") + ".e30.AAAA",
    '"quoted"',
]


@pytest.mark.parametrize("value", GARBAGE)
async def test_release_blocker_12_whatever_is_wrong_with_a_cookie_is_no_session(site: Edge, log: Log, value: str):
    line = f"Cookie: __Host-passproxy={value}"
    answer = await site.refuses(navigation("/", line), log, 302)
    assert any(b"__Host-passproxy=;" in each and b"Max-Age=0" in each for each in answer.all(b"set-cookie"))
    await site.refuses(get("/", line), log, 401)
    await site.asked(get("/public/x", line))
    assert not [name for name, _ in site.upstream.requests[0].fields if b"passproxy" in name.lower()]


async def test_release_blocker_12_a_session_that_ends_ends_at_once(site: Edge, log: Log):
    """Also when it is remembered from a moment ago."""
    cookie = site.passproxy.cookie(seconds=2)
    assert (await site.asked(get("/", cookie=cookie))).status == 200
    site.upstream.forget()
    await asyncio.sleep(2.1)
    await site.refuses(get("/", cookie=cookie), log, 401)


def altered(token: str, header: dict[str, object] | None = None, claims: dict[str, object] | None = None) -> str:
    """With another header or other claims, and the old signature."""
    parts = token.split(".")
    for index, change in ((0, header), (1, claims)):
        if change is not None:
            data = json.loads(base64.urlsafe_b64decode(parts[index] + "=="))
            parts[index] = base64.urlsafe_b64encode(json.dumps({**data, **change}).encode()).decode().rstrip("=")
    return ".".join(parts)


async def test_release_blocker_13_no_other_token_is_a_session(site: Edge, log: Log, tmp_path: Path):
    passproxy = site.passproxy
    token = passproxy.token()
    now = int(time.time())
    claims = jwt.decode(token, options={"verify_signature": False})
    kid = jwt.get_unverified_header(token)["kid"]
    typ = jwt.get_unverified_header(token)["typ"]
    keys = obtained_keys(Path(passproxy.settings.state_dir or "") / "keys.json", may_create=False, now=now)
    own = {name: claims[name] for name in claims if name not in ("iss", "aud", "iat", "exp")}
    elsewhere = KeyRing(keys, "https://other.example.com")
    foreign = obtained_keys(tmp_path / "keys.json", may_create=True, now=now)
    pending = (await site.asked(navigation("/"))).one(b"set-cookie").partition(b";")[0].partition(b"=")[2].decode()
    tokens = {
        "a pending login": pending,
        "another domain with the same key file": elsewhere.seal(
            Purpose.SESSION, own, issued_at=now, expires_at=now + 60
        ),
        "another key file": KeyRing(foreign, "https://app.example.com").seal(
            Purpose.SESSION, own, issued_at=now, expires_at=now + 60
        ),
        "the master key itself": jwt.encode(claims, keys[0].secret, "HS256", {"kid": kid, "typ": typ}),
        "the key of another purpose": jwt.encode(
            claims, passproxy.ring.key(Purpose.PENDING), "HS256", {"kid": kid, "typ": typ}
        ),
        "another type": jwt.encode(claims, passproxy.ring.key(Purpose.SESSION), "HS256", {"kid": kid, "typ": "JWT"}),
        "no type": jwt.encode(claims, passproxy.ring.key(Purpose.SESSION), "HS256", {"kid": kid}),
        "another audience": jwt.encode(
            {**claims, "aud": "https://app.example.com"},
            passproxy.ring.key(Purpose.SESSION),
            "HS256",
            {"kid": kid, "typ": typ},
        ),
        "no end": jwt.encode(
            {k: v for k, v in claims.items() if k != "exp"},
            passproxy.ring.key(Purpose.SESSION),
            "HS256",
            {"kid": kid, "typ": typ},
        ),
        "from the future": passproxy.ring.seal(Purpose.SESSION, own, issued_at=now + 3600, expires_at=now + 7200),
        "no signature": token.rpartition(".")[0] + ".",
        "algorithm none": altered(token, header={"alg": "none"}),
        "other claims": altered(token, claims={"sub": "admin"}),
        "a cut signature": token[:-2],
        "a longer signature": token + "AA",
        "white space": token.replace(".", ". ", 1),
        "a second period": token.replace(".", "..", 1),
    }
    for name, value in tokens.items():
        log.forget()
        answer = await site.refuses(get("/", f"Cookie: __Host-passproxy={value}"), log, 401)
        assert answer.all(b"set-cookie"), f"{name}: the cookie is to be cleared"
        assert not log.tells(value), name


async def test_release_blocker_14_a_compressed_body_is_never_inflated(site: Edge):
    body = gzip.compress(bytes(10_000_000))
    assert (await site.asked(request("POST", "/hook", "Content-Encoding: gzip", body=body))).status == 200
    (seen,) = site.upstream.requests
    assert (seen.body, seen.one(b"content-encoding"), seen.one(b"content-length")) == (body, b"gzip", b"%d" % len(body))


@pytest.mark.parametrize("name", ["SAMLRequest", "SAML%52equest", "SAMLResponse"])
async def test_release_blocker_17_an_unsigned_logout_message_has_no_effect(
    site: Edge, log: Log, name: str, tmp_path: Path
):
    message = base64.b64encode(
        b'<samlp:LogoutRequest xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol" ID="_x"/>'
    ).decode()
    async with (
        demo_idp() as idp,
        Upstream() as upstream,
        protecting(upstream.url, tmp_path, **saml_at(idp)) as passproxy,
        Raw(passproxy.address) as raw,
    ):
        cookie = passproxy.cookie()
        target = f"/.passproxy/saml/slo?{name}={message}&RelayState=https://evil.example/"
        posted = f"{name}={message}".encode()
        form = "Content-Type: application/x-www-form-urlencoded"
        for wrong in (
            get(target, cookie=cookie),
            request("POST", "/.passproxy/saml/slo", form, cookie=cookie, body=posted),
        ):
            got = await raw.ask(wrong)
            assert got.status in (400, 403)
            assert not got.all(b"set-cookie")
            assert not got.all(b"location")
        assert (await raw.ask(get("/", cookie=cookie))).status == 200


async def test_release_blocker_18_every_cookie_line_is_read_and_none_of_ours_leaks(site: Edge, log: Log):
    lines = ("Cookie: a=1", f"Cookie: {site.cookie}", "Cookie: b=2; __Host-passproxy-login-abcdefgh=secret")
    assert (await site.asked(get("/", *lines))).status == 200
    (seen,) = site.upstream.requests
    assert seen.all(b"cookie") == [b"a=1", b"b=2"]
    site.upstream.forget()
    await site.refuses(get("/", f"Cookie: {site.cookie}", "Cookie: __Host-passproxy=x"), log, 401)
