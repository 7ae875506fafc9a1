"""
What answers and lines give away: rows INFO and LOG of attack catalogue 2.13 at the socket.
"""

from __future__ import annotations

import base64
import re
from collections.abc import AsyncIterator
from importlib.metadata import version
from pathlib import Path

import pytest
import pytest_asyncio
from lxml import etree

import passproxy as product
from passproxy.demo.assertions import METADATA
from passproxy.web.log import JsonFormatter
from passproxy.web.login import LoginEndpoints
from tests.attacks.acs import ACS, FORM, AcsSite, acs_site
from tests.attacks.edge import check_refusal
from tests.fakes import idp_saml as idp
from tests.fakes.admin import ADMIN, Admin
from tests.fakes.gateway import HOST, get, navigation, protecting, request
from tests.fakes.log import Log
from tests.fakes.raw import Answer, Raw
from tests.fakes.upstream import Upstream, answering, hang, ok

pytestmark = pytest.mark.asyncio(loop_scope="module")

HTML = "Accept: text/html"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[AcsSite]:
    public = {"paths": ["/public/**"]}
    saml = {"sign_requests": True, "want_encrypted_assertions": False}
    folder = tmp_path_factory.mktemp("acs")
    async with acs_site(folder, passthrough=public, saml=saml, upstream={"response_timeout": "1s"}) as running:
        yield running


@pytest.fixture(autouse=True)
def as_new(site: AcsSite) -> None:
    site.upstream.script = ok
    site.upstream.forget()


#: What nobody outside needs to know: what we are made of, where it lies, and what is behind us.
TELLING = re.compile(
    rb"python|aiohttp|uvloop|lxml|libxml|xmlsec|onelogin|authlib|jinja|pydantic|cryptography|traceback|exception"
    rb"|site-packages|\.py\b|/opt/|/usr/|/tmp/|/home/|errno|127\.0\.0\.1|0x[0-9a-f]{6}|\bfile \"",
    re.IGNORECASE,
)
VERSIONS = {product.__version__, *map(version, ("aiohttp", "lxml", "xmlsec", "Jinja2", "uvloop", "cryptography"))}


def check_tells_nothing(answer: Answer) -> None:
    shown = answer.head + answer.body
    assert not TELLING.search(shown), TELLING.search(shown)
    for number in VERSIONS:
        assert number.encode() not in shown
    for name in (b"server", b"via", b"x-powered-by", b"x-runtime"):
        assert answer.all(name) == []


def upgrade(*lines: str, cookie: str) -> bytes:
    handshake = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==")
    return get("/", *handshake, *lines, cookie=cookie)


@pytest.mark.parametrize("html", [True, False], ids=["INFO-01 pages", "INFO-01 problems"])
async def test_no_error_tells_what_we_are_made_of(site: AcsSite, html: bool) -> None:
    accept = (HTML,) if html else ()
    big = b"a" * (500 * 1024)
    session = site.cookie
    wires: dict[int, bytes] = {
        400: request("POST", ACS, FORM, *accept, body=b"nonsense"),
        401: get("/x", *accept, "X-Requested-With: XMLHttpRequest"),
        403: request("POST", ACS, FORM, *accept, body=b"SAMLResponse=AAAA&RelayState=" + b"A" * 22),
        404: get("/.passproxy/nothing", *accept),
        405: request("TRACE", "/", *accept),
        413: request("POST", ACS, FORM, *accept, body=big),
        417: get("/", "Expect: the-unexpected", *accept),
        421: get("/", *accept, host="other.example.com"),
        426: upgrade("Sec-WebSocket-Version: 8", f"Origin: https://{HOST}", *accept, cookie=session),
        431: get("/", "X: " + "a" * 100_000, *accept),
        501: request("POST", "/", "Transfer-Encoding: gzip, chunked", *accept, cookie=session),
        505: request("GET", "/", *accept, version="2.0"),
    }
    for status, wire in wires.items():
        async with site.raw() as raw:
            answer = await raw.ask(wire)
        assert answer.status == status, answer.head
        check_tells_nothing(answer)
    assert site.upstream.is_untouched


@pytest.mark.parametrize(
    ("script", "status"),
    [
        (answering(b"HTTP/1.1 nonsense /opt/app/app.py line 3\r\n\r\n"), 502),
        (answering(b"", resets=True), 502),
        (answering(b"HTTP/1.1 200 OK\r\nContent-Length: 1, 2\r\nServer: python\r\n\r\n"), 502),
        (hang, 504),
    ],
    ids=["INFO-01 an answer that is none", "INFO-01 a reset", "INFO-01 two lengths", "INFO-01 silence"],
)
@pytest.mark.usefixtures("ticking")
async def test_an_application_that_fails_is_not_described(site: AcsSite, script, status: int) -> None:
    site.upstream.script = script
    answer = await site.asked(get("/x", HTML, cookie=site.cookie))
    assert answer.status == status
    check_tells_nothing(answer)


