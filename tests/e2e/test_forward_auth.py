"""
Forward authentication with the real web servers, and the files that are shipped for them.

The application keeps what it was sent byte for byte; each session is due for renewal at once.
"""

from __future__ import annotations

import functools
import hashlib
import re
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from playwright.async_api import expect

from passproxy.cli.doctor.questions import questions
from passproxy.core.session import Sessions
from passproxy.core.urls import Origin
from tests.e2e import wire
from tests.e2e.forward_auth import ASKING
from tests.e2e.front_ends import Place, front_end
from tests.e2e.processes import free_port
from tests.e2e.window import Window
from tests.fakes.browser import Browser, Front
from tests.fakes.cookie_jar import Context
from tests.fakes.gateway import PassProxy, protecting
from tests.fakes.idp_oidc import DROP, FakeOp
from tests.fakes.upstream import Seen, Upstream
from tests.fakes.websocket import accepting

pytestmark = pytest.mark.asyncio(loop_scope="session")

DOMAIN = "localhost"

TARGET = "/files//a%2Fb;v=2/%7Ex/?q=%2e%2E+%C3%A9&q=/../&empty=&=&&x"

TOKEN = "0123456789abcdef0123456789abcdef"

SECTIONS: dict[str, Any] = {
    "access": {"rules": [{"name": "admin", "path": "/admin/**", "require_any_group": ["admins"]}]},
    "passthrough": {
        "paths": ["/public/**"],
        "tokens": [{"name": "backup", "hash": f"sha256:{hashlib.sha256(TOKEN.encode()).hexdigest()}"}],
        "tokens_in_authorization": True,
    },
    "identity": {"groups": {"include": ["."]}},
}

#: What clients have tried; the last is spelled as some read it.
SPOOFED = (
    "X-Passproxy-User: mallory",
    "X-Passproxy-Groups: admins",
    "X-Passproxy-Roles: admins",
    "X-Passproxy-Phone: mallory",
    "X-Passproxy-Assertion: mallory",
    "X-Passproxy-Token: mallory",
    "X-Passproxy-Set-Cookie-1: mallory=1",
    "X-Passproxy-Set-Cookie-5: mallory=1",
    "X_Passproxy_User: mallory",
    "X-Passproxy_Groups: admins",
    "Remote-User: mallory",
    "X-Forwarded-User: mallory",
    "X-Auth-Request-User: mallory",
    "X-Webauth-User: mallory",
    "X-Original-URI: /public/mallory",
    "X-Original-Method: MALLORY",
    "X-Forwarded-Uri: /public/mallory",
    "X-Forwarded-Method: MALLORY",
    "X-Forwarded-For: 203.0.113.9",
    "X-Forwarded-Host: mallory.example",
    "X-Forwarded-Proto: mallory",
)


@dataclass(frozen=True, slots=True)
class Asking:
    """A web server in front of an application, with PassProxy beside it."""

    server: str
    origin: str
    place: Place
    passproxy: PassProxy
    application: Upstream
    op: FakeOp

    def browser(self) -> Browser:
        return Browser({self.origin: Front(f"https://127.0.0.1:{self.place.port}", tls_name=DOMAIN)})

    async def asked(self, target: str, *lines: str, method: str = "GET") -> wire.Answer:
        self.application.forget()
        host = f"{DOMAIN}:{self.place.port}"
        return await wire.asked(self.place.port, target, host, lines, method=method, tls_name=DOMAIN)

    async def cookie(self) -> str:
        """Of somebody who has just signed in through it."""
        async with self.browser() as browser:
            assert (await browser.open(self.origin + "/")).status == 200
            return browser.cookies.header(self.origin + "/", Context(None, True, True), time.time())

    @property
    def seen(self) -> Seen:
        (seen,) = self.application.requests
        return seen


_known = Sessions.known


