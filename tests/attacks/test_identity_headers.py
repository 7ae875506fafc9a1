"""
Section 2.8 of the catalogue, for every profile and for whatever is configured beside it.

The application folds names as CGI does. Under each name that any profile knows it reads what
PassProxy says, or nothing: on public paths, with a session, and in handshakes.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from passproxy.core import kept
from passproxy.core.config import settings_from
from passproxy.core.errors import ConfigError
from passproxy.core.identity import Identity
from passproxy.core.identity_headers import IdentityHeaders
from passproxy.core.profiles import PROFILES
from passproxy.core.session import Sessions
from tests.attacks.edge import PASSTHROUGH
from tests.fakes.browser import Browser
from tests.fakes.cookie_jar import Context
from tests.fakes.gateway import HOST, NO_IDP, ORIGIN, PassProxy, eventually, get, protecting, request
from tests.fakes.idp_oidc import DROP, FakeOp
from tests.fakes.log import Log
from tests.fakes.raw import Answer, Raw
from tests.fakes.upstream import Seen, Upstream, ok
from tests.fakes.websocket import accepting, handshake

#: Below the limits of a head, and enough for all spellings of twenty names.
LINES_AT_ONCE = 120

EVIL = b"evil"


def variable(name: bytes) -> str:
    return re.sub(r"[^A-Z0-9]+", "_", name.decode("latin-1").upper()).strip("_")


def view(seen: Seen) -> dict[str, list[bytes]]:
    """Name -> values, as a CGI-style application reads the fields."""
    found: dict[str, list[bytes]] = {}
    for name, value in seen.fields:
        found.setdefault(variable(name), []).append(value)
    return found


def spellings(name: str) -> set[str]:
    folded = {name.replace("-", "_"), name.replace("-", ".").replace("_", "."), name.replace("_", "-")}
    return {name, name.lower(), name.upper(), f"{name}_", f"_{name}", name.replace("-", "--")} | folded


def spoofs() -> Iterator[list[str]]:
    names = sorted({each for profile in PROFILES.values() for name in profile.fields for each in spellings(name)})
    lines = [f"{name}: evil" for name in names]
    for start in range(0, len(lines), LINES_AT_ONCE):
        yield lines[start : start + LINES_AT_ONCE]


async def passed_on(passproxy: PassProxy, upstream: Upstream, wire: bytes) -> Seen:
    upstream.script = ok
    upstream.forget()
    async with Raw(passproxy.address) as raw:
        answer = await raw.ask(wire)
    assert answer.status == 200, answer.head
    (seen,) = upstream.requests
    return seen


async def shaken(passproxy: PassProxy, upstream: Upstream, *lines: str, cookie: str) -> Seen:
    upstream.script = accepting
    upstream.forget()
    async with Raw(passproxy.address) as raw:
        await raw.send(handshake(*lines, cookie=cookie))
        assert b" 101 " in await raw.head()
    (seen,) = upstream.requests
    return seen


async def on_each_route(passproxy: PassProxy, upstream: Upstream, *lines: str, cookie: str) -> dict[str, Seen]:
    """What the application gets of a request with these lines: public, with a session, and as a handshake."""
    return {
        "public": await passed_on(passproxy, upstream, get("/public/x", *lines)),
        "post": await passed_on(passproxy, upstream, request("POST", "/hook", *lines, body=b"b")),
        "session": await passed_on(passproxy, upstream, get("/", *lines, cookie=cookie)),
        "upgrade": await shaken(passproxy, upstream, *lines, cookie=cookie),
    }


def said(profile: str, identity: Identity) -> dict[str, list[bytes]]:
    lines = IdentityHeaders(profile).lines(identity, 0).split(b"\r\n")[:-1]
    return {variable(name): [value.strip()] for name, _, value in (line.partition(b":") for line in lines)}


@pytest.mark.parametrize("profile", PROFILES, ids=lambda name: f"HDR-10 HDR-07 {name}")
async def test_under_every_name_of_every_profile_there_is_our_word_or_none(
    upstream: Upstream, tmp_path: Path, profile: str
) -> None:
    alice = Identity("i", "sub-alice", {"user": "alice", "email": "alice@example.com"}, ("ops",), 0)
    ours = said(profile, alice)
    ours.pop("X_PASSPROXY_SESSION_EXPIRES", None)
    known = {variable(name.encode()) for each in PROFILES.values() for name in each.fields}
    known.discard("X_PASSPROXY_SESSION_EXPIRES")
    async with protecting(upstream.url, tmp_path, headers={"profile": profile}, passthrough=PASSTHROUGH) as passproxy:
        cookie = passproxy.cookie(email="alice@example.com")
        for lines in spoofs():
            for route, seen in (await on_each_route(passproxy, upstream, *lines, cookie=cookie)).items():
                assert EVIL not in seen.head, route
                told = {name: values for name, values in view(seen).items() if name in known}
                assert told == (ours if route in ("session", "upgrade") else {}), route


CONFIGURED = {"X-WEBAUTH-USER": "{email}", "X-Staff-Phone": "tel:{phone}", "SM_USER": "{user}", "X-Env": "live"}


async def test_hdr_04_a_configured_name_has_our_value_or_none(upstream: Upstream, tmp_path: Path) -> None:
    headers = {"profile": "none", "set": CONFIGURED}
    lines = [f"{spelling}: evil" for name in CONFIGURED for spelling in sorted(spellings(name))]
    async with protecting(upstream.url, tmp_path, headers=headers, passthrough=PASSTHROUGH) as passproxy:
        cookie = passproxy.cookie(email="alice@example.com")
        ours = {"X_WEBAUTH_USER": [b"alice@example.com"], "SM_USER": [b"alice"], "X_ENV": [b"live"]}
        known = {variable(name.encode()) for name in CONFIGURED}
        for route, seen in (await on_each_route(passproxy, upstream, *lines, cookie=cookie)).items():
            assert EVIL not in seen.head, route
            told = {name: values for name, values in view(seen).items() if name in known}
            assert told == (ours if route in ("session", "upgrade") else {}), route


async def test_hdr_08_what_is_configured_cannot_be_nominated_away(upstream: Upstream, tmp_path: Path) -> None:
    headers = {"set": {"X-Staff": "{user}"}}
    basic_auth = {"username": "gateway", "password": "pw"}
    async with protecting(upstream.url, tmp_path, headers=headers, upstream={"basic_auth": basic_auth}) as passproxy:
        wire = get("/", "Connection: X-Staff, Authorization, X-Passproxy-User", cookie=passproxy.cookie())
        told = view(await passed_on(passproxy, upstream, wire))
    assert (told["X_STAFF"], told["X_PASSPROXY_USER"]) == ([b"alice"], [b"alice"])
    assert len(told["AUTHORIZATION"]) == 1


async def test_hdr_15_without_any_identity_header_a_session_is_still_no_public_path(
    upstream: Upstream, tmp_path: Path
) -> None:
    line = "X-HTTP-Method-Override: DELETE"
    async with protecting(
        upstream.url, tmp_path, headers={"profile": "none"}, passthrough={"paths": ["/public/**"]}
    ) as passproxy:
        seen = await passed_on(passproxy, upstream, get("/", line, cookie=passproxy.cookie()))
        assert seen.one(b"x-http-method-override") == b"DELETE"
        assert not (await passed_on(passproxy, upstream, get("/public/x", line))).all(b"x-http-method-override")


OTHERS = ["Basic YWRtaW46YWRtaW4=", "basic YWRtaW46YWRtaW4=", "Bearer evil", "evil"]


def credentials(seen: Seen) -> list[str]:
    values = view(seen).get("AUTHORIZATION", [])
    assert all(value.startswith(b"Basic ") for value in values)
    return [base64.b64decode(value.removeprefix(b"Basic ")).decode() for value in values]


@pytest.mark.parametrize(
    ("username", "public", "own"),
    [
        pytest.param("gateway", ["gateway:pw:ä"], ["gateway:pw:ä"], id="HDR-16 one for all"),
        pytest.param("{user}", [], ["alice:pw:ä"], id="HDR-16 one of ones own"),
        pytest.param("{phone}", [], [], id="HDR-16 one that is not there"),
    ],
)
async def test_the_application_gets_our_credentials_and_no_clients(
    upstream: Upstream, tmp_path: Path, username: str, public: list[str], own: list[str]
) -> None:
    lines = [f"{name}: {value}" for name in sorted(spellings("Authorization")) for value in OTHERS]
    section = {"basic_auth": {"username": username, "password": "pw:ä"}}
    async with protecting(upstream.url, tmp_path, upstream=section, passthrough=PASSTHROUGH) as passproxy:
        for route, seen in (await on_each_route(passproxy, upstream, *lines, cookie=passproxy.cookie())).items():
            assert credentials(seen) == (own if route in ("session", "upgrade") else public), route
            assert EVIL not in seen.head
            assert b"YWRtaW46" not in seen.head


async def test_hdr_16_a_user_name_with_a_colon_is_no_session(upstream: Upstream, tmp_path: Path, log: Log) -> None:
    """Behind a colon the application would read the password."""
    section = {"basic_auth": {"username": "{user}", "password": "pw"}}
    async with protecting(upstream.url, tmp_path, upstream=section) as passproxy:
        async with Raw(passproxy.address) as raw:
            answer = await raw.ask(get("/", cookie=passproxy.cookie(user="alice:secret")))
        assert answer.status == 401
        assert upstream.requests == []
        reason = str(log.one("request.refused")["session"])
    assert "upstream.basic_auth.username" in reason
    assert "alice" not in reason


async def test_hdr_16_and_no_login(upstream: Upstream, tmp_path: Path, log: Log) -> None:
    section = {"basic_auth": {"username": "{email}", "password": "pw"}}
    async with FakeOp() as op:
        op.claims["email"] = "alice:x@example.com"
        async with (
            protecting(upstream.url, tmp_path, upstream=section, **provided(op)) as passproxy,
            Browser(passproxy.front) as browser,
        ):
            page = await browser.open(f"{ORIGIN}/")
    assert page.status == 403
    assert "PP-IDENTITY-UNSAFE" in page.text
    assert upstream.requests == []


def provided(op: FakeOp) -> dict[str, Any]:
    return {"oidc": {"issuer": op.issuer, "client_id": op.client_id, "client_secret": op.client_secret}}


async def asked(passproxy: PassProxy, *lines: str, cookie: str) -> Answer:
    async with Raw(passproxy.address) as raw:
        return await raw.ask(get("/", *lines, cookie=cookie))


async def test_hdr_03_a_name_that_is_configured_at_a_reload_is_dropped_from_then_on(
    upstream: Upstream, tmp_path: Path
) -> None:
    lines = ("X-Staff: evil", "x_staff: evil", "Authorization: Bearer evil")
    async with protecting(upstream.url, tmp_path) as passproxy, Raw(passproxy.address) as raw:
        cookie = passproxy.cookie()
        await raw.ask(get("/", *lines, cookie=cookie))
        assert upstream.requests[-1].head.count(EVIL) == 3
        passproxy.reload(
            headers={"profile": "vouch", "set": {"X-Staff": "{user}"}},
            upstream={"url": upstream.url, "basic_auth": {"username": "g", "password": "p"}},
        )
        # On the same connection, with spellings that were seen before.
        await raw.ask(get("/", *lines, cookie=cookie))
        seen = upstream.requests[-1]
        assert EVIL not in seen.head
        assert (seen.all(b"x-staff"), credentials(seen)) == ([b"alice"], ["g:p"])
        assert seen.one(b"x-vouch-idp-claims-sub") == b"sub-alice"
        assert seen.all(b"x-passproxy-user") == []
        passproxy.reload()
        await raw.ask(get("/", *lines, cookie=cookie))
        assert upstream.requests[-1].all(b"x-staff") == [b"evil"]


async def test_hdr_03_also_of_a_request_that_waits_while_it_is_configured(
    upstream: Upstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was read when the name meant nothing, and is judged when it does."""
    goes_on, known = asyncio.Event(), Sessions.known
    monkeypatch.setattr(Sessions, "known", lambda self, session: known(self, session)._replace(due_at=1.0))
    async with FakeOp() as op:
        op.rotates = True
        sections = provided(op)
        async with (
            protecting(upstream.url, tmp_path, **sections) as passproxy,
            Browser(passproxy.front) as browser,
        ):
            await browser.open(f"{ORIGIN}/")
            cookie = browser.cookies.header(f"{ORIGIN}/", Context(None, True, True), time.time())
            op.before_token = goes_on.wait
            before = op.asked["token"]
            waiting = asyncio.ensure_future(asked(passproxy, "X-Staff: evil", cookie=cookie))
            await eventually(lambda: op.asked["token"] > before, "the session is being renewed")
            passproxy.reload(headers={"set": {"X-Staff": "{user}"}}, **sections)
            goes_on.set()
            assert (await waiting).status == 200
    assert EVIL not in upstream.requests[-1].head
    assert len(upstream.requests[-1].all(b"x-staff")) == 1


