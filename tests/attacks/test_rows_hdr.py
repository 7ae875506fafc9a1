"""
Section 2.8 of the catalogue, row by row: who is there is told by PassProxy, on each of the routes to the application.

On every route the application folds names as CGI does; what counts is the variable that it reads.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from passproxy.core.config import settings_from
from passproxy.core.errors import ConfigError
from tests.attacks.acs import acs_site
from tests.attacks.edge import Edge, edge
from tests.fakes import idp_saml
from tests.fakes.gateway import HOST, NO_IDP, get, navigation, protecting, request
from tests.fakes.log import Log
from tests.fakes.raw import Raw
from tests.fakes.upstream import Seen, Upstream, answering, ok
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


def variables(seen: Seen) -> dict[str, list[bytes]]:
    """Name -> values, as a CGI-style application reads the fields."""
    view: dict[str, list[bytes]] = {}
    for name, value in seen.fields:
        view.setdefault(re.sub(r"[^A-Z0-9]+", "_", name.decode("latin-1").upper()).strip("_"), []).append(value)
    return view


async def passed_on(site: Edge, wire: bytes) -> Seen:
    """The one request that the application got; the connection is in step behind it."""
    site.upstream.script = ok
    async with site.raw() as raw:
        answer = await raw.ask(wire)
        assert answer.status == 200, answer.head
        (seen,) = site.upstream.requests
        await site.canary(raw)
    return seen


async def shaken(site: Edge, *lines: str, cookie: str | None = None) -> Seen:
    """The handshake that the application got; it accepted."""
    site.upstream.script = accepting
    async with site.raw() as raw:
        await raw.send(handshake(*lines, cookie=cookie or site.cookie))
        assert b" 101 " in await raw.head()
    (seen,) = site.upstream.requests
    return seen


FOLDED = [
    *("X_Passproxy_User", "X-Passproxy_User", "X.Passproxy.User", "X__Passproxy__User", "x_passproxy_user"),
    *("X-Passproxy-User_", "_X-Passproxy-User", "X~Passproxy~User", "X!Passproxy#User", "X|Passproxy|User", "X--Passproxy--User"),
    *("X'Passproxy'User", "X*Passproxy&User", "X+Passproxy$User", "X^Passproxy%User", "X`Passproxy.-_User", "-X-Passproxy-User"),
]  # fmt: skip


@pytest.mark.parametrize("name", FOLDED, ids=lambda name: f"HDR-03 {name}")
async def test_what_folds_into_our_name_does_not_pass(site: Edge, name: str) -> None:
    seen = await passed_on(site, get("/", f"{name}: admin", cookie=site.cookie))
    assert variables(seen)["X_PASSPROXY_USER"] == [b"alice"]
    site.upstream.forget()
    seen = await passed_on(site, get("/public/x", f"{name}: admin"))
    assert "X_PASSPROXY_USER" not in variables(seen)


ABSENT = ["Groups", "Email", "Name", "Upn", "Given-Name", "Surname", "Account", "Dn", "Company", "Department", "Phone"]


@pytest.mark.parametrize("name", ABSENT, ids=lambda name: f"HDR-04 {name}")
async def test_what_a_session_does_not_have_nobody_can_add(site: Edge, name: str) -> None:
    bare = site.passproxy.cookie(groups=())
    lines = (f"X-Passproxy-{name}: admins", f"X_PASSPROXY_{name.replace('-', '_')}: admins")
    seen = await passed_on(site, get("/", *lines, cookie=bare))
    view = variables(seen)
    assert f"X_PASSPROXY_{name.upper().replace('-', '_')}" not in view
    assert view["X_PASSPROXY_USER"] == [b"alice"]
    assert b"admins" not in seen.head


@pytest.mark.parametrize(
    "wire",
    [
        pytest.param(("GET", "/health"), id="HDR-05 GET of a file"),
        pytest.param(("HEAD", "/public/x"), id="HDR-05 HEAD below a folder"),
        pytest.param(("POST", "/hook"), id="HDR-05 POST to a hook"),
    ],
)
@pytest.mark.parametrize("jar", [None, "__Host-passproxy=eyJ.a.b", "other=1"])
async def test_on_a_public_path_there_is_nobody(site: Edge, wire: tuple[str, str], jar: str | None) -> None:
    lines = (
        "X-Passproxy-User: admin",
        "X-Passproxy-Groups: admins",
        "Remote-User: admin",
        "x.passproxy.subject: admin",
    )
    seen = await passed_on(site, request(*wire, *lines, cookie=jar))
    assert b"admin" not in seen.head
    assert not [name for name in variables(seen) if name.startswith("X_PASSPROXY") or name == "REMOTE_USER"]


@pytest.mark.parametrize(
    "name",
    ["X-Passproxy-User", "x_passproxy_user", "X-Passproxy-Groups", "X.Passproxy.Email"],
    ids=lambda n: f"HDR-07 {n}",
)
async def test_a_handshake_is_stripped_like_a_request(site: Edge, name: str) -> None:
    line = f"{name}: admin"
    seen = await shaken(site, line, cookie=site.passproxy.cookie(groups=()))
    site.upstream.forget()
    beside = await passed_on(site, get("/", line, cookie=site.passproxy.cookie(groups=())))
    assert b"admin" not in seen.head
    ours = [
        {
            name: value
            for name, value in variables(each).items()
            if name.startswith("X_PASSPROXY") and "EXPIRES" not in name
        }
        for each in (seen, beside)
    ]
    assert ours == [{"X_PASSPROXY_USER": [b"alice"], "X_PASSPROXY_SUBJECT": [b"sub-alice"]}] * 2


ALIASES = [
    *("Remote-User", "X-Remote-User", "X-Forwarded-User", "X-Forwarded-Email", "X-Forwarded-Groups"),
    *("X-Forwarded-Preferred-Username", "X-Auth-Request-User", "X-Auth-Request-Email", "X-Auth-Request-Anything", "X-WEBAUTH-USER"),
    *("X-authentik-username", "X-authentik-anything", "Remote-Groups", "Cf-Access-Authenticated-User-Email", "Cf-Access-Jwt-Assertion"),
    *("X-Goog-Authenticated-User-Email", "X-Goog-Authenticated-User-Id", "X-Client-Cert", "X-SSL-Client-Cert", "X-SSL-Client-S-Dn"),
]  # fmt: skip


@pytest.mark.parametrize("name", ALIASES, ids=lambda name: f"HDR-10 {name}")
async def test_names_of_other_proxies_are_nobodys_to_send(site: Edge, name: str) -> None:
    lines = [f"{spelling}: admin" for spelling in (name, name.lower(), name.replace("-", "_"), name.upper())]
    for wire in (get("/", *lines, cookie=site.cookie), get("/public/x", *lines)):
        site.upstream.forget()
        assert b"admin" not in (await passed_on(site, wire)).head
    site.upstream.forget()
    assert b"admin" not in (await shaken(site, *lines)).head


@pytest.mark.parametrize(
    "value",
    ["Basic YWxpY2U6cHc=", "basic YWxpY2U6cHc=", "Bearer eyJhbGciOiJub25lIn0.e30.", "Basic OmFsaWNl", "alice"],
    ids=lambda value: f"HDR-16 {value.partition(' ')[0]}",
)
async def test_authorization_is_the_applications_and_opens_nothing_here(site: Edge, log: Log, value: str) -> None:
    line = f"Authorization: {value}"
    await site.refuses(get("/", line), log, 401)
    await site.refuses(navigation("/", line), log, 302)
    seen = await passed_on(
        site, get("/", line, "Authorization_: Basic evil", "Authorization.: evil", cookie=site.cookie)
    )
    assert variables(seen)["AUTHORIZATION"] == [value.encode()]


async def test_hdr_16_our_own_token_as_authorization_is_no_session(site: Edge, log: Log) -> None:
    for scheme in ("Bearer", "bearer", "Cookie", "PassProxy"):
        await site.refuses(get("/", f"Authorization: {scheme} {site.passproxy.token()}"), log, 401)


async def test_hdr_18_identity_is_whole_however_long(site: Edge) -> None:
    """A list that ends in the middle would name other groups."""
    groups = tuple(f"group-{number:04}-{'x' * 40}" for number in range(150))
    seen = await passed_on(site, get("/", cookie=site.passproxy.cookie(groups=groups)))
    assert seen.one(b"x-passproxy-groups").decode().split(",") == list(groups)
    assert len(seen.one(b"x-passproxy-groups")) > 7600


async def test_hdr_18_and_what_the_application_would_not_take_is_no_session(log: Log, tmp_path: Path) -> None:
    """Two hundred groups fit the cookies, compressed, and not the 8 KiB that most servers take."""
    groups = tuple(f"group-{number:04}-{'x' * 40}" for number in range(200))
    async with acs_site(tmp_path) as saml:
        async with Raw(saml.passproxy.address) as raw:
            assert (await raw.ask(get("/", cookie=saml.passproxy.cookie(groups=groups)))).status == 401
        assert "headers.size_limit" in str(log.one("request.refused")["session"])
        begun = await saml.begun()
        attributes = {"mail": (idp_saml.USER,), "groups": groups}
        log.forget()
        wire = saml.posted(begun, idp_saml.answer(begun.facts(attributes=attributes)))
        answer = await saml.refuses(wire, log, 403)
    assert b"PP-IDENTITY-SIZE" in answer.body


async def test_hdr_18_unless_the_application_takes_more(tmp_path: Path) -> None:
    groups = tuple(f"group-{number:04}-{'x' * 40}" for number in range(200))
    async with (
        Upstream() as upstream,
        protecting(upstream.url, tmp_path, headers={"size_limit": "16KiB"}) as passproxy,
        Raw(passproxy.address) as raw,
    ):
        assert (await raw.ask(get("/", cookie=passproxy.cookie(groups=groups)))).status == 200
    assert upstream.requests[0].one(b"x-passproxy-groups").decode().split(",") == list(groups)


async def test_hdr_18_more_than_a_session_holds_is_no_session(log: Log, tmp_path: Path) -> None:
    groups = tuple(secrets.token_urlsafe(30) for _ in range(600))
    async with acs_site(tmp_path) as saml:
        begun = await saml.begun()
        attributes = {"mail": (idp_saml.USER,), "groups": groups}
        log.forget()
        wire = saml.posted(begun, idp_saml.answer(begun.facts(attributes=attributes)))
        answer = await saml.refuses(wire, log, 403)
    assert b"PP-IDENTITY-SIZE" in answer.body


@pytest.mark.parametrize("name", ["Proxy", "proxy", "PROXY", "Proxy_", "_Proxy"], ids=lambda name: f"HDR-20 {name}")
async def test_no_field_becomes_http_proxy(site: Edge, name: str) -> None:
    line = f"{name}: http://evil.example:3128"
    for wire in (get("/", line, cookie=site.cookie), get("/health", line)):
        site.upstream.forget()
        seen = await passed_on(site, wire)
        assert "PROXY" not in variables(seen)
        assert b"evil" not in seen.head


async def test_hdr_22_what_listens_on_one_address_is_not_on_another(site: Edge) -> None:
    host, _, port = site.passproxy.address.rpartition(":")
    assert host == "127.0.0.1"
    with pytest.raises(ConnectionRefusedError):
        async with Raw(f"127.0.0.2:{port}"):
            pass


async def test_hdr_22_by_default_only_this_machine_is_listened_to_and_trusted() -> None:
    settings = configured()
    assert settings.listen.startswith("127.0.0.1:")
    assert set(settings.trusted_proxies) == {"127.0.0.0/8", "::1"}
    for everywhere in (":8123", "*:8123"):
        with pytest.raises(ConfigError):
            configured(listen=everywhere)


async def test_hdr_22_who_comes_past_the_trusted_proxy_is_judged_like_everybody(log: Log, tmp_path: Path) -> None:
    lines = ("X-Passproxy-User: admin", "X-Forwarded-For: 127.0.0.1", "X-Real-IP: 127.0.0.1")
    async with Upstream() as upstream, protecting(upstream.url, tmp_path, trusted_proxies=["10.0.0.1"]) as passproxy:
        direct = Edge(upstream, passproxy)
        await direct.refuses(get("/", *lines), log, 401)
        seen = await passed_on(direct, get("/", *lines, cookie=direct.cookie))
    assert seen.all(b"x-passproxy-user") == [b"alice"]


@pytest.mark.parametrize("line", [b"X-A : 2", b"X-A\t: 2", b"Content-Length : 0", b"Set-Cookie : a=b", b" X-A: 2"])
async def test_hdr_24_a_space_behind_a_name_in_an_answer_is_a_502(site: Edge, log: Log, line: bytes) -> None:
    site.upstream.script = answering(b"HTTP/1.1 200 OK\r\n" + line + b"\r\nContent-Length: 0\r\n\r\n")
    async with site.raw() as raw:
        answer = await raw.ask(get("/", cookie=site.cookie))
        assert answer.status == 502
        assert b"X-A" not in answer.head + answer.body
        assert log.one("upstream.error")["code"] == "PP-UPSTREAM-MALFORMED"
        site.upstream.script = ok
        await site.canary(raw)


def configured(**sections: Any) -> Any:
    configuration = {"domain": HOST, "upstream": {"url": "http://127.0.0.1:9"}, **NO_IDP, **sections}
    return settings_from(json.dumps(configuration), "test.yaml", {}, lambda path: Path(path).read_text("utf-8"))


COLLISIONS: list[dict[str, Any]] = [
    {"profile": "remote"},
    {"profile": {"user": "Host"}},
    {"names": {"user": "Cookie"}},
    {"names": {"user": "X-User", "email": "X-User"}},
    {"user": "Content-Length"},
    {"X-User:": "user"},
    {"X User": "user"},
    {"X-\u00dcser": "user"},
    {"list_separator": "\r\n"},
    {"list_separator": ":"},
]


@pytest.mark.parametrize("headers", COLLISIONS, ids=lambda each: f"HDR-25 {each!a}")
async def test_names_that_could_collide_cannot_be_configured(tmp_path: Path, headers: dict[str, Any]) -> None:
    assert configured(headers={"profile": "passproxy", "list_separator": ","})
    with pytest.raises(ConfigError) as refusal:
        async with protecting("http://127.0.0.1:9", tmp_path, headers=headers):
            pass
    assert all("headers" in problem for problem in refusal.value.problems)
    with pytest.raises(ConfigError):
        configured(identity={"attributes": {"X-User": ["mail"]}})