@pytest_asyncio.fixture(loop_scope="session", scope="module", params=list(ASKING))
async def asking(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Asking]:
    server, folder = request.param, tmp_path_factory.mktemp(request.param)
    port, own = free_port(), free_port()
    origin = f"https://{DOMAIN}:{port}"
    sections = {**SECTIONS, "domain": DOMAIN, "origin": origin, "listen": f"127.0.0.1:{own}"}
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Sessions, "known", lambda self, session: _known(self, session)._replace(due_at=1.0))
        async with FakeOp() as op, Upstream() as application:
            op.userinfo["groups"], op.rotates, op.claims["groups"] = DROP, True, ["staff"]
            provider = {"issuer": op.issuer, "client_id": op.client_id, "client_secret": op.client_secret}
            servers = {server: functools.partial(ASKING[server], application=f"127.0.0.1:{application.port}")}
            async with (
                protecting(
                    "http://127.0.0.1:9", folder, oidc=provider, forward_auth={"web_server": server}, **sections
                ) as passproxy,
                front_end(server, DOMAIN, port, own, folder, servers=servers) as place,
            ):
                yield Asking(server, origin, place, passproxy, application, op)


async def test_a_login_ends_where_it_began_byte_for_byte(asking: Asking):
    asking.application.forget()
    async with asking.browser() as browser:
        page = await browser.open(asking.origin + TARGET)
        assert (page.status, page.url) == (200, asking.origin + TARGET)
        assert page.hops[0].status == 302
    assert asking.seen.request_line == f"GET {TARGET} HTTP/1.1".encode()
    assert asking.seen.one(b"x-passproxy-user") == b"alice"


async def test_a_real_browser_lands_on_the_whole_address_its_fragment_too(asking: Asking, window: Window):
    page = await window.page()
    await page.goto(f"{asking.origin}{TARGET}#part?x=1")
    await expect(page.locator("body")).to_contain_text("/files")
    assert page.url == f"{asking.origin}{TARGET}#part?x=1"
    await page.close()


async def test_the_application_is_told_who_is_there_and_nothing_that_a_client_said(asking: Asking):
    cookie = await asking.cookie()
    asking.op.claims["groups"] = []
    answer = await asking.asked("/reports", f"Cookie: a=1; {cookie}; b=2", "Authorization: Basic dTpw", *SPOOFED)
    asking.op.claims["groups"] = ["staff"]
    assert answer.status == 200
    head, seen = asking.seen.head.lower(), asking.seen
    for word in (b"mallory", b"admins", b"203.0.113.9", b"http.reverse_proxy"):
        assert word not in head
    assert seen.one(b"x-passproxy-user") == b"alice"
    assert not seen.all(b"x-passproxy-groups")
    assert not seen.all(b"x-passproxy-phone")
    assert seen.one(b"cookie") == b"a=1; b=2"
    assert seen.one(b"authorization") == b"Basic dTpw"
    assert seen.one(b"x-forwarded-for") == b"127.0.0.1"
    assert len(seen.all(b"x-request-id")) == 1
    assert "mallory" not in str(answer.fields)


async def test_an_application_without_cookies_gets_no_empty_line(asking: Asking):
    await asking.asked("/", f"Cookie: {await asking.cookie()}")
    assert not asking.seen.all(b"cookie")
    assert not asking.seen.all(b"authorization")


async def test_a_renewed_session_reaches_the_browser(asking: Asking):
    """All of its cookies, beside the application's own, and nobody may keep the answer."""
    async with asking.browser() as browser:
        await browser.open(asking.origin + "/")
        names = ["__Host-passproxy", "__Host-passproxy-idp"]
        before = {name: browser.cookies.named(name).value for name in names}
        for number in range(3):
            asking.op.claims["groups"] = [f"staff-{number}"]
            page = await browser.open(f"{asking.origin}/{number}")
            assert page.status == 200
            after = {name: browser.cookies.named(name).value for name in names}
            assert all(after[name] != before[name] for name in names)
            assert "no-store" in ", ".join(page.headers.getall("Cache-Control"))
            before = after
        asking.op.claims["groups"] = ["staff"]
        assert not [name for name in page.headers if name.lower().startswith("x-passproxy")]