async def test_no_access_token_is_kept_or_passed_on(upstream: Upstream, tmp_path: Path) -> None:
    """There is none to give: neither the session nor what renews it has the provider's access token."""
    async with FakeOp() as op:
        op.rotates, op.token_response["access_token"], op.claims["at_hash"] = True, "access-of-alice", DROP
        section = {**provided(op)["oidc"], "use_userinfo": "never"}
        async with (
            protecting(upstream.url, tmp_path, oidc=section) as passproxy,
            Browser(passproxy.front) as browser,
        ):
            assert (await browser.open(f"{ORIGIN}/")).status == 200
            token = cookie_value(browser, passproxy.names.session)
            session = passproxy.sessions.session(token, time.time())
            value = kept.disclosed(passproxy.ring, session.id, cookie_value(browser, passproxy.names.kept))
    assert value
    assert b"access-of-alice" not in value
    assert "access-of-alice" not in repr(session)
    assert all(b"access-of-alice" not in seen.head for seen in upstream.requests)


def cookie_value(browser: Browser, name: str) -> bytes:
    cookie = browser.cookies.named(name)
    assert cookie is not None
    return cookie.value.encode()


def configured(**sections: Any) -> Any:
    upstream = {"url": "http://127.0.0.1:9", **sections.pop("upstream", {})}
    text = json.dumps({"domain": HOST, "upstream": upstream, **NO_IDP, **sections})
    return settings_from(text, "test.yaml", {}, lambda path: Path(path).read_text("utf-8"))


