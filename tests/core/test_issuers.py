"""A bearer token of an issuer that is trusted is verified once, remembered, and never more than its issuer says."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passproxy.core import issuers as module
from passproxy.core.bearer import FAILURES_LIMIT
from passproxy.core.decision import Decider, Forward, Refuse, Site
from passproxy.core.errors import (
    BearerKeysMissing,
    BearerOutOfScope,
    BearerRefused,
    BearerThrottled,
    RevocationsUnknown,
    TargetAmbiguous,
)
from passproxy.core.handles import subject_handle
from passproxy.core.headers import request_names
from passproxy.core.http1 import request_head
from passproxy.core.identity import AttributeRules, Authentication
from passproxy.core.issuers import TOKEN_LIMIT_BYTES, AwaitKeys, Bearer, BearerTokens
from passproxy.core.session import Sessions
from passproxy.core.trust import Trust, Vouched
from tests.core.given import NAMES as COOKIES
from tests.core.given import NOW, ORIGIN, RING, examples, public

ISSUER = "https://sso.example.com"
TRUST = Trust("ci", ISSUER, ("api",), frozenset({"ES256"}))
NAMES = request_names(notes_authorization=True)


class Issuer:
    """Believes every token whose signature is `good`; a `new` one needs other keys."""

    def __init__(self, trust: Trust = TRUST) -> None:
        self.trust = trust
        self.keys: object = "keys"
        self.judged = 0
        self.may_look = True

    def vouched(self, token: str, now: float) -> Vouched:
        self.judged += 1
        signature = token.split(".")[2]
        if self.keys is None or signature == "new":
            raise BearerKeysMissing("no such key")
        if signature != "good":
            raise BearerRefused("not good")
        claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
        attributes = {"groups": ("ops",), "azp": ("nightly",)}
        return Vouched(
            Authentication(ISSUER, claims["sub"], attributes, NOW), NOW, claims.get("exp", NOW + 60), self.keys
        )

    def may_have_newer_keys(self) -> bool:
        return self.may_look

    async def newer_keys(self) -> None:
        await asyncio.sleep(0)


def sessions(revoked: dict[str, int] | None = None) -> Sessions:
    return Sessions(
        RING, 3600, lambda session: f"U: {session.identity.attributes['user']}\r\n".encode(), revoked=revoked
    )


def made(issuer: Issuer | None = None, revoked: dict[str, int] | None = None, **more: Any) -> BearerTokens:
    return BearerTokens([issuer or Issuer()], sessions(revoked), AttributeRules(), **more)


def token(signature: str = "good", **claims: Any) -> str:
    payload = json.dumps({"iss": ISSUER, "sub": "service", **claims}).encode()
    return f"e30.{base64.urlsafe_b64encode(payload).rstrip(b'=').decode()}.{signature}"


def head(*lines: str | bytes, start: bytes = b"GET / HTTP/1.1"):
    written = [line if isinstance(line, bytes) else line.encode() for line in lines]
    return request_head(b"".join(line + b"\r\n" for line in (start, b"Host: app.example.com", *written)), NAMES)


def usual(text: str, field: str = "Authorization") -> str:
    return f"{field}: Bearer {text}"


def asked(tokens: BearerTokens, *lines: str | bytes, now: float = NOW, start: bytes = b"GET / HTTP/1.1") -> Any:
    return tokens.of(head(*lines, start=start), lambda: "192.0.2.1", now)


def test_it_is_who_its_issuer_says_under_the_name_of_the_issuer():
    bearer = asked(made(), usual(token()))
    assert isinstance(bearer, Bearer)
    assert bearer.lines == b"U: service\r\nX-Passproxy-Token: ci\r\n"
    assert (bearer.name, bearer.expires_at) == ("ci", NOW + 60)
    assert bearer.known.session.identity.groups == ("ops",)


def test_claims_are_read_as_the_trust_says():
    trust = Trust("ci", ISSUER, ("api",), frozenset(), claims={"login": ("azp",), "groups": ("nowhere",)})
    identity = asked(made(Issuer(trust)), usual(token())).known.session.identity
    assert (identity.attributes["user"], identity.groups) == ("nightly", ())


def test_a_token_is_verified_once():
    issuer = Issuer()
    tokens = made(issuer)
    assert {asked(tokens, usual(token())).known.handle for _ in range(5)} == {
        asked(tokens, usual(token())).known.handle
    }
    assert issuer.judged == 1
    assert tokens.remembered(head(usual(token()))) is asked(tokens, usual(token()))


def test_other_keys_verify_it_again():
    issuer = Issuer()
    tokens = made(issuer)
    asked(tokens, usual(token()))
    issuer.keys = "other keys"
    asked(tokens, usual(token()))
    assert issuer.judged == 2


def test_what_is_not_asked_for_is_forgotten(monkeypatch):
    monkeypatch.setattr(module, "REMEMBERED_LIMIT", 3)
    issuer = Issuer()
    tokens = made(issuer)
    for number in range(50):
        asked(tokens, usual(token(sub=f"s{number}")))
    assert len(tokens._recent) + len(tokens._older) <= 6
    assert tokens.remembered(head(usual(token(sub="s0")))) is None
    for number in range(50):
        asked(tokens, usual(token(iss=f"https://{number}.example.com")))
    assert len(tokens._foreign) <= 3


def test_one_that_is_used_outlives_the_periods():
    issuer = Issuer()
    tokens = made(issuer)
    for minute in range(60):
        asked(tokens, usual(token(exp=NOW + 7200)), now=NOW + minute * 60)
    assert issuer.judged == 1


def test_it_ends_when_it_says_also_while_it_is_remembered():
    tokens = made()
    asked(tokens, usual(token()))
    with pytest.raises(BearerRefused):
        asked(tokens, usual(token()), now=NOW + 60)


def test_what_is_revoked_is_none_although_it_is_remembered():
    revoked: dict[str, int] = {}
    tokens = made(revoked=revoked)
    bearer = asked(tokens, usual(token()))
    assert tokens.still_holds(bearer)
    revoked[subject_handle("service")] = NOW
    assert not tokens.still_holds(bearer)
    with pytest.raises(BearerRefused, match="revoked"):
        asked(tokens, usual(token()))


def test_a_token_of_another_trust_does_not_hold_any_more():
    bearer = asked(made(), usual(token()))
    assert made().still_holds(bearer)
    assert not made(Issuer(Trust("ci", ISSUER, ("another",), frozenset({"ES256"})))).still_holds(bearer)
    assert not BearerTokens([], sessions(), AttributeRules()).still_holds(bearer)


FOREIGN = {
    "nothing": b"",
    "no scheme": token().encode(),
    "another scheme": b"Basic " + token().encode(),
    "two in one": f"Bearer {token()}, {token()}".encode(),
    "another issuer": f"Bearer {token(iss='https://sso.example.com/')}".encode(),
    "an issuer that is a list": f"Bearer {token(iss=[ISSUER])}".encode(),
    "no issuer": f"Bearer {token(iss=None)}".encode(),
    "claims that are a list": b"Bearer e30.W10.x",
    "claims that are no JSON": b"Bearer e30.e30e30.x",
    "claims that are no base64": b"Bearer e30.a.x",
    "two parts": b"Bearer " + token().rpartition(".")[0].encode(),
    "not ASCII": "Bearer é".encode(),
    "nested": b"Bearer e30." + base64.urlsafe_b64encode(b"[" * 20000) + b".x",
    "a number of five thousand digits": b"Bearer e30."
    + base64.urlsafe_b64encode(b'{"iss":' + b"9" * 5000 + b"}")
    + b".x",
}


@pytest.mark.parametrize("value", FOREIGN.values(), ids=FOREIGN)
def test_what_names_no_issuer_of_ours_is_none_of_ours(value):
    tokens, line = made(), b"Authorization: " + value
    assert asked(tokens, line) is None
    assert not tokens.in_authorization(head(line))


def test_the_field_of_tokens_goes_before_the_usual_one():
    tokens = made()
    ours, theirs = usual(token(sub="a"), "X-Passproxy-Authorization"), usual(token(sub="b"))
    assert asked(tokens, ours, theirs).known.session.identity.subject == "a"
    assert asked(tokens, "X-Passproxy-Authorization: Bearer x", theirs) is None


def test_what_the_application_does_not_get_is_told():
    passing = Trust("ci", ISSUER, ("api",), frozenset(), passes_on=True)
    assert made().in_authorization(head(usual(token())))
    assert not made(Issuer(passing)).in_authorization(head(usual(token())))
    assert not made(in_authorization=False).in_authorization(head(usual(token())))
    assert asked(made(in_authorization=False), usual(token())) is None


@pytest.mark.parametrize("lines", [(usual(token()),) * 2, ("Authorization: Basic eDp5", usual(token()))])
def test_more_than_one_is_none(lines):
    with pytest.raises(BearerRefused):
        asked(made(), *lines)


def test_one_that_is_too_long_is_refused_unseen():
    issuer = Issuer()
    with pytest.raises(BearerRefused):
        asked(made(issuer), usual(token(sub="x" * TOKEN_LIMIT_BYTES)))
    assert issuer.judged == 0


def test_wrong_ones_are_counted_and_the_right_one_passes_all_the_same():
    tokens = made()
    for _ in range(FAILURES_LIMIT):
        with pytest.raises(BearerRefused):
            asked(tokens, usual(token("bad")))
    with pytest.raises(BearerThrottled):
        asked(tokens, usual(token("bad")))
    assert asked(tokens, usual(token())) is not None
    with pytest.raises(BearerRefused):
        asked(tokens, usual(token("bad")), now=NOW + 60)


def test_an_unknown_key_is_waited_for_where_that_may_help():
    issuer = Issuer()
    tokens = made(issuer)
    waiting = asked(tokens, usual(token("new")))
    assert isinstance(waiting, AwaitKeys)
    assert isinstance(waiting.error, BearerKeysMissing)
    issuer.may_look = False
    with pytest.raises(BearerRefused):
        asked(tokens, usual(token("new")))
    issuer.keys = None
    with pytest.raises(BearerKeysMissing):
        asked(tokens, usual(token("new")))


def test_a_scope_holds():
    trust = Trust("ci", ISSUER, ("api",), frozenset(), paths=("/api/**",), networks=("192.0.2.0/24",))
    tokens = made(Issuer(trust))
    assert asked(tokens, usual(token()), start=b"GET /api/x HTTP/1.1") is not None
    with pytest.raises(BearerOutOfScope):
        asked(tokens, usual(token()))
    with pytest.raises(TargetAmbiguous):
        asked(tokens, usual(token()), start=b"GET /api/x%2fy HTTP/1.1")
    with pytest.raises(BearerOutOfScope):
        tokens.of(head(usual(token()), start=b"GET /api/x HTTP/1.1"), lambda: "198.51.100.1", NOW)


@pytest.mark.parametrize("subject", ["", "a\r\nb", "x" * 2000])
def test_a_subject_that_no_header_can_carry_is_refused(subject):
    with pytest.raises(BearerRefused):
        asked(made(), usual(token(sub=subject)))


def test_lines_that_are_too_long_are_refused():
    with pytest.raises(BearerRefused, match="header lines"):
        asked(made(lines_limit_bytes=10), usual(token(sub="longer-than-that")))


@examples(300)
@given(
    st.one_of(st.binary(max_size=200), st.from_regex(rb"Bearer [A-Za-z0-9_-]{0,40}\.[A-Za-z0-9_=-]{0,80}\.[a-z]{0,9}"))
)
def test_garbage_is_nobody(value):
    line = b"Authorization: " + value.replace(b"\r", b"").replace(b"\n", b"").replace(b"\0", b"")
    try:
        request = head(line)
    except Exception:  # what is no head is for http1 to say
        return
    assert made().of(request, lambda: "", NOW) is None


@examples(200)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=8,
    )
)
def test_whatever_stands_in_the_claims_the_answer_is_one_of_three(claims):
    payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode()
    assert asked(made(), usual(f"e30.{payload}.good")) is None


def test_a_look_is_what_the_issuer_offers():
    waiting = asked(made(), usual(token("new")))
    looked: Callable[[], Any] = waiting.newer_keys
    asyncio.run(looked())


@pytest.mark.parametrize("path", [b"/open", b"/closed"])
def test_while_nobody_knows_what_was_revoked_no_token_is_taken_anywhere(path):
    known = [True]
    policy = public(("/open", ("GET",)))
    site = Site(ORIGIN, COOKIES, policy, sessions(), bearers=made(), is_uninformed=lambda: not known[0])
    decider = Decider(site)
    asking = head(usual(token()), start=b"GET " + path + b" HTTP/1.1")
    decision = decider.decide(asking, NOW)
    assert isinstance(decision, Forward)
    assert isinstance(decision.token, Bearer)
    assert decider.still_holds(decision.token)
    known[0] = False
    refused = decider.decide(asking, NOW)
    assert isinstance(refused, Refuse)
    assert isinstance(refused.error, RevocationsUnknown)
    assert not decider.still_holds(decision.token)