async def test_a_session_of_several_cookies_shrinks_through_it(asking: Asking):
    asking.op.claims["groups"] = [f"group-{number:06}-{number * 7919 % 999983:06}" for number in range(280)]
    try:
        async with asking.browser() as browser:
            await browser.open(asking.origin + "/")
            assert "__Host-passproxy-2" in browser.cookies.names()
            assert asking.application.requests[-1].one(b"x-passproxy-groups").count(b",") == 279
            asking.op.claims["groups"] = ["staff"]
            assert (await browser.open(asking.origin + "/")).status == 200
            assert "__Host-passproxy-2" not in browser.cookies.names()
            assert asking.application.requests[-1].one(b"x-passproxy-groups") == b"staff"
    finally:
        asking.op.claims["groups"] = ["staff"]


async def test_a_denied_path_is_a_page_with_the_code_and_the_rule(asking: Asking):
    cookie = await asking.cookie()
    answer = await asking.asked("/admin/users", f"Cookie: {cookie}", "Accept: text/html")
    assert answer.status == 403
    assert b"PP-ACCESS-RULE" in answer.body
    assert b"admin" in answer.body
    assert asking.application.requests == []
    for target in ("/x/../admin/a", "/%61dmin/a", "//admin/a", "/.passproxy/../admin/a"):
        answer = await asking.asked(target, f"Cookie: {cookie}", "X-Original-URI: /", "X-Forwarded-Uri: /")
        assert answer.status in (400, 403, 404)
        assert asking.application.requests == []


async def test_a_script_without_a_session_is_told_where_to_log_in(asking: Asking):
    answer = await asking.asked("/api", method="GET")
    assert (answer.status, answer.fields["content-type"]) == (401, "application/problem+json")
    assert b"/.passproxy/login" in answer.body
    assert asking.application.requests == []


async def test_a_public_path_is_open_and_says_nobody(asking: Asking):
    answer = await asking.asked("/public/logo.png", *SPOOFED)
    assert answer.status == 200
    assert b"mallory" not in asking.seen.head.lower()
    assert b"x-passproxy-" not in asking.seen.head.lower()


async def test_a_body_reaches_the_application_and_not_the_judge(asking: Asking):
    body = "name=value&" * 1000
    host = f"{DOMAIN}:{asking.place.port}"
    cookie = await asking.cookie()
    asking.application.forget()
    async with wire.connected(asking.place.port, tls_name=DOMAIN) as (reader, writer):
        lines = (f"Cookie: {cookie}", f"Content-Length: {len(body)}")
        writer.write(wire.head("POST", "/form", host, *lines) + body.encode())
        answer = await wire.answer(reader)
    assert answer.status == 200
    assert (asking.seen.request_line, asking.seen.body) == (b"POST /form HTTP/1.1", body.encode())


@pytest.mark.parametrize(
    "target", ["/.passproxy/auth", "/.passproxy/auth?x", "/.passproxy/%61uth", "//.passproxy/auth"]
)
async def test_no_visitor_can_ask(asking: Asking, target: str):
    lines = ("X-Original-URI: /", "X-Original-Method: GET", "X-Forwarded-Uri: /", "X-Forwarded-Method: GET")
    answer = await asking.asked(target, f"Cookie: {await asking.cookie()}", *lines)
    assert answer.status >= 400 or asking.application.requests
    assert not [name for name in answer.fields if name.startswith("x-passproxy-")]


async def test_the_doctor_cannot_ask_either(asking: Asking):
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=False)) as http:
        (finding,) = await questions(http, Origin.of(DOMAIN, asking.origin))
    assert (finding.check, finding.result) == ("questions", "ok")


async def test_a_programs_token_lets_it_in_and_stays_with_passproxy(asking: Asking):
    for line in (f"Authorization: Bearer {TOKEN}", f"X-Passproxy-Authorization: Bearer {TOKEN}"):
        assert (await asking.asked("/x", line, method="DELETE")).status == 200
        assert asking.seen.one(b"x-passproxy-token") == b"backup"
        assert TOKEN.encode() not in asking.seen.head
        assert not asking.seen.all(b"x-passproxy-user")
    assert (await asking.asked("/x", f"Authorization: Bearer {TOKEN}x")).status == 401
    assert asking.application.requests == []