async def test_info_01_nor_one_that_is_not_there_nor_a_provider_that_is_not(tmp_path: Path) -> None:
    async with protecting("http://127.0.0.1:9", tmp_path) as passproxy:
        for status, wire in ((502, get("/x", HTML, cookie=passproxy.cookie())), (503, navigation("/x"))):
            async with Raw(passproxy.address) as raw:
                answer = await raw.ask(wire)
            assert answer.status == status
            check_tells_nothing(answer)


async def test_info_01_a_fault_of_our_own_is_no_different(
    site: AcsSite, caplog: pytest.LogCaptureFixture, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(*_: object) -> None:
        raise RuntimeError("/opt/app/secret.py: password=hunter2")

    monkeypatch.setattr(LoginEndpoints, "login", fails)
    answer = await site.asked(navigation("/.passproxy/login"))
    assert answer.status == 500
    assert b"RuntimeError" not in answer.body
    assert b"hunter2" not in answer.body
    check_tells_nothing(answer)
    lines = [JsonFormatter().format(record) for record in caplog.records if record.name == "passproxy"]
    assert "RuntimeError" in "".join(lines)
    assert "hunter2" not in "".join(lines)
    assert site.upstream.is_untouched


DECEPTIVE = [
    *("/account/x.css", "/account%0ax.css", "/account;x.js", "/account/..%2fx.css", "/account%00.css", "/account%3fx.png"),
    *("/account%23x.ico", "/account/x.css?public/", "/account//x.css", "/account/%2e%2e/public.css", "/account.css/public/x"),
]  # fmt: skip


@pytest.mark.parametrize("target", DECEPTIVE, ids=lambda target: f"INFO-04 {target}")
async def test_a_path_that_looks_like_a_picture_is_a_page_like_any_other(site: AcsSite, log: Log, target: str) -> None:
    """A cache in front may take it for public by its name; ours without a session it may not keep, and the page is the application's to mark."""
    await site.refuses(get(target), log, 401)
    started = await site.asked(navigation(target))
    assert (started.status, started.all(b"cache-control")) == (302, [b"no-store"])
    assert site.upstream.requests == []
    marked = b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\nCache-Control: private, no-cache\r\n\r\naccount"
    site.upstream.script = answering(marked)
    page = await site.asked(get(target, cookie=site.cookie))
    assert (page.status, page.body) == (200, b"account")
    assert page.all(b"cache-control") == [b"private, no-cache"]
    assert site.upstream.requests[-1].target == target.encode()


FORWARDED = [
    *("X-Forwarded-Host: evil.example", "X-Forwarded-Proto: http", "X-Forwarded-Port: 81", "X-Forwarded-Prefix: /evil"),
    *("Forwarded: host=evil.example;proto=http", "X-Original-URL: /evil", "X-Host: evil.example", "X-Forwarded-Uri: /evil"),
]  # fmt: skip


async def test_info_06_metadata_is_public_and_made_of_the_configuration(site: AcsSite, log: Log) -> None:
    where = "/.passproxy/saml/metadata"
    told = await site.asked(get(where))
    assert told.status == 200
    for wire in (
        get(where, *FORWARDED),
        get(where, host=f"{HOST}:443"),
        get(where, host=HOST.upper()),
        get(f"{where}?entityID=https://evil.example/", cookie=site.cookie),
        get(f"https://{HOST}{where}", *FORWARDED),
    ):
        assert (await site.asked(wire)).body == told.body
    await site.refuses(get(where, host="evil.example"), log, 421)
    root = etree.fromstring(told.body)
    addresses = {value for element in root.iter("*") for name, value in element.attrib.items() if name == "Location"}
    assert root.get("entityID") == idp.SP_ENTITY_ID
    assert addresses == {idp.ACS_URL, idp.SLO_URL}
    parts = {etree.QName(element).localname for element in root.iter(f"{{{METADATA}}}*")}
    assert parts == {
        *("EntityDescriptor", "SPSSODescriptor", "KeyDescriptor", "NameIDFormat"),
        *("AssertionConsumerService", "SingleLogoutService"),
    }
    private = idp.private_key(idp.keys("sp").key_pem).private_numbers()
    material = b"".join(base64.b64decode("".join((one.text or "").split())) for one in root.iter("{*}X509Certificate"))
    assert material == idp.der(idp.keys("sp"))
    for number in (private.d, private.p, private.q):
        assert number.to_bytes((number.bit_length() + 7) // 8, "big") not in material
    check_tells_nothing(told)


async def test_info_03_metrics_are_not_told_to_visitors_and_name_nobody(tmp_path: Path, log: Log) -> None:
    async with (
        Upstream() as upstream,
        protecting(upstream.url, tmp_path, trusted_proxies=[], **ADMIN) as passproxy,
        Raw(passproxy.address) as raw,
    ):
        for endpoint in ("metrics", "live", "ready", "health/metrics"):
            check_tells_nothing(answer := await raw.ask(get(f"/.passproxy/{endpoint}", cookie=passproxy.cookie())))
            assert answer.status == 404
            assert b"passproxy_requests" not in answer.body
        assert upstream.is_untouched
        named = ("X-Request-Id: id-of-a-stranger", "X-Forwarded-For: 192.0.2.77", "User-Agent: agent-of-a-stranger")
        await raw.ask(get("/path-of-a-stranger", *named, cookie=passproxy.cookie("user-of-a-session")))
        await raw.ask(get("/path-of-a-stranger", *named, cookie=f"{passproxy.names.session}=token-of-a-stranger"))
        text = await Admin(log).text()
    assert 'passproxy_requests_total{outcome="forwarded"} 1.0' in text
    for said in ("stranger", "user-of-a-session", "192.0.2.77", HOST, "127.0.0.1"):
        assert said not in text


REQUEST_IDS = ['evil"}{', "x" * 8000, "{{7*7}}", "<script>", "a b\tc", "\x80\xff", "x" * 65, "%0a%0devil"]


@pytest.mark.parametrize("name", ["X-Request-ID", "X-Correlation-ID", "Request-Id", "traceparent"])
@pytest.mark.parametrize("value", REQUEST_IDS, ids=lambda value: f"LOG-06 {value[:12]!a}")
async def test_the_id_of_a_refusal_is_our_own(site: AcsSite, log: Log, name: str, value: str) -> None:
    got = [await site.asked(get("/x", f"{name}: {value}")) for _ in range(2)]
    ids = [answer.json()["request_id"] for answer in got]
    assert all(re.fullmatch("[0-9a-f]{20}", one) for one in ids)
    assert ids[0] != ids[1]
    assert value not in ids
    assert [fields["request_id"] for fields in log.named("request.refused")] == ids
    assert not log.tells(value)
    for answer in got:
        assert value.encode("latin-1") not in answer.head + answer.body


GIVEN = "7b2e-0123456789abcdef"


@pytest.mark.parametrize("trusted", [True, False], ids=["LOG-06 from a trusted proxy", "LOG-06 from anybody else"])
async def test_one_that_is_well_formed_is_taken_from_those_who_are_trusted(
    tmp_path: Path, log: Log, trusted: bool
) -> None:
    proxies = ["127.0.0.0/8"] if trusted else ["192.0.2.0/24"]
    async with (
        Upstream() as upstream,
        protecting(upstream.url, tmp_path, trusted_proxies=proxies) as passproxy,
        Raw(passproxy.address) as raw,
    ):
        refused = (await raw.ask(get("/x", f"X-Request-ID: {GIVEN}"))).json()["request_id"]
        assert log.one("request.refused")["request_id"] == refused
        await raw.ask(get("/x", f"x-request-id: {GIVEN}", cookie=passproxy.cookie()))
        spellings = ("x_request_id: a", "X.Request.Id: b", "Connection: x-request-id", f"X-Request-Id: {GIVEN}")
        await raw.ask(get("/x", *spellings, cookie=passproxy.cookie()))
        await raw.ask(get("/x", f"X-Request-Id: {GIVEN}", f"X-Request-Id: {GIVEN}", cookie=passproxy.cookie()))
    assert (refused == GIVEN) is trusted
    for seen, is_taken in zip(upstream.requests, (trusted, trusted, False), strict=True):
        assert (seen.one(b"x-request-id") == GIVEN.encode()) is is_taken
        assert not [name for name, _ in seen.fields if name in (b"x_request_id", b"X.Request.Id")]


async def test_log_04_a_refusal_is_one_short_line_however_much_was_sent(
    site: AcsSite, caplog: pytest.LogCaptureFixture, log: Log
) -> None:
    jar = "; ".join(f"{site.passproxy.names.session}-login-{number}=x" for number in range(50))
    for number in range(40):
        target = f"/{'a' * 6000}%0a{number}?{'q' * 1000}"
        check_refusal(await site.asked(get(target, f"X: {'y' * 1000}", cookie=jar)), log, site.passproxy)
        (record,) = [record for record in caplog.records if record.name == "passproxy"]
        assert len(JsonFormatter().format(record)) < 1024
        log.forget()


async def test_log_04_a_thousand_cookies_that_are_none_make_no_lines_of_their_own(site: AcsSite, log: Log) -> None:
    """aiohttp warned of each (CVE-2025-69230)."""
    jar = "; ".join(f"\u00e9{number}=\x80" for number in range(1000))
    await site.refuses(get("/x", f"Cookie: {jar}"), log, 401)


async def test_info_01_the_statuses_of_an_upstream_pass_as_they_are(site: AcsSite) -> None:
    """What an application tells of itself is its own to tell; only the fields that name versions are left out."""
    site.upstream.script = answering(b"HTTP/1.1 500 Oops\r\nServer: x/1\r\nContent-Length: 4\r\n\r\nown\n")
    answer = await site.asked(get("/", cookie=site.cookie))
    assert (answer.status, answer.body, answer.all(b"server")) == (500, b"own\n", [])
