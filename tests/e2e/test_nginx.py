"""
Behind a real nginx with TLS and HTTP/2, with the snippet that is shipped.

The provider is on plain loopback and the application on `app.example.test`: two
sites, so that the provider's answer crosses from one to the other as it does
with a provider of one's own.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import statistics
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, Request, expect

from tests.e2e import wire
from tests.e2e.conftest import DEEP_LINK, DOMAIN, TABS, opened
from tests.e2e.measured import measured
from tests.e2e.nginx import Nginx, check, make_certificate, nginx, placed, printed, written
from tests.e2e.processes import free_port
from tests.e2e.site import Site, site
from tests.e2e.tap import Tap
from tests.e2e.window import Window, log_in, sign_in

pytestmark = pytest.mark.asyncio(loop_scope="session")

SESSION = "__Host-passproxy"
LOGIN = SESSION + "-login-"

#: With POST, so that an upload can pass without a session.
PUBLIC = """
passthrough:
  paths:
    - path: /whoami
      methods: [GET, POST]
    - path: /echo
      methods: [POST]
"""

UPLOAD_BYTES = 64 * 1024 * 1024

#: One name, as a careful proxy would compare it, as CGI folds it, and as nobody writes it.
SPELLINGS = ("X-Passproxy-User", "X_Passproxy_User", "x-PASSPROXY_user")
FORGED = "mallory"


#: A form as a page would have it.
POST = """([url, fields]) => {
    const form = document.createElement("form");
    [form.method, form.action] = ["post", url];
    for (const [name, value] of Object.entries(fields)) {
        const field = document.createElement("input");
        [field.type, field.name, field.value] = ["hidden", name, value];
        form.append(field);
    }
    document.body.append(form);
    form.submit();
}"""


@dataclass(frozen=True, slots=True)
class Front:
    """Everything: nginx, PassProxy, and what stands behind them."""

    site: Site
    nginx: Nginx
    tap: Tap

    @property
    def origin(self) -> str:
        return self.site.origin

    @property
    def host(self) -> str:
        return f"{DOMAIN}:{self.nginx.port}"


@pytest_asyncio.fixture(loop_scope="session", scope="session", params=["oidc", "saml"])
async def front(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Front]:
    folder: Path = tmp_path_factory.mktemp(f"nginx-{request.param}")
    port = free_port()
    origin = f"https://{DOMAIN}:{port}"
    async with (
        site(request.param, folder, origin=origin, is_tapped=True, extra=PUBLIC) as running,
        nginx(DOMAIN, port, running.port, folder) as web_server,
    ):
        assert running.tap is not None
        yield Front(running, web_server, running.tap)


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def session(front: Front, chromium: Browser) -> str:
    """The Cookie pair of a session of alice, from a real login."""
    window = await opened(chromium)
    await log_in(await window.page(), f"{front.origin}/", "alice")
    cookies = await window.cookies()
    await window.context.close()
    return f"{SESSION}={cookies[SESSION]['value']}"


async def protocols(page: Page) -> list[str]:
    return await page.evaluate("performance.getEntriesByType('navigation').map(each => each.nextHopProtocol)")


async def test_a_login_over_http_2_lands_exactly_on_the_deep_link(front: Front, window: Window):
    page = await window.page()
    await log_in(page, front.origin + DEEP_LINK, "alice")
    assert page.url == front.origin + DEEP_LINK
    await expect(page.locator(".target")).to_have_text(DEEP_LINK)
    await expect(page.get_by_role("region", name="You", exact=True)).to_contain_text("Hello, Alice Archer")
    assert await protocols(page) == ["h2"]
    window.check()


async def test_the_fragment_survives_the_login(front: Front, window: Window):
    page = await window.page()
    wanted = f"{front.origin}/d?view=list#/x?y=1&z=%20#2"
    await page.goto(wanted)
    await sign_in(page, "alice")
    await page.wait_for_url(wanted)
    assert await page.evaluate("location.href") == wanted
    # Neither the page in between nor the provider's is left to go back to.
    assert await page.evaluate("history.length") <= 3
    window.check()


async def test_a_repeated_answer_of_the_provider_goes_on_into_the_application(front: Front, window: Window):
    """The back button; over SAML the answer is a form from another site, which brings no session along."""
    page = await window.page()
    answers: list[Request] = []
    page.on("request", lambda request: answers.append(request) if "/.passproxy/" in request.url else None)
    await log_in(page, front.origin + DEEP_LINK, "alice")
    callback = next(each for each in answers if "callback" in each.url or each.url.endswith("/acs"))
    await page.goto(f"{front.site.issuer}/")
    if callback.method == "POST":
        async with page.expect_navigation():
            await page.evaluate(POST, [callback.url, callback.post_data_json])
    else:
        await page.goto(callback.url)
    await page.wait_for_url(f"{front.origin}/")
    await expect(page.get_by_role("region", name="You", exact=True)).to_contain_text("Hello, Alice Archer")
    window.check(r"status of 40[34]", r"favicon")


async def test_the_cookies_are_as_strict_as_the_protocol_allows(front: Front, window: Window):
    page = await window.page()
    await page.goto(front.origin + DEEP_LINK)
    await page.get_by_label("User name").wait_for()
    pending = await window.cookies()
    assert [name[: len(LOGIN)] for name in pending] == [LOGIN]
    (login,) = pending.values()
    await sign_in(page, "alice")
    await page.wait_for_url(front.origin + DEEP_LINK)
    after = await window.cookies()
    # The provider's own cookie lives on 127.0.0.1; the login cookie is gone.
    ours = {name: cookie for name, cookie in after.items() if name.startswith("__Host-")}
    loop = f"{SESSION}-loop"
    assert ours.keys() == {SESSION, f"{SESSION}-idp", f"{SESSION}-who", loop}
    # What the callback has to see comes along with a form from another site.
    across = "None" if front.site.protocol == "saml" else "Lax"
    strictness = [(cookie, across if name == loop else "Lax") for name, cookie in ours.items()]
    for cookie, same_site in [(login, across), *strictness]:
        assert (cookie["secure"], cookie["httpOnly"], cookie["sameSite"]) == (True, True, same_site), cookie
        assert (cookie["domain"], cookie["path"]) == (DOMAIN, "/"), cookie
    assert await page.evaluate("document.cookie") == ""


async def test_the_answer_of_the_provider_comes_from_another_site(front: Front, window: Window):
    """Were it the same site, the test above would prove nothing about SameSite."""
    page = await window.page()
    answers: list[Request] = []
    page.on(
        "request",
        lambda request: (
            answers.append(request)
            if re.search(r"\.passproxy/(oidc/callback|saml/acs)", urlsplit(request.url).path)
            else None
        ),
    )
    await log_in(page, f"{front.origin}/", "alice")
    assert len(answers) == 1
    headers = await answers[0].all_headers()
    assert headers["sec-fetch-site"] == "cross-site"
    if front.site.protocol == "saml":
        assert answers[0].method == "POST"
        assert headers["origin"] == front.site.issuer.removesuffix("/idp")
    assert headers["cookie"].startswith(LOGIN)


async def test_websocket_and_events_pass_nginx_as_they_come(front: Front, window: Window):
    page = await window.page()
    await log_in(page, f"{front.origin}/", "alice")
    await expect(page.locator("#stream-state")).to_have_text("Connected")
    await expect(page.locator("#socket-state")).to_have_text("Connected")
    await page.get_by_role("button", name="Send").click()
    await expect(page.locator("#log li")).to_contain_text(["Hello through the proxy"])
    delays = await page.evaluate(
        """() => new Promise(done => {
            const delays = [], source = new EventSource("/events?count=15&interval=0.1");
            source.onmessage = event => {
                delays.push(Date.now() - Date.parse(JSON.parse(event.data).time));
                if (delays.length === 15) { source.close(); done(delays); }
            };
        })"""
    )
    measured(
        f"{front.site.protocol}: events through nginx after {statistics.median(delays):.0f} ms (median), {max(delays)} (most)"
    )
    assert statistics.median(delays) < 50
    window.check()


async def test_more_tabs_with_streams_than_http_1_has_connections_all_land(front: Front, window: Window):
    urls = [f"{front.origin}/reports/{number}?page={number}" for number in range(TABS // 2)]
    pages = [await window.page() for _ in urls]
    await asyncio.gather(*(page.goto(url) for page, url in zip(pages, urls, strict=True)))
    await asyncio.gather(*(sign_in(page, "alice") for page in reversed(pages)))
    await asyncio.gather(*(page.wait_for_url(url) for page, url in zip(pages, urls, strict=True)))
    for page in pages:
        await expect(page.locator("#stream-state")).to_have_text("Connected")
    window.check()


async def test_a_large_upload_from_a_page_arrives_whole(front: Front, window: Window, tmp_path: Path):
    content = bytes(range(256)) * (UPLOAD_BYTES // 256)
    file = tmp_path / "upload.bin"
    file.write_bytes(content)
    page = await window.page()
    await log_in(page, f"{front.origin}/", "alice")
    begun = time.monotonic()
    await page.get_by_label("File to upload").set_input_files(file)
    await expect(page.locator("#uploaded")).to_contain_text(hashlib.sha256(content).hexdigest())
    measured(f"{front.site.protocol}: {UPLOAD_BYTES // 2**20} MiB uploaded in {time.monotonic() - begun:.1f} s")
    await expect(page.locator("#uploaded")).to_contain_text(f"{UPLOAD_BYTES:,} bytes")
    window.check()


async def test_nothing_of_an_upload_is_held_back(front: Front):
    """The application has the first half while the client still has the second."""
    half = b"a" * (UPLOAD_BYTES // 2)
    front.tap.clear()
    async with wire.connected(front.nginx.port, tls_name=DOMAIN) as (reader, writer):
        writer.write(wire.head("POST", "/echo?digest", front.host, f"Content-Length: {UPLOAD_BYTES}"))
        writer.write(half)
        await writer.drain()
        async with asyncio.timeout(20):
            await front.tap.has_sent(len(half))
        writer.write(half)
        answer = await wire.answer(reader)
    assert (answer.status, json.loads(answer.body)["length"]) == (200, UPLOAD_BYTES)
    assert json.loads(answer.body)["sha256"] == hashlib.sha256(half + half).hexdigest()


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("way", ["through nginx", "past nginx"])
async def test_nobody_can_say_who_they_are(front: Front, session: str, spelling: str, way: str):
    lines = (
        f"{spelling}: {FORGED}",
        f"X-Passproxy-Groups: {FORGED}",
        f"Remote-User: {FORGED}",
        f"X-Forwarded-User: {FORGED}",
    )
    port, name = (front.nginx.port, DOMAIN) if way == "through nginx" else (front.site.port, None)
    for cookie, users in ((session, ["alice"]), ("unrelated=1", [])):
        front.tap.clear()
        answer = await wire.asked(port, "/whoami", front.host, (*lines, f"Cookie: {cookie}"), tls_name=name)
        assert answer.status == 200
        sent = bytes(front.tap.sent)
        assert b"GET /whoami HTTP/1.1\r\n" in sent
        assert FORGED.encode() not in sent
        told = [value for field, value in json.loads(answer.body)["headers"] if field.lower() == "x-passproxy-user"]
        assert told == users


@pytest.mark.parametrize("spelling", SPELLINGS)
async def test_a_page_cannot_say_it_either(front: Front, window: Window, spelling: str):
    page = await window.page()
    await log_in(page, f"{front.origin}/", "alice")
    front.tap.clear()
    told = await page.evaluate(
        "([name, value]) => fetch('/whoami', {headers: {[name]: value}}).then(answer => answer.json())",
        [spelling, FORGED],
    )
    assert ["X-Passproxy-User", "alice"] in told["headers"]
    assert FORGED.encode() not in bytes(front.tap.sent)


async def test_what_nginx_and_the_client_say_about_the_client_is_believed_from_nginx_alone(front: Front):
    lines = (
        "X-Forwarded-For: 203.0.113.9",
        "X-Forwarded-Proto: gopher",
        "X-Forwarded-Host: evil.example",
        "Forwarded: for=203.0.113.9;host=evil.example",
        "X-Original-URL: /admin",
        "X-Rewrite-URL: /admin",
        "Proxy: http://evil.example/",
    )
    front.tap.clear()
    answer = await wire.asked(front.nginx.port, "/whoami", front.host, lines, tls_name=DOMAIN)
    told = {name.lower(): value for name, value in json.loads(answer.body)["headers"]}
    assert told["host"] == front.host
    assert told["x-forwarded-for"].split(", ")[0] == "127.0.0.1"
    assert (told["x-forwarded-proto"], told["x-forwarded-host"]) == ("https", front.host)
    assert not any(text in bytes(front.tap.sent) for text in (b"evil", b"gopher", b"203.0.113.9", b"/admin"))


async def test_without_a_session_a_script_is_refused_through_nginx_too(front: Front):
    answer = await wire.asked(front.nginx.port, "/api/x", front.host, tls_name=DOMAIN)
    assert (answer.status, answer.fields["content-type"]) == (401, "application/problem+json")
    assert "set-cookie" not in answer.fields
    assert answer.fields["strict-transport-security"] == "max-age=31536000"


async def test_the_raw_address_reaches_the_application(front: Front, session: str):
    lines = (f"Cookie: {session}",)
    target = "/files//a%2Fb;v=2/%7Ex/?q=%2e%2E+%C3%A9&q=/../"
    front.tap.clear()
    await wire.asked(front.nginx.port, target, front.host, lines, tls_name=DOMAIN)
    assert f"GET {target} HTTP/1.1\r\n".encode() in bytes(front.tap.sent)


async def test_as_many_cookies_as_are_promised_pass_and_more_are_refused_by_nginx(front: Front):
    fits = [f"Cookie: a={'x' * 26_000}"]
    front.tap.clear()
    # The demo application itself reads no line that long; PassProxy has passed it on all the same.
    await wire.asked(front.nginx.port, "/whoami", front.host, fits, tls_name=DOMAIN)
    assert all(f"{line}\r\n".encode() in bytes(front.tap.sent) for line in fits)
    front.tap.clear()
    large = [f"Cookie: a={'x' * 29_000}"]
    assert (await wire.asked(front.nginx.port, "/whoami", front.host, large, tls_name=DOMAIN)).status == 400
    assert front.tap.sent_bytes == 0


async def test_connections_to_passproxy_are_kept(front: Front):
    """nginx keeps none by itself, and none whose requests say `Connection: close`, as they do by default."""
    before = connections(front.site.port)
    async with wire.connected(front.nginx.port, tls_name=DOMAIN) as (reader, writer):
        for _ in range(10):
            writer.write(wire.head("GET", "/.passproxy/health", front.host))
            assert (await wire.answer(reader)).status == 200
    assert len(connections(front.site.port) - before) <= 2


def connections(port: int) -> set[str]:
    """The other ends of connections to a port of this machine, those that ended in the last minute too."""
    rows = [line.split()[1:3] for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    ours = f":{port:04X}"
    return {other for row in rows for own, other in (row, row[::-1]) if own.endswith(ours)}


async def test_a_name_that_is_not_configured_gets_nothing(front: Front):
    assert (await wire.asked(front.nginx.port, "/whoami", "other.example", tls_name=DOMAIN)).status == 421
    with pytest.raises(OSError, match=r"(?i)unrecognized.name"):
        await wire.asked(front.nginx.port, "/whoami", "other.example", tls_name="other.example")
    with pytest.raises(asyncio.IncompleteReadError):
        await wire.asked(front.nginx.plain_port, "/whoami", "other.example")


async def test_plain_http_leads_to_https_and_keeps_the_address(front: Front):
    answer = await wire.asked(front.nginx.plain_port, "/a%2Fb//c?x=%26", DOMAIN)
    assert (answer.status, answer.fields["location"]) == (308, f"{front.origin}/a%2Fb//c?x=%26")


async def test_nginx_accepts_a_further_domain_beside_the_first(tmp_path: Path):
    make_certificate(DOMAIN, tmp_path)
    plain_port, text = free_port(), ""
    for domain, options in ((DOMAIN, ()), (f"other-{DOMAIN}", ("--further",))):
        text += placed(printed(domain, 443, f"unix:/run/{domain}.sock", *options), domain, plain_port, tmp_path)
    check(written(text, tmp_path))


async def test_a_stopped_passproxy_is_noticed_at_once(tmp_path: Path):
    port = free_port()
    async with nginx(DOMAIN, port, free_port(), tmp_path):
        begun = time.monotonic()
        answer = await wire.asked(port, "/", f"{DOMAIN}:{port}", tls_name=DOMAIN)
        assert answer.status == 502
        assert time.monotonic() - begun < 5