async def test_the_largest_cookies_pass(asking: Asking):
    """A new session besides: its cookies are in the same answer."""
    cookie, own = await asking.cookie(), "a=" + "x" * 22 * 1024
    answer = await asking.asked("/", f"Cookie: {cookie}; {own}")
    assert answer.status == 200
    assert asking.seen.one(b"cookie") == own.encode()


async def test_a_websocket_passes_and_that_of_a_foreign_page_does_not(asking: Asking):
    cookie = await asking.cookie()
    asking.application.script, before = accepting, asking.application.script
    handshake = (
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        f"Cookie: {cookie}",
    )
    try:
        for foreign in (True, False):
            asking.application.forget()
            origin = "https://evil.example" if foreign else asking.origin
            async with wire.connected(asking.place.port, tls_name=DOMAIN) as (reader, writer):
                writer.write(wire.head("GET", "/ws", f"{DOMAIN}:{asking.place.port}", *handshake, f"Origin: {origin}"))
                status = (await reader.readline()).split()[1]
            assert (status, len(asking.application.requests)) == ((b"403", 0) if foreign else (b"101", 1))
    finally:
        asking.application.script = before


async def test_who_is_logged_out_is_out(asking: Asking):
    async with asking.browser() as browser:
        await browser.open(asking.origin + "/")
        cookie = browser.cookies.header(asking.origin + "/", Context(None, True, True), time.time())
        await browser.open(f"{asking.origin}/.passproxy/logout")
    assert (await asking.asked("/", f"Cookie: {cookie}")).status == 401


async def test_what_is_said_about_a_unix_socket_is_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """In HAProxy's script the line behind "over a unix socket", in the place of the other; nobody else is trusted."""
    monkeypatch.setattr(Sessions, "known", _known)
    port, socket = free_port(), tmp_path / "app.sock"
    origin = f"https://{DOMAIN}:{port}"

    def over_the_socket(place: Place) -> None:
        for name, pattern, replacement in (
            ("passproxy.cfg", r"server passproxy \S+", f"server passproxy unix@{socket}"),
            ("forward-auth.lua", r"^local ADDRESS, SOCKET = .*\n", ""),
            ("forward-auth.lua", r"^--   (?=local ADDRESS, SOCKET)", ""),
            ("forward-auth.lua", r"/run/passproxy/app\.sock", str(socket)),
        ):
            file = place.folder / name
            text, count = re.subn(pattern, replacement, file.read_text("utf-8"), flags=re.MULTILINE)
            assert count == 1, pattern
            file.write_text(text, "utf-8")

    sections = {"domain": DOMAIN, "origin": origin, "listen": f"unix:{socket}", "trusted_proxies": []}
    async with Upstream() as application:
        servers = {"haproxy": functools.partial(ASKING["haproxy"], application=f"127.0.0.1:{application.port}")}
        async with (
            protecting(application.url, tmp_path, forward_auth={"web_server": "haproxy"}, **sections) as passproxy,
            front_end("haproxy", DOMAIN, port, free_port(), tmp_path, over_the_socket, servers),
        ):
            line = f"Cookie: {passproxy.cookie()}"
            answer = await wire.asked(port, "/x", f"{DOMAIN}:{port}", (line,), tls_name=DOMAIN)
    assert answer.status == 200
    (seen,) = application.requests
    assert seen.one(b"x-passproxy-user") == b"alice"
    # Made by PassProxy alone: it was HAProxy who led here.
    assert not seen.all(b"via")


async def test_while_passproxy_is_away_nothing_passes(tmp_path: Path, asking: Asking):
    """The same web server, with nobody at PassProxy's address."""
    port, folder = free_port(), tmp_path
    servers = {
        asking.server: functools.partial(ASKING[asking.server], application=f"127.0.0.1:{asking.application.port}")
    }
    async with front_end(asking.server, DOMAIN, port, free_port(), folder, servers=servers):
        asking.application.forget()
        for target in ("/", "/public/x"):
            answer = await wire.asked(port, target, f"{DOMAIN}:{port}", (), tls_name=DOMAIN)
            assert answer.status >= 500
    assert asking.application.requests == []
