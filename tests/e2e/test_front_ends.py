"""
Behind every usual web server, with the configuration that is shipped for it.

What needs a real browser is in test_nginx.py; here is what a web server can
spoil, the same for each: addresses, headers, bodies, streams.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
import ssl
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
from playwright.async_api import expect

from passproxy.cli.nginx import COOKIES_LIMIT_BYTES
from tests.e2e import wire
from tests.e2e.conftest import DEEP_LINK
from tests.e2e.front_ends import SERVERS, Place, front_end
from tests.e2e.processes import PASSPROXY, free_port
from tests.e2e.site import Site, site
from tests.e2e.tap import Tap
from tests.e2e.window import Window, log_in
from tests.fakes.browser import Browser, Front

pytestmark = pytest.mark.asyncio(loop_scope="session")

#: A name that resolves on every machine, for `passproxy doctor` asks the public address.
DOMAIN = "localhost"

#: What a careless web server rewrites: doubled slashes, escapes, what looks like a parent folder.
TARGET = "/files//a%2Fb;v=2/%7Ex/?q=%2e%2E+%C3%A9&q=/../&empty=&=&&x"

PUBLIC = """
passthrough:
  paths:
    - /whoami
    - /events
    - path: /echo
      methods: [POST]
"""

UPLOAD_BYTES = 64 * 1024 * 1024

#: The second event is an hour away: whoever collects an answer has nothing to show until then.
EVENTS = "/events?count=2&interval=3600"

FORGED = "mallory"


@dataclass(frozen=True, slots=True)
class Behind:
    """PassProxy behind one web server; `cookie` is alice's session, from a login through it."""

    server: str
    site: Site
    place: Place
    tap: Tap
    cookie: str

    @property
    def host(self) -> str:
        return f"{DOMAIN}:{self.place.port}"

    async def asked(self, target: str, *lines: str) -> wire.Answer:
        self.tap.clear()
        return await wire.asked(self.place.port, target, self.host, lines, tls_name=DOMAIN)


@pytest_asyncio.fixture(loop_scope="session", scope="module", params=list(SERVERS))
async def behind(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Behind]:
    folder: Path = tmp_path_factory.mktemp(request.param)
    port = free_port()
    async with (
        site("oidc", folder, origin=f"https://{DOMAIN}:{port}", is_tapped=True, extra=PUBLIC) as running,
        front_end(request.param, DOMAIN, port, running.port, folder) as place,
    ):
        assert running.tap is not None
        cookie = await _logged_in(running, place)
        yield Behind(request.param, running, place, running.tap, cookie)


async def _logged_in(site: Site, place: Place) -> str:
    """A login, and that it ends where it began, byte for byte."""
    async with Browser({site.origin: Front(f"https://127.0.0.1:{place.port}", tls_name=DOMAIN)}) as browser:
        page = await browser.sign_in(await browser.open(site.origin + TARGET), "alice", "alice")
        assert (page.status, page.url) == (200, site.origin + TARGET)
        assert "Hello, Alice Archer" in page.text
        page = await browser.open(f"{site.origin}/whoami")
        assert ["X-Passproxy-User", "alice"] in page.json()["headers"]
        (value,) = [cookie.value for cookie in browser.cookies if cookie.name == "__Host-passproxy"]
    return f"__Host-passproxy={value}"


async def test_the_address_passes_byte_for_byte(behind: Behind):
    await behind.asked(TARGET, f"Cookie: {behind.cookie}")
    assert f"GET {TARGET} HTTP/1.1\r\n".encode() in bytes(behind.tap.sent)


async def test_browsers_are_offered_http_2(behind: Behind):
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2", "http/1.1"])
    _, writer = await asyncio.open_connection("127.0.0.1", behind.place.port, ssl=context, server_hostname=DOMAIN)
    assert writer.get_extra_info("ssl_object").selected_alpn_protocol() == "h2"
    writer.close()


