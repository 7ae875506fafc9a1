"""A session is what was sealed, as long as it lasts and at most as long as is configured."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passproxy.core import session as module
from passproxy.core.errors import IdentityTooLarge, TokenInvalid
from passproxy.core.identity import ALIASES, Identity
from passproxy.core.session import TOKEN_BUDGET_BYTES, Session, Sessions
from passproxy.core.tokens import KeyRing, Purpose
from tests.core.given import ALICE, KEY, NOW, RING, SAID_OF_ALICE, examples

LIFETIME = 3600


class Rendered:
    """Counts how often identity lines are made."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, session: Session) -> bytes:
        self.count += 1
        return f"X-User: {session.identity.attributes['user']}\r\n".encode()


def sessions(lifetime: int = LIFETIME, render: Rendered | None = None) -> Sessions:
    return Sessions(RING, lifetime, render or Rendered())


def test_a_session_lasts_as_long_as_is_configured():
    begun = sessions().begin(ALICE, SAID_OF_ALICE, NOW + 0.9)
    assert (begun.issued_at, begun.expires_at) == (NOW, NOW + LIFETIME)


@pytest.mark.parametrize(
    ("bound", "ends"), [(NOW + 10, NOW + 10), (NOW + 10**6, NOW + LIFETIME), (None, NOW + LIFETIME)]
)
def test_a_session_ends_with_the_providers_if_that_is_earlier(bound, ends):
    assert sessions().begin(ALICE, replace(SAID_OF_ALICE, expires_at=bound), NOW).expires_at == ends


def test_what_was_sealed_is_opened_and_rendered():
    store = sessions()
    begun = store.begin(ALICE, SAID_OF_ALICE, NOW)
    known = sessions().open(store.seal(begun).encode(), NOW)
    assert known.session == begun
    assert known.lines == b"X-User: alice\r\n"
    assert known.expires_at == begun.expires_at


_TEXT = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=20)


@examples(60)
@given(
    _TEXT,
    st.dictionaries(st.sampled_from(sorted(set(ALIASES) - {"groups"})), _TEXT, max_size=6),
    st.lists(_TEXT, max_size=6),
)
def test_every_identity_comes_back_as_it_was(subject, attributes, groups):
    identity = Identity("https://idp", subject, {"user": subject, **attributes}, tuple(groups), NOW)
    store = sessions()
    begun = store.begin(identity, SAID_OF_ALICE, NOW)
    assert store.open(store.seal(begun).encode(), NOW).session == begun


def test_a_token_is_verified_once_and_remembered():
    render = Rendered()
    store = sessions(render=render)
    token = store.seal(store.begin(ALICE, SAID_OF_ALICE, NOW)).encode()
    first = store.open(token, NOW)
    assert store.open(token, NOW + 1) is first
    assert render.count == 1


def test_a_remembered_session_ends_too():
    store = sessions()
    token = store.seal(store.begin(ALICE, SAID_OF_ALICE, NOW)).encode()
    store.open(token, NOW + LIFETIME - 0.1)
    for now in (NOW + LIFETIME, NOW + LIFETIME + 1):
        with pytest.raises(TokenInvalid):
            store.open(token, now)


def test_a_shorter_lifetime_ends_sessions_that_were_begun_with_a_longer_one():
    store = sessions()
    token = store.seal(store.begin(ALICE, SAID_OF_ALICE, NOW)).encode()
    shorter = sessions(lifetime=60)
    assert shorter.open(token, NOW + 59).expires_at == NOW + 60
    for fresh in (shorter, sessions(lifetime=60)):
        with pytest.raises(TokenInvalid):
            fresh.open(token, NOW + 60)


def test_memory_is_bounded_and_the_oldest_is_forgotten_first(monkeypatch):
    monkeypatch.setattr(module, "REMEMBERED_LIMIT", 3)
    render = Rendered()
    store = sessions(render=render)
    tokens = [store.seal(store.begin(ALICE, SAID_OF_ALICE, NOW)).encode() for _ in range(4)]
    for token in tokens:
        store.open(token, NOW)
    store.open(tokens[3], NOW)
    assert render.count == 4
    store.open(tokens[0], NOW)
    assert render.count == 5


def test_a_failed_token_is_not_remembered():
    store = sessions()
    for _ in range(2):
        with pytest.raises(TokenInvalid):
            store.open(b"a.b.c", NOW)


def test_a_session_of_another_origin_does_not_open():
    other = Sessions(KeyRing((KEY,), "https://other.example.com"), LIFETIME, Rendered())
    with pytest.raises(TokenInvalid):
        sessions().open(other.seal(other.begin(ALICE, SAID_OF_ALICE, NOW)).encode(), NOW)


def test_what_does_not_fit_a_cookie_is_refused_by_the_name_of_its_largest_part():
    store = sessions()
    many = replace(ALICE, groups=tuple(f"secret-group-{number}" for number in range(300)))
    with pytest.raises(IdentityTooLarge) as refusal:
        store.seal(store.begin(many, SAID_OF_ALICE, NOW))
    assert "groups (300)" in refusal.value.detail
    assert "secret-group" not in refusal.value.detail
    long = replace(ALICE, attributes={"user": "alice", "dn": "x" * 4000})
    with pytest.raises(IdentityTooLarge) as refusal:
        store.seal(store.begin(long, SAID_OF_ALICE, NOW))
    assert "dn" in refusal.value.detail


def test_what_fits_its_budget_is_sealed():
    store = sessions()
    large = replace(ALICE, groups=tuple(f"group-{number}" for number in range(120)))
    assert 1500 < len(store.seal(store.begin(large, SAID_OF_ALICE, NOW))) <= TOKEN_BUDGET_BYTES


@pytest.mark.parametrize(
    "changes", [{"v": 2}, {"groups": "staff"}, {"attributes": {"email": "a@b"}}, {"extra": 1}, {"sub": ""}]
)
def test_claims_of_another_layout_are_no_session(changes):
    claims = {
        "v": 1, "sid": "id", "sub": "s", "idp": "i", "auth_time": NOW, "attributes": {"user": "alice"}, "groups": [],
    }  # fmt: skip
    good = RING.seal(Purpose.SESSION, claims, issued_at=NOW, expires_at=NOW + 60)
    assert sessions().open(good.encode(), NOW).session.identity.subject == "s"
    other = RING.seal(Purpose.SESSION, {**claims, **changes}, issued_at=NOW, expires_at=NOW + 60)
    with pytest.raises(TokenInvalid):
        sessions().open(other.encode(), NOW)
