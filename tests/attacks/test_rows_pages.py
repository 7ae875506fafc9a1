"""
What our own pages show: nothing of a request, nothing of an answer, and text of the configuration as text (attack catalogue 2.13, XSS).
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

import pytest
import pytest_asyncio
from lxml import html

from passproxy.core.errors import ConfigError
from tests.attacks.acs import FORM, AcsSite, acs_site
from tests.fakes import html_forms
from tests.fakes import idp_saml as idp
from tests.fakes.gateway import ORIGIN, get, navigation, protecting, request
from tests.fakes.log import Log
from tests.fakes.upstream import answering, ok

pytestmark = pytest.mark.asyncio(loop_scope="module")

SLO = "/.passproxy/saml/slo"
SCRIPT = "<script>alert(1)</script>"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[AcsSite]:
    metadata = idp.idp_metadata(edit=idp.logout_service("HTTP-POST"))
    async with acs_site(tmp_path_factory.mktemp("acs"), metadata=metadata) as running:
        yield running


@pytest.fixture(autouse=True)
def as_new(site: AcsSite) -> None:
    site.upstream.script = ok
    site.upstream.forget()


BROKEN = [
    f"GET / HTTP/1.1\r\nHost: app.example.com\r\n{SCRIPT}\r\n\r\n",
    f"GET / HTTP/1.1\r\nHost: app.example.com\r\n{SCRIPT}: x\r\n\r\n",
    f"GET / HTTP/1.1\r\nHost: app.example.com\r\nX: {SCRIPT}\x00\r\n\r\n",
    f"GET / HTTP/1.1\r\nHost: {SCRIPT}\r\n\r\n",
    f"GET /{SCRIPT} HTTP/1.1\r\nHost: app.example.com\r\n\r\n",
    f"GET / {SCRIPT}\r\nHost: app.example.com\r\n\r\n",
    f"{SCRIPT} / HTTP/1.1\r\nHost: app.example.com\r\n\r\n",
    f"POST / HTTP/1.1\r\nHost: app.example.com\r\nContent-Length: {SCRIPT}\r\n\r\n",
    f"POST / HTTP/1.1\r\nHost: app.example.com\r\nTransfer-Encoding: {SCRIPT}\r\n\r\n",
    f"GET / HTTP/1.1\r\nHost: app.example.com\r\nExpect: {SCRIPT}\r\n\r\n",
    f"GET / HTTP/1.1\r\nHost: app.example.com\r\nAccept: text/html\r\n X: {SCRIPT}\r\n\r\n",
]  # fmt: skip


@pytest.mark.parametrize("wire", BROKEN, ids=lambda wire: f"XSS-04 {wire[:80]!a}")
async def test_bytes_that_are_no_request_are_not_repeated(site: AcsSite, log: Log, wire: str) -> None:
    answer = await site.refuses(wire.encode("latin-1"), log, 400, 401, 405, 417, 421, 501, 505)
    assert b"alert" not in answer.head + answer.body
    assert answer.one(b"content-type") in (b"application/problem+json", b"text/html; charset=utf-8")
    assert answer.one(b"x-content-type-options") == b"nosniff"


@pytest.mark.parametrize(
    "url",
    [
        *("javascript:alert(1)", "JavaScript:alert(1)", "data:text/html,x", "vbscript:x", "//evil.example", "/help", "help"),
        *('https://x/" onclick="alert(1)', "https://x/<script>", "https://x/\nx", "java\tscript:alert(1)", "blob:x"),
    ],
    ids=lambda url: f"XSS-05 {url!a}",
)  # fmt: skip
async def test_an_address_of_the_support_that_could_be_more_starts_nothing(tmp_path: Path, url: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        async with protecting("http://127.0.0.1:9", tmp_path, support={"url": url}):
            pass
    assert "support.url" in refusal.value.problems[0]


@pytest.mark.parametrize(
    "footer",
    [SCRIPT, '"><img src=x onerror=alert(1)>', "</style>" + SCRIPT, "{{7*7}}", "${7*7}", "{% include 'post.js' %}", "%(x)s"],
    ids=lambda footer: f"XSS-05 XSS-06 {footer}",
)  # fmt: skip
async def test_a_footer_is_text(tmp_path: Path, footer: str) -> None:
    support = {"url": "https://help.example.com/?a=1&b='2'", "footer": footer}
    async with acs_site(tmp_path, support=support) as site:
        page = (await site.asked(navigation("/.passproxy/nothing"))).body.decode()
    foot = page.rpartition("<footer>")[2].partition("</footer>")[0]
    assert html.fromstring(f"<div>{foot}</div>").text_content().startswith(footer)
    assert page.count("<script") == 0
    assert re.findall(r"<(\w+)", foot) == ["a"]


TEMPLATES = [
    "{{7*7}}",
    "${7*7}",
    "#{7*7}",
    "<%= 7*7 %>",
    "%(x)s",
    "{0.__class__}",
    "{{config}}",
    "{%raw%}",
    "%s%n",
    "\\u003c",
]


@pytest.mark.parametrize("text", TEMPLATES, ids=lambda text: f"XSS-06 {text}")
async def test_what_looks_like_a_template_is_none(site: AcsSite, log: Log, text: str) -> None:
    quoted, begun = quote(text, safe=""), await site.begun()
    lines = [f"{name}: {text}" for name in ("Referer", "User-Agent", "Accept-Language", "X-Request-ID")]
    for wire in (
        navigation(f"/.passproxy/{quoted}", *lines),
        navigation("/", *lines, host=text),
        get(f"/{quoted}?{quoted}={quoted}", *lines),
        request("POST", "/.passproxy/saml/acs", FORM, cookie=begun.cookie, body=f"SAMLResponse={quoted}".encode()),
    ):
        log.forget()
        answer = await site.asked(wire)
        assert answer.status >= 400
        shown = answer.body.partition(b"<main>")[2] or answer.body
        assert b"49" not in re.sub(rb"[0-9a-f]{20}", b"", shown)
        assert text.encode() not in shown
        assert b"__class__" not in shown
        assert len(log.events) == 1


@pytest.mark.parametrize("text", ["{{7*7}}", "${7*7}", "%(x)s", "{0.__class__}"], ids=lambda text: f"XSS-06 {text}")
async def test_a_name_that_looks_like_a_template_is_a_name(site: AcsSite, text: str) -> None:
    seen = await site.seen(await site.signed_in(name_id=text, attributes={"groups": (text,)}))
    assert seen.one(b"x-passproxy-user") == seen.one(b"x-passproxy-groups") == text.encode()


RELAY_STATES = [
    f'"><{SCRIPT}',
    "'><img src=x onerror=alert(1)>",
    "</form><form action=//evil>",
    "{{7*7}}",
    "a&quot;b",
    "\u2028<!--",
]


@pytest.mark.parametrize("relay_state", RELAY_STATES, ids=lambda text: f"XSS-08 {text!a}")
async def test_what_a_page_posts_is_a_value_and_no_markup(site: AcsSite, relay_state: str) -> None:
    message = base64.b64encode(idp.by_post(idp.logout())).decode()
    body = f"SAMLRequest={quote(message, safe='')}&RelayState={quote(relay_state, safe='')}".encode()
    page = await site.asked(request("POST", SLO, FORM, "Accept: text/html", body=body))
    assert page.status == 200
    text = page.body.decode()
    (form,) = html_forms.forms(text, ORIGIN)
    assert (form.method, form.action) == ("post", idp.IDP_SLO_URL)
    assert dict(form.data(None))["RelayState"] == relay_state
    assert re.findall(r"<(?:form|img|iframe|input|script|button)\b", text) == [
        "<form",
        "<input",
        "<input",
        "<button",
        "<script",
    ]
    script = text.partition("<script>")[2].partition("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = page.one(b"content-security-policy").decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert "unsafe" not in policy
    assert policy.endswith("form-action https://idp.example.com")


ADDRESSES = [
    *(f'https://idp.example.com/"><{SCRIPT}', "https://idp.example.com/<svg>", "javascript:alert(1)", "data:text/html,x"),
    *("https://idp.example.com/ onload=x", "https://idp.example.com/#x", "http://idp.example.com/", "//idp.example.com/"),
]  # fmt: skip


@pytest.mark.parametrize("where", ["sign-on", "logout"])
@pytest.mark.parametrize("address", ADDRESSES, ids=lambda text: f"XSS-08 {text}")
async def test_an_address_of_the_provider_that_is_none_is_never_used(
    tmp_path: Path, log: Log, address: str, where: str
) -> None:
    edit = idp.logout_service("HTTP-POST", address if where == "logout" else idp.IDP_SLO_URL)
    metadata = idp.idp_metadata(edit=edit, sso_url=address if where == "sign-on" else idp.SSO_URL)
    async with acs_site(tmp_path, metadata=metadata) as site:
        answer = await site.refuses(navigation("/"), log, 503)
    assert not answer.all(b"location")
    assert address.encode() not in answer.body


async def test_xss_08_a_quote_in_an_address_stays_within_its_attribute(tmp_path: Path) -> None:
    """It is a plain character of a URL (RFC 3986, 2.2), so it is no reason to refuse one."""
    address = "https://idp.example.com/slo?a='onsubmit='x&b=1"
    async with acs_site(tmp_path, metadata=idp.idp_metadata(edit=idp.logout_service("HTTP-POST", address))) as site:
        message = base64.b64encode(idp.by_post(idp.logout())).decode()
        page = await site.asked(request("POST", SLO, FORM, body=f"SAMLRequest={quote(message, safe='')}".encode()))
    (form,) = html_forms.forms(page.body.decode(), ORIGIN)
    assert form.action == address
    assert b"'onsubmit" not in page.body


APP_FIELDS = [
    (b"Content-Security-Policy", b"default-src 'self' cdn.example.com"),
    (b"Content-Security-Policy-Report-Only", b"script-src 'none'"),
    (b"X-Frame-Options", b"SAMEORIGIN"),
    (b"X-Content-Type-Options", b"nosniff"),
    (b"Referrer-Policy", b"origin"),
    (b"Cache-Control", b"public, max-age=5"),
    (b"Strict-Transport-Security", b"max-age=1"),
    (b"Permissions-Policy", b"camera=()"),
    (b"Via", b"1.1 cache (Varnish/7)"),
    (b"Set-Cookie", b"app=1; Path=/x; SameSite=Strict"),
    (b"X-Custom", b"\xc3\xa4"),
]
VERSIONS = [
    (b"Server", b"Apache/2.4.1"),
    (b"X-Powered-By", b"PHP/8.1"),
    (b"X-AspNet-Version", b"4.0"),
    (b"x-php-version", b"8"),
]


def answer_with(fields: list[tuple[bytes, bytes]]) -> bytes:
    lines = b"".join(name + b": " + value + b"\r\n" for name, value in fields)
    return b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n" + lines + b"\r\n"


@pytest.mark.parametrize("fields", [APP_FIELDS, []], ids=["XSS-09 its own", "XSS-09 none"])
async def test_what_an_application_says_of_safety_stays_as_it_is(
    site: AcsSite, fields: list[tuple[bytes, bytes]]
) -> None:
    site.upstream.script = answering(answer_with(fields))
    answer = await site.asked(get("/", cookie=site.cookie))
    left = [field for field in answer.fields if field[0] not in (b"Content-Length", b"Connection")]
    assert left == fields


@pytest.mark.parametrize("strips", [True, False])
async def test_xss_09_versions_are_told_only_where_that_was_asked_for(tmp_path: Path, strips: bool) -> None:
    async with acs_site(tmp_path, upstream={"strip_version_headers": strips}) as site:
        site.upstream.script = answering(answer_with([*VERSIONS, *APP_FIELDS]))
        answer = await site.asked(get("/", cookie=site.cookie))
    left = [field for field in answer.fields if field[0] not in (b"Content-Length", b"Connection")]
    assert left == ([] if strips else VERSIONS) + APP_FIELDS
