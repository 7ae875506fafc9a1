"""Whom an application learns to trust, from whom it does not, and what it notices later."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given as each
from hypothesis import strategies as st

from passproxy.trusted.enrolment import Change, changed, description_from, enrolled, origin_from
from passproxy.trusted.errors import EnrolmentRefused, FetchFailed
from passproxy.trusted.fetching import fetched
from passproxy.trusted.keys import KeySet
from passproxy.trusted.presets import HOUR_SECONDS
from passproxy.trusted.settings import Settings, settings_from, variables
from passproxy.trusted.verifier import Verifier
from tests.trusted.describing import Describing, describing
from tests.trusted.given import ANYTHING, NOW, Clock, Proxy, body, examples, new_key, published, settings

CHALLENGE = "q83vASNFZ4mrze8BI0VniavN7wEjRWeJq83vASNFZ4k"


@pytest.fixture
def proxy() -> Iterator[Describing]:
    with describing() as running:
        yield running


def enrol(proxy: Describing, **options: Any) -> Settings:
    return enrolled(proxy.origin, fetched, now=NOW, **{"challenge": CHALLENGE, **options})


def test_a_proxy_that_proves_its_key_is_enrolled(proxy: Describing) -> None:
    found = enrol(proxy)
    assert found.issuer == proxy.origin
    assert found.audiences == (proxy.origin,)
    assert found.jwks_url == proxy.origin + "/.passproxy/jwks.json"
    assert found.thumbprints == (proxy.proxy.kid,)
    assert proxy.server.asked == [f"/.passproxy/trust.json?challenge={CHALLENGE}", "/.passproxy/jwks.json"]


def test_what_was_enrolled_verifies_assertions(proxy: Describing) -> None:
    found = settings_from(variables(enrol(proxy)))
    verifier = Verifier(found, KeySet(found.jwks_url), clock=Clock(NOW))
    assert verifier.verify(proxy.proxy.assertion()).user == "alice"


def test_the_proof_of_an_enrolment_is_no_assertion_and_an_assertion_is_no_proof(proxy: Describing) -> None:
    proxy.proof_headers = {"typ": "passproxy-assertion+jwt"}
    with pytest.raises(EnrolmentRefused, match="TP-TYPE"):
        enrol(proxy)


@pytest.mark.parametrize(
    ("changed_members", "reason"),
    [
        ({"issuer": "https://other.example.com"}, "asked as"),
        ({"issuer": None}, "no issuer"),
        ({"issuer": 7}, "no issuer"),
        ({"jwks_uri": "https://other.example.com/.passproxy/jwks.json"}, "should be at"),
        ({"jwks_uri": "file:///etc/passwd"}, "should be at"),
        ({"jwks_uri": None}, "no jwks_uri"),
        ({"assertion_header": "X Assertion"}, "ASSERTION_HEADER"),
        ({"assertion_header": "X-A\r\nX-B"}, "ASSERTION_HEADER"),
        ({"assertion_header": ""}, "no assertion_header"),
        ({"algorithms": ["HS256", "none"]}, "ES256"),
        ({"algorithms": "ES256"}, "no algorithms"),
        ({"algorithms": None}, "no algorithms"),
        ({"assertion_lifetime_seconds": 86400}, "live 86400"),
        ({"assertion_lifetime_seconds": 0}, "live 0"),
        ({"assertion_lifetime_seconds": True}, "no assertion_lifetime_seconds"),
        ({"assertion_lifetime_seconds": "60"}, "no assertion_lifetime_seconds"),
        ({"proof": None}, "no proof"),
        ({"proof": "e30.e30.e30"}, "does not hold"),
        ({"proof": "é"}, "does not hold"),
    ],
)
def test_a_description_that_does_not_hold_is_refused(
    proxy: Describing, changed_members: dict[str, Any], reason: str
) -> None:
    proxy.description = changed_members
    with pytest.raises(EnrolmentRefused, match=reason):
        enrol(proxy)


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"challenge": "AAAA"}, "challenge"),
        ({"challenge": None}, "challenge"),
        ({"iss": "https://other.example.com"}, "iss"),
        ({"aud": "https://other.example.com"}, "aud"),
        ({"exp": NOW - 31}, "TP-EXPIRED"),
        ({"exp": None}, "TP-CLAIM"),
        ({"iat": NOW + 31, "exp": NOW + 60}, "TP-EARLY"),
        ({"exp": NOW + 301}, "TP-LIFETIME"),
    ],
)
def test_a_proof_that_is_not_fresh_or_not_for_this_is_refused(
    proxy: Describing, claims: dict[str, Any], reason: str
) -> None:
    proxy.proof = claims
    with pytest.raises(EnrolmentRefused, match=reason):
        enrol(proxy)


def test_a_description_that_was_copied_has_no_proof_for_this_challenge(proxy: Describing) -> None:
    copied = fetched(f"{proxy.origin}/.passproxy/trust.json?challenge={CHALLENGE}")
    proxy.description = {"proof": description_from(copied).proof}
    assert enrol(proxy)
    with pytest.raises(EnrolmentRefused, match="challenge"):
        enrol(proxy, challenge="B" * 43)


def test_a_proof_by_a_key_that_is_not_published_is_refused(proxy: Describing) -> None:
    proxy.signer = Proxy(now=proxy.proxy.now)
    with pytest.raises(EnrolmentRefused, match="not published"):
        enrol(proxy)
    proxy.proof_headers = {"kid": proxy.proxy.kid}
    with pytest.raises(EnrolmentRefused, match="TP-SIGNATURE"):
        enrol(proxy)
    proxy.signer, proxy.proof_headers = None, {"kid": None}
    with pytest.raises(EnrolmentRefused, match="not published"):
        enrol(proxy)


def test_assertions_may_live_for_an_hour_and_no_longer(proxy: Describing) -> None:
    proxy.description = {"assertion_lifetime_seconds": HOUR_SECONDS}
    assert enrol(proxy)
    proxy.description = {"assertion_lifetime_seconds": HOUR_SECONDS + 1}
    with pytest.raises(EnrolmentRefused, match="live 3601"):
        enrol(proxy)


def test_an_application_may_insist_on_its_name(proxy: Describing) -> None:
    with pytest.raises(EnrolmentRefused, match="expected is 'grafana'"):
        enrol(proxy, audience="grafana")
    proxy.description, proxy.proof = {"audience": "grafana"}, {"aud": "grafana"}
    assert enrol(proxy, audience="grafana").audiences == ("grafana",)
    assert enrol(proxy).audiences == ("grafana",)


@pytest.mark.parametrize("audience", ["a,b", " a", "a b", "a\n"])
def test_an_audience_that_cannot_be_written_down_is_refused(proxy: Describing, audience: str) -> None:
    proxy.description, proxy.proof = {"audience": audience}, {"aud": audience}
    with pytest.raises(EnrolmentRefused):
        enrol(proxy)


@pytest.mark.parametrize("document", [b"", b"[]", b"<html>", b'{"issuer": 1, "issuer": 2}', b"\xff"])
def test_what_is_no_description_is_refused(document: bytes) -> None:
    with published(body(document)) as server, pytest.raises(EnrolmentRefused):
        enrolled(server.origin, fetched, now=NOW, challenge=CHALLENGE)


def test_a_redirect_is_not_followed() -> None:
    with published(body(b"", 302, Location="/login")) as server:
        with pytest.raises(FetchFailed):
            enrolled(server.origin, fetched, now=NOW, challenge=CHALLENGE)
        assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://app.example.com", "https://app.example.com"),
        ("https://App.Example.com:443/", "https://app.example.com"),
        ("https://app.example.com:8443", "https://app.example.com:8443"),
        ("http://localhost:8080", "http://localhost:8080"),
        ("http://[::1]:8080/", "http://[::1]:8080"),
    ],
)
def test_an_address_is_an_origin(url: str, origin: str) -> None:
    assert origin_from(url) == origin


@pytest.mark.parametrize(
    "url",
    [
        "http://app.example.com",
        "app.example.com",
        "https://app.example.com/app",
        "https://app.example.com/?x=1",
        "https://user@app.example.com",
        "file:///etc/passwd",
        "",
    ],
)
def test_any_other_address_is_refused(url: str) -> None:
    with pytest.raises(EnrolmentRefused):
        origin_from(url)


MEMBERS = ["issuer", "jwks_uri", "assertion_header", "audience", "algorithms", "assertion_lifetime_seconds", "proof"]


@examples(150)
@each(st.dictionaries(st.sampled_from(MEMBERS), ANYTHING) | ANYTHING)
def test_any_description_is_refused_and_nothing_else_happens(members: Any) -> None:
    """None of these can prove anything, whatever it says."""
    document = json.dumps(members).encode()
    with pytest.raises((EnrolmentRefused, FetchFailed)):
        enrolled("https://app.example.com", lambda _: document, now=NOW, challenge=CHALLENGE)


# --- later


def compare(proxy: Describing, before: Settings) -> Change:
    return changed(before, fetched, now=NOW, challenge=CHALLENGE)


def test_nothing_has_changed(proxy: Describing) -> None:
    assert compare(proxy, enrol(proxy)) == Change()


def test_a_rotation_with_overlap_is_told(proxy: Describing) -> None:
    before, coming = enrol(proxy), new_key()
    proxy.keys = (proxy.proxy.key, coming)
    change = compare(proxy, before)
    assert change.broken == ()
    assert len(change.rotated) == 2


def test_keys_that_nobody_enrolled_break_the_trust(proxy: Describing) -> None:
    before = enrol(proxy)
    proxy.proxy.key = new_key()
    assert compare(proxy, before).broken == ("none of the keys that were enrolled is published any more",)


def test_without_enrolled_keys_there_is_nothing_to_compare_them_with(proxy: Describing) -> None:
    before = settings_from({k: v for k, v in variables(enrol(proxy)).items() if not k.endswith("THUMBPRINTS")})
    proxy.proxy.key = new_key()
    assert compare(proxy, before) == Change()


@pytest.mark.parametrize(
    ("description", "proof", "name"),
    [
        ({"audience": "grafana"}, {"aud": "grafana"}, "TRUSTED_PROXY_AUDIENCE"),
        ({"assertion_header": "X-Other"}, {}, "TRUSTED_PROXY_ASSERTION_HEADER"),
    ],
)
def test_what_is_said_differently_is_told(
    proxy: Describing, description: dict[str, Any], proof: dict[str, Any], name: str
) -> None:
    before = enrol(proxy)
    proxy.description, proxy.proof = description, proof
    (sentence,) = compare(proxy, before).broken
    assert sentence.startswith(name + " was ")


def test_a_proxy_that_proves_nothing_any_more_is_refused(proxy: Describing) -> None:
    before = enrol(proxy)
    proxy.proof = {"challenge": "AAAA"}
    with pytest.raises(EnrolmentRefused):
        compare(proxy, before)


def test_of_another_proxy_the_keys_are_compared() -> None:
    other = Proxy(issuer="proxy")
    with published(body(other.jwks())) as server:
        before = settings(server.url, PRESET="generic", ASSERTION_HEADER="X-A", AUDIENCE="app", THUMBPRINTS=other.kid)
        assert changed(before, fetched, now=NOW, challenge=CHALLENGE) == Change()
        server.script = body(Proxy().jwks())
        assert changed(before, fetched, now=NOW, challenge=CHALLENGE).broken