async def test_a_browser_signs_in_over_http_2_and_keeps_its_streams(behind: Behind, window: Window):
    page = await window.page()
    await log_in(page, behind.site.origin + DEEP_LINK, "alice")
    assert page.url == behind.site.origin + DEEP_LINK
    protocols = "performance.getEntriesByType('navigation').map(each => each.nextHopProtocol)"
    assert await page.evaluate(protocols) == ["h2"]
    await expect(page.locator("#stream-state")).to_have_text("Connected")
    await expect(page.locator("#socket-state")).to_have_text("Connected")
    await page.get_by_role("button", name="Send").click()
    await expect(page.locator("#log li")).to_contain_text(["Hello through the proxy"])
    await page.close()


async def test_nobody_can_say_who_they_are(behind: Behind):
    names = ("X-Passproxy-User", "X_Passproxy_User", "X-Passproxy-Groups", "Remote-User", "X-Forwarded-User")
    answer = await behind.asked("/whoami", *(f"{name}: {FORGED}" for name in names), f"Cookie: {behind.cookie}")
    assert answer.status == 200
    assert FORGED.encode() not in bytes(behind.tap.sent)
    told = [value for name, value in json.loads(answer.body)["headers"] if name.lower() == "x-passproxy-user"]
    assert told == ["alice"]


async def test_what_a_client_says_about_itself_is_replaced_by_what_is_true(behind: Behind):
    answer = await behind.asked(
        "/whoami",
        "X-Forwarded-For: 203.0.113.9",
        "X-Real-IP: 203.0.113.9",
        "X-Forwarded-Proto: gopher",
        "X-Forwarded-Host: evil.example",
        "X-Forwarded-Port: 1",
        "Forwarded: for=203.0.113.9;host=evil.example",
        "X-Original-URL: /admin",
        "X-Rewrite-URL: /admin",
        "Proxy: http://evil.example/",
    )
    told = {name.lower(): value for name, value in json.loads(answer.body)["headers"]}
    assert told["host"] == behind.host
    assert (told["x-forwarded-for"].split(", ")[0], told["x-real-ip"]) == ("127.0.0.1", "127.0.0.1")
    assert (told["x-forwarded-proto"], told["x-forwarded-host"]) == ("https", behind.host)
    assert told["x-forwarded-port"] == str(behind.place.port)
    sent = bytes(behind.tap.sent)
    assert not any(text in sent for text in (b"evil", b"gopher", b"203.0.113.9", b"/admin"))


