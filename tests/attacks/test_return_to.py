"""Rows LF of the catalogue, as far as targets and pending logins go: a login ends where it began, here, once."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from passproxy.core.decision import Decider, Refuse, Site, StartLogin
from passproxy.core.errors import LoginError, LoginRequired, RequestMalformed
from passproxy.core.pending import PendingLogins
from passproxy.core.policy import Policy
from passproxy.core.routing import endpoint
from passproxy.core.session import Sessions
from passproxy.core.urls import RETURN_TO_LIMIT_BYTES, fields, return_to
from tests.core.given import NAMES, NOW, ORIGIN, RING, lines_of, request
from tests.core.test_urls import assert_stays_here, browser_origin, without_dots

HOSTILE = lines_of("return_to_hostile.txt")
DECIDER = Decider(Site(ORIGIN, NAMES, Policy(), Sessions(RING, 3600, lambda session: b"")))
PENDING = PendingLogins(RING, NAMES)
HTML = b"Accept: text/html"


@pytest.mark.parametrize("target", HOSTILE, ids=ascii)
def test_lf_02_to_05_a_parameter_never_leads_elsewhere(target):
    """As the login page reads it: percent-encoded in a query."""
    try:
        wanted = fields(b"return_to=" + quote(target, safe="").encode())["return_to"]
    except (LoginError, UnicodeEncodeError):
        return
    assert return_to(wanted) == "/"


@pytest.mark.parametrize("target", HOSTILE, ids=ascii)
def test_lf_06_nor_does_the_request_itself(target):
    """`GET //evil.example/%2e%2e` without a session, and what the login then returns to."""
    try:
        head = request(HTML, start=b"GET " + target.encode("utf-8", "surrogatepass") + b" HTTP/1.1")
    except RequestMalformed:
        return
    decision = DECIDER.decide(head, NOW)
    if isinstance(decision, StartLogin):
        assert_stays_here(decision.return_to)


@pytest.mark.parametrize("target", HOSTILE, ids=ascii)
def test_lf_05_what_is_not_refused_would_be_dangerous_only_without_us(target):
    """The list is worth its name: every line is foreign, unparseable, or one of our own pages to some reader."""
    assert_stays_here(return_to(target))
    assert browser_origin(str(ORIGIN), ORIGIN.url(return_to(target))) == str(ORIGIN)


@pytest.mark.parametrize("page", ["login", "logout", "logged-out", "saml/acs", "saml/slo", "oidc/callback", ""])
@pytest.mark.parametrize(
    "way",
    ["/.passproxy/{}", "/x/../.passproxy/{}", "/./.passproxy/{}", "/%2e/.passproxy/{}", "/x/%2E%2e/.passproxy/{}"],
)
def test_lf_07_a_login_never_returns_to_a_page_of_ours(page, way):
    """Neither by its name nor by a path that a browser resolves to it."""
    target = return_to(way.format(page) + "?return_to=/")
    path = without_dots(target.partition("?")[0])
    # The plain name is routing's to know: whoever uses the target asks `endpoint`.
    assert endpoint(path.encode()) is None or endpoint(target.partition("?")[0].encode()) is not None


@pytest.mark.parametrize("target", ["/transfer", "/?confirm=1"])
def test_lf_13_a_form_is_neither_kept_nor_sent_to_a_login(target):
    head = request(
        HTML,
        b"Sec-Fetch-Mode: navigate",
        b"Sec-Fetch-Dest: document",
        b"Content-Length: 7",
        start=f"POST {target} HTTP/1.1".encode(),
    )
    decision = DECIDER.decide(head, NOW)
    assert isinstance(decision, Refuse)
    assert isinstance(decision.error, LoginRequired)


def test_lf_09_a_login_cookie_is_bound_to_this_host_and_to_its_login():
    assert NAMES.login_prefix.startswith("__Host-")
    attacker = PENDING.remember("/attacker", {}, NOW)
    victim = PENDING.remember("/victim", {}, NOW).login
    jar = {name.encode(): value.encode() for name, value in attacker.cookies.items()}
    with pytest.raises(LoginError):
        PENDING.find(victim.login_id, jar, NOW)


def test_lf_18_a_long_deep_link_is_kept_whole_or_dropped_whole():
    longest = "/?q=" + "x" * (RETURN_TO_LIMIT_BYTES - 4)
    assert return_to(longest) == longest
    assert return_to(longest + "x") == "/"
    assert return_to("/?q=" + "x" * 8192) == "/"
    assert all(len(n) + len(v) < 4096 for n, v in PENDING.remember(longest, {}, NOW).cookies.items())


def test_lf_19_the_target_is_not_in_what_the_provider_sees():
    remembered = PENDING.remember("/reset?token=secret", {}, NOW)
    assert len(remembered.login.login_id) <= 80
    assert "secret" not in remembered.login.login_id
    assert not any("secret" in value for value in remembered.cookies.values())