REFUSED: list[dict[str, Any]] = [
    *({name: "{user}"} for name in ("Host", "cookie", "Content_Length", "X-Forwarded-For", "X-Passproxy-User", "TE")),
    *({name: "{user}"} for name in ("X User", "X-User:", "X-\u00dcser", "X-User\r\nX-Admin", "", "Authorization")),
    {"X-User": "{user}", "x_user": "{email}"},
    {"Remote-User": "{email}"},
    {"remote_USER": "{email}"},
    {"X-User": "{usr}"},
    {"X-User": "a\r\nX-Admin: yes"},
    {"X-User": "{user"},
    {"X-User": ""},
    {"X-User": {"user": None}},
    {"X-User": "x" * 513},
    {f"X-{number}": "x" for number in range(51)},
]


@pytest.mark.parametrize("further", REFUSED, ids=lambda each: f"HDR-25 {str(each)[:60]!a}")
def test_what_would_collide_or_be_read_otherwise_cannot_be_configured(further: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as refusal:
        configured(headers={"profile": "remote-user", "set": further})
    assert all("headers" in problem for problem in refusal.value.problems)


def test_hdr_25_what_a_profile_does_not_say_can_be_configured() -> None:
    assert configured(headers={"profile": "none", "set": {"Remote-User": "{email}"}})
    assert configured(headers={"set": {f"X-{number}": "x" * 512 for number in range(50)}})


@pytest.mark.parametrize(
    "basic_auth",
    [
        {"username": "a:b", "password": "hunter2"},
        {"username": "{usr}", "password": "hunter2"},
        {"username": "u"},
        {"password": "hunter2"},
        {"username": "u", "password": "hunter2\r\nX-Admin: yes"},
        {"username": "u", "password": "hunter2\0"},
        {"username": "u", "password": ""},
        {"username": "u", "password": "hunter2", "password_file": "/dev/null"},
        {"username": "u", "password_file": "/nonexistent"},
        {"username": "u", "password_file": "/dev/null"},
    ],
    ids=lambda each: f"HDR-16 {each!a}",
)
def test_credentials_that_cannot_be_sent_cannot_be_configured(basic_auth: dict[str, str]) -> None:
    with pytest.raises(ConfigError) as refusal:
        configured(upstream={"basic_auth": basic_auth})
    assert all("upstream.basic_auth" in problem for problem in refusal.value.problems)
    assert "hunter2" not in str(refusal.value.problems)