async def test_a_client_is_known_by_its_own_address(behind: Behind):
    """127.0.0.2 is this machine too, and not the web server's."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", behind.place.port, ssl=context, server_hostname=DOMAIN, local_addr=("127.0.0.2", 0)
    )
    writer.write(wire.head("GET", "/whoami", behind.host, "Connection: close"))
    told = {name.lower(): value for name, value in json.loads((await wire.answer(reader)).body)["headers"]}
    writer.close()
    assert told["x-real-ip"] == "127.0.0.2"
    assert told["x-forwarded-for"].split(", ")[0] == "127.0.0.2"


async def test_a_websocket_echoes(behind: Behind):
    headers = {"Host": behind.host, "Cookie": behind.cookie, "Origin": behind.site.origin}
    async with (
        aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http,
        http.ws_connect(
            f"https://127.0.0.1:{behind.place.port}/ws",
            headers=headers,
            ssl=False,
            server_hostname=DOMAIN,
        ) as socket,
    ):
        for size in (1, 125, 65_536, 1_000_000):
            await socket.send_bytes(b"x" * size)
            async with asyncio.timeout(20):
                assert await socket.receive_bytes() == b"x" * size


async def test_the_first_event_arrives_long_before_the_last(behind: Behind):
    async with wire.connected(behind.place.port, tls_name=DOMAIN) as (reader, writer):
        writer.write(wire.head("GET", EVENTS, behind.host))
        async with asyncio.timeout(20):
            assert b"text/event-stream" in await reader.readuntil(b"\r\n\r\n")
            assert b'"number": 1' in await reader.readuntil(b"\n\n")
        # Nobody waits an hour for the rest, some web servers at their end included.
        behind.tap.cut()
        writer.transport.abort()


async def test_nothing_of_an_upload_is_held_back_and_all_of_it_arrives(behind: Behind):
    """The application has the first half while the client still has the second."""
    half = bytes(range(256)) * (UPLOAD_BYTES // 512)
    behind.tap.clear()
    async with wire.connected(behind.place.port, tls_name=DOMAIN) as (reader, writer):
        writer.write(wire.head("POST", "/echo?digest", behind.host, f"Content-Length: {UPLOAD_BYTES}"))
        writer.write(half)
        await writer.drain()
        async with asyncio.timeout(20):
            # What is still in a buffer of some kilobytes on the way is not held back.
            await behind.tap.has_sent(len(half) - 256 * 1024)
        writer.write(half)
        answer = await wire.answer(reader)
    assert (answer.status, json.loads(answer.body)["length"]) == (200, UPLOAD_BYTES)
    assert json.loads(answer.body)["sha256"] == hashlib.sha256(half + half).hexdigest()


async def test_the_largest_cookies_pass(behind: Behind):
    """All of PassProxy's at their largest, and as many of the application's as one browser keeps in one."""
    for size in (8 * 1024, COOKIES_LIMIT_BYTES + 4096):
        line = f"Cookie: {behind.cookie}; a={'x' * (size - len(behind.cookie))}"
        # The demo application itself reads no line that long; PassProxy has passed it on all the same.
        await behind.asked("/whoami", line)
        assert b"a=" + b"x" * (size - len(behind.cookie)) in bytes(behind.tap.sent)


async def test_a_name_that_is_not_configured_gets_nothing(behind: Behind):
    behind.tap.clear()
    answer = await wire.asked(behind.place.port, "/whoami", "other.example", tls_name=DOMAIN)
    assert answer.status in (400, 404, 421) or (answer.status, answer.body) == (200, b"")
    assert behind.tap.sent_bytes == 0


async def test_plain_http_leads_to_https_and_keeps_the_address(behind: Behind):
    answer = await wire.asked(behind.place.plain_port, "/a%2Fb//c?x=%26", DOMAIN)
    assert answer.status == 308
    # Caddy takes whatever it is told to use for https for what the world sees as 443.
    origin = f"https://{DOMAIN}" if behind.server == "Caddy" else behind.site.origin
    assert answer.fields["location"] == f"{origin}/a%2Fb//c?x=%26"


async def test_https_is_insisted_on(behind: Behind):
    answer = await behind.asked("/whoami")
    assert answer.fields["strict-transport-security"] == "max-age=31536000"


async def test_without_a_session_a_script_gets_passproxys_own_answer(behind: Behind):
    answer = await behind.asked("/api/x")
    assert (answer.status, answer.fields["content-type"]) == (401, "application/problem+json")
    assert json.loads(answer.body)["login_url"].startswith(behind.site.origin)


async def findings(folder: Path) -> dict[str, tuple[str, str]]:
    """What `passproxy doctor` says of a site, by the name of the check: the result and the sentence."""
    environment = {**os.environ, "SSL_CERT_FILE": str(folder / "certificate.pem")}
    process = await asyncio.create_subprocess_exec(
        *(PASSPROXY, "doctor", "--format", "json", str(folder / "site.yaml")),
        stdout=asyncio.subprocess.PIPE,
        env=environment,
    )
    async with asyncio.timeout(60):
        said, _ = await process.communicate()
    return {each["check"]: (each["result"], each["text"]) for each in json.loads(said)["checks"]}


async def test_the_doctor_finds_nothing_wrong_with_what_is_shipped(behind: Behind):
    found = await findings(behind.place.folder)
    for check in ("public URL", "large cookies", "large answers", "forwarding"):
        assert found[check][0] == "ok", found[check]


def without(*patterns: str) -> Callable[[Place], None]:
    """nginx's part without these directives."""

    def spoil(place: Place) -> None:
        file = place.folder / "passproxy.conf"
        text = file.read_text("utf-8")
        for pattern in patterns:
            text, count = re.subn(rf"^ *{pattern} [^;]*;$", "", text, flags=re.MULTILINE)
            assert count == 1, pattern
        file.write_text(text, "utf-8")

    return spoil


