"""What becomes of a request: a table whose ids are sentences, and the promise that nothing is raised."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passproxy.core.decision import Decider, Forward, Refuse, Serve, Site, StartLogin, is_navigation
from passproxy.core.errors import (
    HostUnknown,
    LoginRequired,
    OriginForeign,
    RequestMalformed,
    TargetAmbiguous,
    UpgradeRefused,
)
from passproxy.core.session import Sessions
from passproxy.core.session_claims import Session
from passproxy.core.urls import Origin
from tests.core.given import ALICE, NAMES, NOW, ORIGIN, RING, examples, lines_of, public, request

SESSIONS = Sessions(RING, 3600, lambda session: b"X-Passproxy-User: alice\r\n")
POLICY = public(("/health", ("GET", "HEAD")), ("/public/**", ("GET", "HEAD")), ("/hook", ("POST",)))
SITE = Site(ORIGIN, NAMES, POLICY, SESSIONS)
DECIDER = Decider(SITE)

GOOD = SESSIONS.seal(Session("id", ALICE, NOW, NOW + 3600)).encode()
EXPIRED = SESSIONS.seal(Session("id", ALICE, NOW - 7200, NOW - 1)).encode()
SIGNED_IN = b"Cookie: a=1; __Host-passproxy=" + GOOD
HTML = b"Accept: text/html,application/xhtml+xml"
NAVIGATE = [b"Sec-Fetch-Mode: navigate", b"Sec-Fetch-Dest: document"]
WEBSOCKET = [
    b"Connection: Upgrade",
    b"Upgrade: websocket",
    b"Sec-WebSocket-Version: 13",
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
]


def decide(*lines: bytes, start: bytes = b"GET / HTTP/1.1", host: bytes = b"app.example.com"):
    return DECIDER.decide(request(*lines, start=start, host=host), NOW)


def case(sentence, lines, expected, start=b"GET /page HTTP/1.1", host=b"app.example.com"):
    return pytest.param(lines, start, host, expected, id=sentence)


def forwarded(decision) -> bool:
    return isinstance(decision, Forward) and decision.session is not None


def forwarded_without_identity(decision) -> bool:
    return isinstance(decision, Forward) and decision.session is None


def login(decision) -> bool:
    return isinstance(decision, StartLogin)


def refused(error):
    return lambda decision: isinstance(decision, Refuse) and type(decision.error) is error


def served(name):
    return lambda decision: isinstance(decision, Serve) and decision.endpoint == name


@pytest.mark.parametrize(
    ("lines", "start", "host", "expected"),
    [
        case("a request with a session is forwarded with its identity", [SIGNED_IN], forwarded),
        case("so is one of any method", [SIGNED_IN], forwarded, b"PROPFIND /dav HTTP/1.1"),
        case("so is one whose path can be read in two ways", [SIGNED_IN], forwarded, b"GET /a%2f..;/b HTTP/1.1"),
        case("so is one to a public path", [SIGNED_IN], forwarded, b"GET /public/x HTTP/1.1"),
        case("so is one to an ambiguous public path", [SIGNED_IN], forwarded, b"GET /public/..%2f HTTP/1.1"),
        case("a navigation without a session starts a login", [HTML], login),
        case("a navigation that says so starts a login", NAVIGATE, login),
        case("a HEAD may be a navigation", [HTML], login, b"HEAD / HTTP/1.1"),
        case("a navigation with an expired session starts a login", [HTML, b"Cookie: __Host-passproxy=" + EXPIRED], login),
        case("a navigation with a broken session starts a login", [HTML, b"Cookie: __Host-passproxy=x"], login),
        case("a request of a script is refused", [b"Accept: application/json"], refused(LoginRequired)),
        case("a request that accepts nothing in particular is refused", [], refused(LoginRequired)),
        case("a fetch that accepts HTML is refused", [HTML, b"Sec-Fetch-Mode: cors"], refused(LoginRequired)),
        case("a frame is refused", [HTML, b"Sec-Fetch-Mode: navigate", b"Sec-Fetch-Dest: iframe"], refused(LoginRequired)),
        case("an image is refused", [b"Sec-Fetch-Mode: no-cors", b"Sec-Fetch-Dest: image"], refused(LoginRequired)),
        case("an old script is refused", [HTML, b"X-Requested-With: XMLHttpRequest"], refused(LoginRequired)),
        case("a form without a session is refused", [HTML, *NAVIGATE], refused(LoginRequired), b"POST /transfer HTTP/1.1"),
        case("a GET with a body is no navigation", [HTML, b"Content-Length: 3"], refused(LoginRequired)),
        case("a preflight is refused", [b"Origin: https://evil.example"], refused(LoginRequired), b"OPTIONS /admin HTTP/1.1"),
        case("a public path is forwarded without identity", [], forwarded_without_identity, b"GET /health HTTP/1.1"),
        case("also with a query", [], forwarded_without_identity, b"GET /public/x?y=/../z HTTP/1.1"),
        case("also with an expired session", [b"Cookie: __Host-passproxy=" + EXPIRED], forwarded_without_identity, b"GET /health HTTP/1.1"),
        case("a public path is so for its methods alone", [], refused(LoginRequired), b"DELETE /public/x HTTP/1.1"),
        case("a method that a rule names is public there", [b"Content-Length: 2"], forwarded_without_identity, b"POST /hook HTTP/1.1"),
        case("a public path in two readings is refused", [HTML], refused(TargetAmbiguous), b"GET /public/..%2fadmin HTTP/1.1"),
        case("a path beside the public ones starts a login", [HTML], login, b"GET /healthz HTTP/1.1"),
        case("a public path in the query opens nothing", [HTML], login, b"GET /admin?x=/public/ HTTP/1.1"),
        case("headers open nothing", [HTML, b"X-Forwarded-Uri: /health", b"X-Original-URL: /health"], login, b"GET /admin HTTP/1.1"),
        case("no user agent opens anything", [b"User-Agent: kube-probe/1.30"], refused(LoginRequired), b"GET /admin HTTP/1.1"),
        case("no method override opens anything", [b"X-HTTP-Method-Override: GET"], refused(LoginRequired), b"POST /public/x HTTP/1.1"),
        case("a WebSocket with a session is forwarded", [SIGNED_IN, *WEBSOCKET], lambda d: forwarded(d) and d.upgrade.protocol == b"websocket"),
        case("a WebSocket without a session is refused", WEBSOCKET, refused(LoginRequired)),
        case("a WebSocket on a public path is refused", WEBSOCKET, refused(LoginRequired), b"GET /public/ws HTTP/1.1"),
        case("a WebSocket that accepts HTML starts no login", [HTML, *NAVIGATE, *WEBSOCKET], refused(LoginRequired)),
        case("a foreign WebSocket with a session is refused", [SIGNED_IN, *WEBSOCKET, b"Origin: https://evil.example"], refused(OriginForeign)),
        case("a foreign WebSocket without one learns nothing", [*WEBSOCKET, b"Origin: https://evil.example"], refused(LoginRequired)),
        case("half a handshake is refused", [SIGNED_IN, b"Upgrade: websocket"], refused(UpgradeRefused)),
        case("half a handshake on a public path is refused", [b"Upgrade: websocket"], refused(LoginRequired), b"GET /health HTTP/1.1"),
        case("an offer of HTTP/2 is overlooked", [SIGNED_IN, b"Connection: upgrade", b"Upgrade: h2c"], lambda d: forwarded(d) and d.upgrade is None),
        case("an offer of HTTP/2 on a public path too", [b"Connection: upgrade", b"Upgrade: h2c"], lambda d: forwarded_without_identity(d) and d.upgrade is None, b"GET /health HTTP/1.1"),
        case("another protocol on a public path is refused", [b"Connection: upgrade", b"Upgrade: foo"], refused(LoginRequired), b"GET /health HTTP/1.1"),
        case("our own pages are served without a session", [], served("login"), b"GET /.passproxy/login?return_to=/ HTTP/1.1"),
        case("and with one", [SIGNED_IN], served("userinfo"), b"GET /.passproxy/userinfo HTTP/1.1"),
        case("even those that do not exist", [], served("nothing"), b"POST /.passproxy/nothing HTTP/1.1"),
        case("our own pages are never upgraded", [SIGNED_IN, *WEBSOCKET], served("login"), b"GET /.passproxy/login HTTP/1.1"),
        case("another host is refused", [SIGNED_IN], refused(HostUnknown), host=b"evil.example"),
        case("also on a public path", [], refused(HostUnknown), b"GET /health HTTP/1.1", b"evil.example"),
        case("also for our own pages", [], refused(HostUnknown), b"GET /.passproxy/login HTTP/1.1", b"evil.example"),
        case("but health is asked by address", [], served("health"), b"GET /.passproxy/health HTTP/1.1", b"10.0.0.1:8123"),
    ],
)  # fmt: skip
def test_a_request_is_decided(lines, start, host, expected):
    decision = decide(*lines, start=start, host=host)
    assert expected(decision), decision


@pytest.mark.parametrize(
    ("host", "is_ours"),
    [
        (b"app.example.com", True),
        (b"APP.Example.COM", True),
        (b"app.example.com:443", True),
        (b"APP.EXAMPLE.COM:443", True),
        (b"evil.example", False),
        (b"u@app.example.com", False),
        (b"app.example.com,evil.example", False),
        (b"app.example.com evil.example", False),
        (b"app.example.com/public?", False),
        (b"app.example.com.", False),
        (b"app.example.com:", False),
        (b"app.example.com:0443", False),
        (b"app.example.com:80", False),
        (b"app.example.com:99999", False),
        (b"app.example.com:443:443", False),
        (b"app.example.com#", False),
        (b"app.example.com\\", False),
        (b"x.app.example.com", False),
        (b"pp.example.com", False),
        (b"", False),
        (b"[::1]", False),
        (b"app.example.com\t.evil.example", False),
        ("àpp.example.com".encode(), False),
        ("app。example。com".encode(), False),
        ("ᵃpp.example.com".encode(), False),
        ("app.example.\u212aom".encode(), False),
    ],
)
def test_hdr_21_a_host_is_ours_or_not(host, is_ours):
    assert isinstance(decide(SIGNED_IN, host=host), Forward if is_ours else Refuse)


@pytest.mark.parametrize(
    ("target", "is_ours"),
    [
        (b"http://app.example.com/admin", True),
        (b"https://APP.example.com:443/admin", True),
        (b"http://evil.example/health", False),
        (b"http://app.example.com.evil.example/", False),
        (b"http://app.example.com:80/", False),
        (b"http://[::1]/", False),
    ],
)
def test_path_15_an_absolute_target_names_us_too(target, is_ours):
    decision = decide(SIGNED_IN, start=b"GET " + target + b" HTTP/1.1")
    assert isinstance(decision, Forward if is_ours else Refuse)


def test_an_absolute_target_is_judged_by_its_path():
    assert login(decide(HTML, start=b"GET http://app.example.com/admin?/health HTTP/1.1"))
    assert forwarded_without_identity(decide(start=b"GET http://app.example.com/health HTTP/1.1"))


def test_another_port_is_part_of_the_host():
    decider = Decider(replace(SITE, origin=Origin("https", "app.example.com", 8443)))
    for host, kind in (
        (b"app.example.com:8443", StartLogin),
        (b"app.example.com", StartLogin),
        (b"app.example.com:443", Refuse),
    ):
        assert isinstance(decider.decide(request(HTML, host=host), NOW), kind)


def test_the_application_gets_its_cookies_and_none_of_ours():
    decision = decide(b"Cookie: a=1; __Host-passproxy=" + GOOD + b"; __Host-passproxy-login-x=y; b=2", b"Cookie: c=3")
    assert isinstance(decision, Forward)
    assert decision.cookies == [b"a=1; b=2", b"c=3"]
    public = decide(b"Cookie: a=1; __Host-passproxy=" + EXPIRED, start=b"GET /health HTTP/1.1")
    assert isinstance(public, Forward)
    assert public.cookies == [b"a=1"]


def test_a_login_returns_to_what_was_asked_for():
    decision = decide(HTML, start=b"GET /a/b?c=d%20e HTTP/1.1")
    assert isinstance(decision, StartLogin)
    assert decision.return_to == "/a/b?c=d%20e"


@pytest.mark.parametrize(
    "target", [b"//evil.example/%2e%2e", b"/%09//evil.example", b"/;//evil.example", b"/\\evil.example"]
)
def test_lf_06_a_login_returns_to_no_other_site(target):
    decision = decide(HTML, start=b"GET " + target + b" HTTP/1.1")
    assert isinstance(decision, StartLogin)
    assert decision.return_to == "/"


def test_a_login_knows_the_cookies_of_other_logins():
    decision = decide(HTML, b"Cookie: __Host-passproxy-login-x=y")
    assert isinstance(decision, StartLogin)
    assert decision.crumbs.logins == {b"__Host-passproxy-login-x": b"y"}


@pytest.mark.parametrize(
    ("cookie", "reason"),
    [
        (b"__Host-passproxy=" + EXPIRED, "expired"),
        (b"__Host-passproxy=x", "not a compact JWT"),
        (b"__Host-passproxy=x; __Host-passproxy=" + GOOD, "more than one session cookie"),
        (b"a=1", None),
    ],
)
def test_why_a_session_cookie_was_none_is_told_to_the_log(cookie, reason):
    for start in (b"GET / HTTP/1.1", b"POST / HTTP/1.1", b"GET /health HTTP/1.1", b"GET /.passproxy/userinfo HTTP/1.1"):
        assert decide(HTML, b"Cookie: " + cookie, start=start).rejected == reason


def test_a_good_session_is_given_to_our_own_pages():
    decision = decide(SIGNED_IN, start=b"GET /.passproxy/userinfo HTTP/1.1")
    assert isinstance(decision, Serve)
    assert decision.session is not None
    assert decision.session.session.identity == ALICE


@pytest.mark.parametrize("line", lines_of("passthrough_hostile.txt"))
def test_a_hostile_target_never_reaches_the_application_without_a_session(line):
    """Rows PATH, three times: no session, a session, a session that is none."""
    target = line.partition(" ")[2].encode("latin-1")
    start = b"GET " + target + b" HTTP/1.1"
    try:
        head = request(HTML, start=start)
    except RequestMalformed:
        return
    assert isinstance(DECIDER.decide(head, NOW), (StartLogin, Refuse))
    assert isinstance(decide(HTML, b"Cookie: __Host-passproxy=" + EXPIRED, start=start), (StartLogin, Refuse))
    signed_in = request(SIGNED_IN, start=start)
    assert isinstance(DECIDER.decide(signed_in, NOW), Forward)
    assert signed_in.target == target


_LINES = st.lists(
    st.sampled_from(
        [
            HTML,
            SIGNED_IN,
            *NAVIGATE,
            *WEBSOCKET,
            b"Upgrade: h2c",
            b"Upgrade:",
            b"Origin: null",
            b"Cookie:",
            b"Cookie: \xff",
            b"Content-Length: 5",
            b"Transfer-Encoding: chunked",
            b"X-Requested-With: xmlhttprequest",
            b"Connection: \xff,,",
            b"Cookie: __Host-passproxy=" + EXPIRED,
            b"Cookie: __Host-passproxy=\xff.\xff.\xff",
            b"Accept: \xff",
        ]
    ),
    max_size=6,
)


@examples(150)
@given(
    _LINES,
    st.sampled_from([b"GET", b"POST", b"HEAD", b"OPTIONS"]),
    st.sampled_from(
        [b"/", b"/health", b"/public/x", b"/public/%2e", b"/.passproxy", b"/.passproxy/login", b"http://x/", b"/%"]
    ),
    st.sampled_from([b"app.example.com", b"evil.example", b"", b"\xff"]),
)
def test_every_request_is_decided_and_none_is_forwarded_by_accident(lines, method, target, host):
    """Nothing is raised; forwarded means a good session, or a public and unambiguous path of our own host."""
    try:
        head = request(*lines, start=method + b" " + target + b" HTTP/1.1", host=host)
    except RequestMalformed:
        return
    decision = DECIDER.decide(head, NOW)
    if isinstance(decision, Forward):
        assert host == b"app.example.com"
        if decision.session is None:
            assert target in (b"/health", b"/public/x")
            assert method in (b"GET", b"HEAD")
            assert decision.upgrade is None
        else:
            assert lines.count(SIGNED_IN) == 1


@pytest.mark.parametrize(
    ("lines", "start", "is_one"),
    [
        ([HTML], b"GET / HTTP/1.1", True),
        ([b"ACCEPT: TEXT/HTML"], b"GET / HTTP/1.0", True),
        ([b"Accept: */*"], b"GET / HTTP/1.1", False),
        ([HTML, HTML], b"GET / HTTP/1.1", False),
        ([b"Sec-Fetch-Mode: navigate"], b"GET / HTTP/1.1", False),
        ([b"Sec-Fetch-Dest: document"], b"GET / HTTP/1.1", False),
        ([b"Sec-Fetch-Mode: NAVIGATE", b"Sec-Fetch-Dest: document"], b"GET / HTTP/1.1", False),
        (NAVIGATE, b"PUT / HTTP/1.1", False),
        ([HTML, b"Transfer-Encoding: chunked"], b"GET / HTTP/1.1", False),
    ],
)
def test_a_navigation_is_a_window_that_somebody_looks_at(lines, start, is_one):
    assert is_navigation(request(*lines, start=start)) is is_one


@pytest.mark.parametrize(
    ("lines", "user"),
    [
        ([SIGNED_IN], "alice"),
        ([], None),
        ([b"Cookie: __Host-passproxy=" + EXPIRED], None),
        ([SIGNED_IN, SIGNED_IN], None),
    ],
)
def test_whose_request_it_is_can_be_read_with_all_that_is_known_of_them(lines, user):
    found = DECIDER.session_of(request(*lines, start=b"GET /page HTTP/1.1"), NOW)
    assert (None if found is None else found.session.identity.attributes["user"]) == user
