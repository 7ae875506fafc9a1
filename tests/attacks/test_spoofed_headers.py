"""
Section 2.8 of the catalogue: what an application is told about who is there comes from PassProxy alone.

The application's view is the one of CGI, WSGI and their like: every name folded to
letters, digits and one separator. Under it each identity name has our value or none.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.attacks.edge import Edge, edge
from tests.fakes.gateway import HOST, get, navigation, protecting, request
from tests.fakes.log import Log
from tests.fakes.raw import Raw
from tests.fakes.upstream import Seen, Upstream, answering, ok
from tests.fakes.websocket import accepting, handshake

pytestmark = pytest.mark.asyncio(loop_scope="module")

IDENTITY = [
    "User",
    "Subject",
    "Email",
    "Name",
    "Groups",
    "Roles",
    "Upn",
    "Given-Name",
    "Surname",
    "Account",
    "Dn",
    "Company",
    "Department",
    "Phone",
    "Session-Expires",
    "Assertion",
]
ALIASES = [
    "Remote-User",
    "X-Remote-User",
    "X-Forwarded-User",
    "X-Forwarded-Email",
    "X-Forwarded-Groups",
    "X-Forwarded-Preferred-Username",
    "X-Auth-Request-User",
    "X-Auth-Request-Email",
    "X-Auth-Request-Groups",
    "X-Auth-Request-Access-Token",
    "X-WEBAUTH-USER",
    "X-WEBAUTH-ROLE",
    "X-authentik-username",
    "X-authentik-groups",
    "X-authentik-jwt",
    "Remote-Groups",
    "Remote-Email",
    "Remote-Name",
    "Cf-Access-Jwt-Assertion",
    "Cf-Access-Authenticated-User-Email",
    "X-Goog-Authenticated-User-Email",
    "X-Goog-IAP-JWT-Assertion",
    "X-Client-Cert",
    "X-SSL-Client-S-DN",
    "X-SSL-Client-Cert",
    "SSL-Client-Cert",
    "X-Forwarded-Client-Cert",
    "X-Amzn-Oidc-Data",
    "X-MS-CLIENT-PRINCIPAL",
    "X-Pomerium-Jwt-Assertion",
    "X-Vouch-User",
    "OIDC_CLAIM_sub",
    "OIDC_access_token",
    "MELLON_uid",
    "X-Token-Subject",
    "X-Proxy-User",
    "X-Auth-User",
    "X-Forwarded-Access-Token",
    "Auth-User",
    "X-PassBeyond-User",
]
FORWARDED = [
    "Forwarded",
    "X-Forwarded-Proto",
    "X-Forwarded-Host",
    "X-Forwarded-Port",
    "X-Forwarded-Prefix",
    "X-Forwarded-Uri",
    "X-Forwarded-Server",
    "X-Forwarded-Scheme",
    "X-Forwarded-Ssl",
    "X-Forwarded-Path",
    "X-Forwarded-Method",
    "X-Original-URI",
    "X-Original-URL",
    "X-Original-Host",
    "X-Rewrite-URL",
    "X-Real-IP",
    "X-Client-IP",
    "X-Cluster-Client-IP",
    "True-Client-IP",
    "Client-IP",
    "CF-Connecting-IP",
    "X-Host",
    "X-Url-Scheme",
    "Front-End-Https",
    "Proxy",
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Edge]:
    async with edge(tmp_path_factory.mktemp("edge")) as running:
        yield running


@pytest.fixture(autouse=True)
def as_new(site: Edge) -> None:
    site.upstream.script = ok
    site.upstream.forget()


def folded(seen: Seen) -> dict[bytes, list[bytes]]:
    """As an application sees it that knows variables and no headers."""
    view: dict[bytes, list[bytes]] = {}
    for name, value in seen.fields:
        view.setdefault(re.sub(rb"[^A-Z0-9]+", b"_", name.upper()).strip(b"_"), []).append(value)
    return view


def spellings(name: str) -> list[str]:
    low, under = name.lower(), name.replace("-", "_")
    return [
        name,
        low,
        name.upper(),
        under,
        under.lower(),
        name.replace("-", "."),
        name.replace("-", "__"),
        name[::-1][::-1].replace("-", "_", 1),
        name + "_",
        "_" + name,
        name.replace("-", "~"),
        name.replace("-", "-_-"),
    ]


def check_view(seen: Seen, user: bytes | None) -> None:
    view = folded(seen)
    assert b"evil" not in seen.head, seen.head
    assert view.get(b"X_PASSPROXY_USER") == (None if user is None else [user])
    allowed = {b"X_PASSPROXY_USER", b"X_PASSPROXY_SUBJECT", b"X_PASSPROXY_GROUPS", b"X_PASSPROXY_SESSION_EXPIRES"}
    ours = {name for name in view if name.startswith(b"X_PASSPROXY")}
    assert ours == (set() if user is None else allowed)
    assert all(len(values) == 1 for name, values in view.items() if name.startswith((b"X_PASSPROXY", b"X_FORWARDED")))


@pytest.mark.parametrize("name", [f"X-Passproxy-{name}" for name in IDENTITY] + ALIASES + FORWARDED)
async def test_hdr_01_to_12_a_spoofed_name_reaches_no_application_in_any_spelling_on_any_route(site: Edge, name: str):
    """HDR-01, 02, 03, 04, 05, 07, 10, 11, 12, 20."""
    lines = [f"{spelling}: evil" for spelling in spellings(name)]
    async with site.raw() as raw:
        assert (await raw.ask(get("/", *lines, *lines[:3], cookie=site.cookie))).status == 200
        assert (await raw.ask(get("/public/x", *lines))).status == 200
        assert (await raw.ask(request("POST", "/hook", *lines, body=b"x"))).status == 200
        assert (await raw.ask(get("/health", *lines, cookie=site.passproxy.cookie(seconds=-5)))).status == 200
        site.upstream.script = accepting
        await raw.send(handshake(*lines, target="/socket", cookie=site.cookie))
        assert b" 101 " in await raw.head()
    seen = {each.target: each for each in site.upstream.requests}
    assert len(seen) == 5
    for target, user in (
        (b"/", b"alice"),
        (b"/public/x", None),
        (b"/hook", None),
        (b"/health", None),
        (b"/socket", b"alice"),
    ):
        check_view(seen[target], user)


async def test_hdr_01_a_spoofed_name_is_no_session(site: Edge, log: Log):
    lines = [f"X-Passproxy-{name}: admin" for name in IDENTITY] + [f"{name}: admin" for name in ALIASES]
    await site.refuses(get("/", *lines), log, 401)
    await site.refuses(navigation("/", *lines), log, 302)


async def test_hdr_02_the_order_and_number_of_spoofed_lines_do_not_matter(site: Edge):
    before = request("GET", "/", "X-Passproxy-User: evil", *["x-passproxy-user: evil"] * 20, cookie=site.cookie)
    assert (await site.asked(before + b"")).status == 200
    check_view(site.upstream.requests[0], b"alice")


@pytest.mark.parametrize(
    "connection",
    [
        ("Connection: close, X-Passproxy-User, X-Forwarded-For, Cookie, X-Passproxy-Groups, Host, Content-Length",),
        ("Connection: keep-alive", "Connection: x-PASSPROXY-user ,  X-Passproxy-Subject"),
        ("Connection:", "Connection: X-Passproxy-User"),
        ("Connection: ,,X-Passproxy-User,, X-Forwarded-Host", "Connection: X-Real-IP"),
    ],
)
async def test_hdr_08_a_client_cannot_nominate_what_we_add(site: Edge, connection: tuple[str, ...]):
    lines = (*connection, "X-Mine: kept", "Content-Length: 5")
    got = await site.asked(request("POST", "/", *lines, cookie=f"a=1; {site.cookie}", body=b"hello"))
    assert got.status == 200
    (seen,) = site.upstream.requests
    check_view(seen, b"alice")
    view = folded(seen)
    for name in ("X_FORWARDED_FOR", "X_FORWARDED_HOST", "X_REAL_IP", "X_PASSPROXY_GROUPS", "HOST", "COOKIE", "X_MINE"):
        assert len(view[name.encode()]) == 1, name
    assert seen.body == b"hello"
    assert seen.all(b"connection") in ([], [b"keep-alive"])


async def test_hdr_08_what_a_client_nominates_of_its_own_is_dropped(site: Edge):
    await site.asked(get("/", "Connection: X-Mine, close", "X-Mine: a", "X-MINE: b", "X-Yours: c", cookie=site.cookie))
    (seen,) = site.upstream.requests
    assert not seen.all(b"x-mine")
    assert seen.all(b"x-yours") == [b"c"]


@pytest.mark.parametrize(
    "name",
    ["X-Forwarded-Uri", "X-Original-URI", "X-Original-URL", "X-Rewrite-URL", "X-Forwarded-Prefix", "X-Forwarded-Path"],
)
async def test_hdr_11_no_field_takes_part_in_the_decision_about_a_path(site: Edge, log: Log, name: str):
    await site.refuses(get("/admin", f"{name}: /health"), log, 401)
    await site.refuses(navigation("/admin", f"{name}: /public/x"), log, 302)


async def test_hdr_12_urls_are_built_from_the_configuration_alone(site: Edge, log: Log):
    lines = (
        "X-Forwarded-Proto: http",
        "X-Forwarded-Host: evil.example",
        "X-Forwarded-Port: 1",
        "Forwarded: host=evil;proto=http",
    )
    answer = await site.refuses(navigation("/", *lines), log, 302)
    assert b"redirect_uri=https%3A%2F%2Fapp.example.com%2F.passproxy%2Foidc%2Fcallback" in answer.one(b"location")
    assert b"evil" not in answer.head
    await site.asked(get("/", *lines, cookie=site.cookie))
    (seen,) = site.upstream.requests
    told = [seen.one(f"x-forwarded-{name}".encode()) for name in ("proto", "host", "port")]
    assert told == [b"https", b"app.example.com", b"443"]


@pytest.mark.parametrize(
    ("sent", "seen_client", "chain"),
    [
        (["203.0.113.9"], b"203.0.113.9", b"203.0.113.9, 127.0.0.1"),
        (["198.51.100.1, 203.0.113.9"], b"203.0.113.9", b"203.0.113.9, 127.0.0.1"),
        (["203.0.113.9, 127.0.0.2"], b"203.0.113.9", b"203.0.113.9, 127.0.0.2, 127.0.0.1"),
        (["198.51.100.1", "203.0.113.9"], b"203.0.113.9", b"203.0.113.9, 127.0.0.1"),
        (["garbage"], b"127.0.0.1", b"127.0.0.1"),
        (["203.0.113.9, garbage"], b"127.0.0.1", b"127.0.0.1"),
        (["203.0.113.9\tx"], b"127.0.0.1", b"127.0.0.1"),
        (["[2001:db8::1]:4711"], b"2001:db8::1", b"2001:db8::1, 127.0.0.1"),
        ([", ".join(["203.0.113.9"] * 1000)], b"203.0.113.9", b"203.0.113.9, 127.0.0.1"),
        ([], b"127.0.0.1", b"127.0.0.1"),
    ],
)
async def test_hdr_13_the_clients_address_is_the_rightmost_that_no_trusted_proxy_wrote(
    site: Edge, sent: list[str], seen_client: bytes, chain: bytes
):
    await site.asked(get("/", *[f"X-Forwarded-For: {value}" for value in sent], cookie=site.cookie))
    (seen,) = site.upstream.requests
    assert (seen.one(b"x-real-ip"), seen.one(b"x-forwarded-for")) == (seen_client, chain)


async def test_hdr_13_an_untrusted_peer_is_its_own_address(site: Edge, tmp_path: Path):
    async with Upstream() as upstream:
        async with (
            protecting(upstream.url, tmp_path, trusted_proxies=["10.0.0.0/8"]) as passproxy,
            Raw(passproxy.address) as raw,
        ):
            await raw.ask(get("/", "X-Forwarded-For: 203.0.113.9", cookie=passproxy.cookie()))
        (seen,) = upstream.requests
    assert (seen.one(b"x-real-ip"), seen.one(b"x-forwarded-for")) == (b"127.0.0.1", b"127.0.0.1")


@pytest.mark.parametrize(
    "agent", ["GoogleHC/1.0", "kube-probe/1.30", "ELB-HealthChecker/2.0", "PingdomBot", "PassProxy/0.1"]
)
async def test_hdr_14_no_user_agent_opens_anything(site: Edge, log: Log, agent: str):
    await site.refuses(get("/admin", f"User-Agent: {agent}"), log, 401)


@pytest.mark.parametrize("name", ["X-HTTP-Method-Override", "X-Method-Override", "X-HTTP-Method"])
async def test_hdr_15_the_method_is_the_one_of_the_request_line(site: Edge, log: Log, name: str):
    await site.refuses(request("POST", "/public/x", f"{name}: GET"), log, 401)
    await site.asked(get("/public/x", f"{name}: DELETE"))
    (seen,) = site.upstream.requests
    assert b"DELETE" not in seen.head, "what is public for GET must not become a DELETE in the application"


async def test_hdr_19_identity_does_not_come_back(site: Edge, log: Log):
    site.upstream.script = answering(
        b"HTTP/1.1 200 OK\r\nX-Passproxy-User: alice\r\nx_passproxy_user: a\r\nContent-Length: 0\r\n\r\n"
    )
    got = await site.asked(get("/", cookie=site.cookie))
    assert got.fields == [(b"Content-Length", b"0")]
    site.upstream.forget()
    await site.refuses(request("TRACE", "/", cookie=site.cookie), log, 405)


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "u@app.example.com",
        "app.example.com,evil",
        "app.example.com/public?",
        "APP.EXAMPLE.COM.",
        "app.example.com.",
        "app.example.com:99999",
        "app.example.com:80",
        "app.example.com:",
        "app.example.com:443:443",
        "app.example.com evil",
        "app.example.com\tevil",
        "app.example.com\r\nHost: app.example.com",
        "app.example.com\r\nhost: evil.example",
        "",
        "127.0.0.1",
        "[::1]",
        "app.example.com\xa0",
        "app%2eexample.com",
        None,
    ],
)
@pytest.mark.parametrize("target", ["/", "/health"])
async def test_hdr_21_only_our_own_host_is_served(site: Edge, log: Log, host: str | None, target: str):
    for cookie in (None, site.cookie):
        lines = [] if host is None else [f"Host: {host}"]
        answer = await site.refuses(navigation(target, *lines, cookie=cookie, host=None), log, 421, 400)
        assert b"evil" not in answer.body


@pytest.mark.parametrize("host", [HOST, HOST.upper(), f"{HOST}:443", f" {HOST} "])
async def test_hdr_21_our_own_host_in_its_usual_forms_is_served(site: Edge, host: str):
    assert (await site.asked(get("/", cookie=site.cookie, host=host))).status == 200


async def test_hdr_23_bytes_beyond_ascii_pass_unchanged(site: Edge):
    await site.asked(get("/", b"Authorization: Bea\xffrer x", b"X-A: \xff", cookie=site.cookie))
    (seen,) = site.upstream.requests
    assert (seen.one(b"authorization"), seen.one(b"x-a")) == (b"Bea\xffrer x", b"\xff")


async def test_hdr_26_hop_by_hop_fields_end_here_in_both_directions(site: Edge):
    names = ("Keep-Alive", "Proxy-Connection", "Proxy-Authorization", "TE", "Upgrade", "HTTP2-Settings", "Trailer")
    answer = b"".join(b"%s: x\r\n" % name.encode() for name in names if name != "Upgrade")
    site.upstream.script = answering(b"HTTP/1.1 200 OK\r\n" + answer + b"Content-Length: 0\r\n\r\n")
    got = await site.asked(get("/", *[f"{name}: x" for name in names], "Proxy_Authorization: x", cookie=site.cookie))
    assert got.fields == [(b"Content-Length", b"0")]
    (seen,) = site.upstream.requests
    assert not {name.lower() for name, _ in seen.fields} & {name.lower().encode() for name in names}


# Cookies (section 2.7), which travel the same way.


@pytest.mark.parametrize(
    "cookies",
    [
        ["{good}; {bad}"],
        ["{bad}; {good}"],
        ["{good}", "{bad}"],
        ["{good}", "{good}"],
        ["a=1; {good}", "b=2; {good}; c=3"],
    ],
)
async def test_ck_01_two_sessions_are_none(site: Edge, log: Log, cookies: list[str]):
    good, bad = site.cookie, f"{site.passproxy.names.session}=x"
    lines = ["Cookie: " + each.format(good=good, bad=bad) for each in cookies]
    answer = await site.refuses(navigation("/", *lines), log, 302)
    session = site.passproxy.names.session.encode()
    assert [value for value in answer.all(b"set-cookie") if value.startswith(session + b"=;") and b"Max-Age=0" in value]
    await site.refuses(get("/", *lines), log, 401)


@pytest.mark.parametrize(
    ("lines", "left"),
    [
        (["a=1; {s}; b=2"], [b"a=1; b=2"]),
        (["{s}"], []),
        (["{s}; a=1"], [b"a=1"]),
        (["a=1;{s};b=2"], [b"a=1;b=2"]),
        (["a=1", "{s}", "b=2"], [b"a=1", b"b=2"]),
        (["{n}-login-abcdefgh=x; a=1; {s}; {n}-anything=y"], [b" a=1"]),
        (['a="; {s}; z=1'], [b'a="; z=1']),
        (["a=1; ; =; {s}; b=\xff"], [b"a=1; ; =; b=\xff"]),
        (["x{n}=1; {s}; {n}x=2"], [b"x__Host-passproxy=1; __Host-passproxyx=2"]),
        (["$Version=1; {s}"], [b"$Version=1"]),
        (["__host-passproxy=1; {s}"], [b"__host-passproxy=1"]),
    ],
)
async def test_ck_02_03_08_our_cookies_do_not_reach_the_application_and_all_others_do(
    site: Edge, lines: list[str], left: list[bytes]
):
    values = ["Cookie: " + line.format(s=site.cookie, n=site.passproxy.names.session) for line in lines]
    assert (await site.asked(get("/", *values))).status == 200
    (seen,) = site.upstream.requests
    assert b"eyJ" not in seen.head
    assert seen.all(b"cookie") == [value.strip(b" ") for value in left]
    site.upstream.forget()
    assert (await site.asked(get("/public/x", *values))).status == 200
    (seen,) = site.upstream.requests
    assert b"eyJ" not in seen.head


@pytest.mark.parametrize(
    "cookie",
    [
        "\xe2\x80\x80{s}",
        "={s}",
        "__host-passproxy={v}",
        "__Host-passproxy ={v}",
        "__Host-passproxy;={v}",
        '__Host-passproxy="{v}"',
        "__HOST-passproxy={v}",
        "passproxy={v}",
        "__Host-passproxy-login-abcdefgh={v}",
        "a={s}",
    ],
)
async def test_ck_04_nothing_but_the_exact_name_is_the_session(site: Edge, log: Log, cookie: str):
    value = site.passproxy.token()
    line = "Cookie: " + cookie.format(s=f"{site.passproxy.names.session}={value}", v=value)
    await site.refuses(get("/", line), log, 401)


@pytest.mark.parametrize("cookie", [";;;=;a", "a" * 16_000, "; ".join(f"c{n}=v" for n in range(200)), "=", " ", "a=b;"])
async def test_ck_13_odd_cookies_of_others_pass_unchanged(site: Edge, cookie: str):
    assert (await site.asked(get("/public/x", f"Cookie: {cookie}"))).status == 200
    (seen,) = site.upstream.requests
    assert seen.all(b"cookie") == [cookie.encode().strip(b" ")]