def elsewhere(place: Place) -> None:
    """nginx's part, as if it came from another machine."""
    file = place.folder / "passproxy.conf"
    text = file.read_text("utf-8")
    assert "proxy_redirect off;" in text
    file.write_text(text.replace("proxy_redirect off;", "proxy_redirect off; proxy_bind 127.0.0.3;"), "utf-8")


MISTAKES = [
    pytest.param(
        without("proxy_set_header Host"), "", "public URL", "failed", "does not pass on the Host", id="another Host"
    ),
    pytest.param(
        without("large_client_header_buffers"), "", "large cookies", "failed", "is refused (status 400)", id="cookies"
    ),
    pytest.param(
        without("proxy_buffer_size", "proxy_buffers", "proxy_busy_buffers_size"),
        "",
        "large answers",
        "failed",
        "does not pass (status 502)",
        id="answers",
    ),
    pytest.param(
        elsewhere,
        "trusted_proxies: [192.0.2.1]\n",
        "forwarding",
        "warning",
        "X-Forwarded-For of the web server at 127.0.0.3 is not believed",
        id="not trusted",
    ),
]


@pytest.mark.parametrize(("spoil", "extra", "check", "result", "text"), MISTAKES)
async def test_the_doctor_finds_the_mistakes_that_the_guide_names(
    tmp_path: Path, spoil: Callable[[Place], None], extra: str, check: str, result: str, text: str
):
    port = free_port()
    async with (
        site("oidc", tmp_path, origin=f"https://{DOMAIN}:{port}", extra=extra) as running,
        front_end("nginx", DOMAIN, port, running.port, tmp_path, spoil),
    ):
        found = await findings(tmp_path)
    assert found[check][0] == result, found[check]
    assert text in found[check][1]


#: The file that each server was given, and the line that is another one for a unix socket.
SOCKET_LINES = {
    "Apache": ("passproxy.conf", r"ProxyPass / http:[^\n]*"),
    "Caddy": ("Caddyfile", r"reverse_proxy 127[^\n]*"),
    "HAProxy": ("passproxy.cfg", r"server passproxy 127[^\n]*"),
}


@pytest.fixture
def socket() -> Iterator[Path]:
    """Where a web server that runs as another user comes to, too."""
    with tempfile.TemporaryDirectory(prefix="passproxy-") as folder:
        os.chmod(folder, 0o755)
        yield Path(folder) / "app.sock"


@pytest.mark.parametrize("server", SOCKET_LINES)
async def test_what_is_said_about_a_unix_socket_is_right(tmp_path: Path, socket: Path, server: str):
    """The line behind `Or:`, in the place of the other; nginx's is printed by `passproxy nginx` where it is needed."""
    asked: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nunix")
        writer.close()

    def spoil(place: Place) -> None:
        name, pattern = SOCKET_LINES[server]
        text = (tmp_path / name).read_text("utf-8")
        (other,) = re.findall(r"# Or: (.*)$", text, re.MULTILINE)
        other = other.replace("/run/passproxy/app.sock", str(socket))
        text, count = re.subn(rf"(?<!Or: ){pattern}", other.replace("\\", r"\\"), text)
        assert count == 1
        (tmp_path / name).write_text(text, "utf-8")

    port = free_port()
    listener = await asyncio.start_unix_server(answer, socket)
    os.chmod(socket, 0o777)
    async with listener, front_end(server, DOMAIN, port, free_port(), tmp_path, spoil):
        said = await wire.asked(port, "/a%2Fb//c?x=%26", f"{DOMAIN}:{port}", tls_name=DOMAIN)
    assert (said.status, said.body) == (200, b"unix")
    (head,) = asked
    assert head.startswith(b"GET /a%2Fb//c?x=%26 HTTP/1.1\r\n")
    assert f"\r\nhost: {DOMAIN}:{port}\r\n" in head.decode().lower()
