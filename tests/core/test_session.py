"""A session is what was sealed, as long as it lasts and at most as long as is configured."""

from __future__ import annotations

import base64
import hashlib
import math
import zlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passproxy.core import session as module
from passproxy.core.errors import IdentityTooLarge, TokenInvalid
from passproxy.core.handles import EVERY_SESSION, SUPERSEDED, handle_of, own_handle
from passproxy.core.identity import ALIASES, Identity
from passproxy.core.session import SessionRules, Sessions
from passproxy.core.session_claims import INFLATED_LIMIT_BYTES, VERSION, Session
from passproxy.core.tokens import KeyRing, Purpose
from tests.core.given import ALICE, KEY, NAMES, NOW, RING, SAID_OF_ALICE, examples

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
    token = store.seal(begun).encode()
    known = sessions().open(token, NOW)
    assert known.holding(token).session == begun
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
    assert store.session(store.seal(begun).encode(), NOW) == begun


def test_a_token_is_verified_once_and_remembered():
    render = Rendered()
    store = sessions(render=render)
    token = sessions().seal(store.begin(ALICE, SAID_OF_ALICE, NOW)).encode()
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


def some_tokens(store: Sessions, count: int) -> list[bytes]:
    return [store.seal(store.begin(ALICE, SAID_OF_ALICE, NOW)).encode() for _ in range(count)]


def test_memory_is_bounded_and_what_was_not_used_lately_is_forgotten_first(monkeypatch):
    monkeypatch.setattr(module, "REMEMBERED_LIMIT", 3)
    monkeypatch.setattr(module, "LATEST_LIMIT", 1)
    render = Rendered()
    store = sessions(render=render)
    tokens = some_tokens(sessions(), 100)
    for token in tokens:
        store.open(token, NOW)
        store.open(tokens[0], NOW)  # in use all the time
    assert render.count == 100
    assert len(store._recent) + len(store._older) <= 6
    store.open(tokens[1], NOW)
    assert render.count == 101


def test_those_of_the_last_pages_are_few_and_end_like_all_others(monkeypatch):
    monkeypatch.setattr(module, "LATEST_LIMIT", 3)
    revoked: dict[str, int] = {}
    store = Sessions(RING, LIFETIME, Rendered(), revoked=revoked)
    tokens = some_tokens(store, 10)
    for token in tokens:
        store.open(token, NOW)
    assert len(store._latest) <= 3
    with pytest.raises(TokenInvalid, match="expired"):
        store.open(tokens[-1], NOW + LIFETIME)
    revoked[EVERY_SESSION] = NOW
    for token in tokens:
        with pytest.raises(TokenInvalid, match="revoked"):
            store.open(token, NOW)


def test_what_nobody_asks_for_is_forgotten_and_what_somebody_does_is_not():
    render = Rendered()
    store = sessions(render=render)
    used, *unused = some_tokens(sessions(), 50)
    for token in (used, *unused):
        store.open(token, NOW)
    fresh = some_tokens(sessions(), 3)
    for number, token in enumerate(fresh, 1):
        store.open(used, NOW + number * module.REMEMBERED_SECONDS)
        store.open(token, NOW + number * module.REMEMBERED_SECONDS)
    assert len(store._recent) + len(store._older) <= 3
    assert render.count == 53


def test_a_failed_token_is_not_remembered():
    store = sessions()
    for _ in range(2):
        with pytest.raises(TokenInvalid):
            store.open(b"a.b.c", NOW)


def test_a_session_of_another_origin_does_not_open():
    other = Sessions(KeyRing((KEY,), "https://other.example.com"), LIFETIME, Rendered())
    with pytest.raises(TokenInvalid):
        sessions().open(other.seal(other.begin(ALICE, SAID_OF_ALICE, NOW)).encode(), NOW)


def names_of_groups(count: int) -> tuple[str, ...]:
    """Different from each other and from anything that compresses well."""
    return tuple(hashlib.sha256(str(number).encode()).hexdigest()[:32] for number in range(count))


def test_what_does_not_fit_the_cookies_is_refused_by_the_name_of_its_largest_part():
    store = sessions()
    many = replace(ALICE, groups=names_of_groups(700))
    with pytest.raises(IdentityTooLarge) as refusal:
        store.seal(store.begin(many, SAID_OF_ALICE, NOW))
    assert "groups (700)" in refusal.value.detail
    assert many.groups[0] not in refusal.value.detail
    long = replace(ALICE, attributes={"user": "alice", "dn": "".join(names_of_groups(800))})
    with pytest.raises(IdentityTooLarge) as refusal:
        store.seal(store.begin(long, SAID_OF_ALICE, NOW))
    assert "dn" in refusal.value.detail


@pytest.mark.parametrize(
    ("count", "cookies", "is_compressed"),
    [(20, 1, False), (60, 1, False), (80, 1, True), (150, 2, True), (340, 4, True)],
)
def test_a_larger_session_is_compressed_and_then_takes_several_cookies(count, cookies, is_compressed):
    store = sessions()
    large = replace(ALICE, groups=names_of_groups(count))
    token = store.seal(store.begin(large, SAID_OF_ALICE, NOW))
    assert len(NAMES.parts(token)) == cookies
    assert (b'"z"' in base64.urlsafe_b64decode(token.split(".")[1] + "==")) == is_compressed
    assert sessions().session(token.encode(), NOW).identity.groups == large.groups


CLAIMS = {
    "v": VERSION, "sid": "id", "sub": "s", "idp": "i", "auth_time": NOW, "checked": 0, "handles": [],
    "attributes": {"user": "alice"}, "groups": [],
}  # fmt: skip


@pytest.mark.parametrize(
    "changes",
    [
        {"v": 1},
        {"groups": "staff"},
        {"attributes": {"email": "a@b"}},
        {"extra": 1},
        {"sub": ""},
        {"checked": True},
        {"handles": "x"},
        {"handles": ["x" * 15]},
        {"handles": ["x" * 15 + "="]},
        {"z": "x"},
    ],
)
def test_claims_of_another_layout_are_no_session(changes):
    good = RING.seal(Purpose.SESSION, CLAIMS, issued_at=NOW, expires_at=NOW + 60)
    assert sessions().session(good.encode(), NOW).identity.subject == "s"
    other = RING.seal(Purpose.SESSION, {**CLAIMS, **changes}, issued_at=NOW, expires_at=NOW + 60)
    with pytest.raises(TokenInvalid):
        sessions().open(other.encode(), NOW)


def compressed(content: bytes) -> str:
    return base64.b85encode(zlib.compress(content)).decode()


@pytest.mark.parametrize(
    "z",
    [
        1,
        "",
        "\u00e4",
        "not base85 ~~~ ",
        base64.b85encode(b"not deflated").decode(),
        compressed(b"[]"),
        compressed(b"{}"),
        compressed(b'{"attributes": {"user": "alice"}, "groups": [], "more": 1}'),
        compressed(b"[" * 100_000),
        base64.b85encode(zlib.compress(b'{"attributes": {"user": "alice"}, "groups": []}')[:-6]).decode(),
        compressed(b'{"attributes": {"user": "alice"}, "groups": ["' + b"g" * INFLATED_LIMIT_BYTES + b'"]}'),
    ],
)
def test_ck_06_compressed_claims_inflate_to_a_session_or_to_none(z):
    claims = {name: value for name, value in CLAIMS.items() if name not in ("attributes", "groups")}
    good = compressed(b'{"attributes": {"user": "alice"}, "groups": []}')
    token = RING.seal(Purpose.SESSION, {**claims, "z": good}, issued_at=NOW, expires_at=NOW + 60)
    assert sessions().session(token.encode(), NOW).identity.attributes == {"user": "alice"}
    token = RING.seal(Purpose.SESSION, {**claims, "z": z}, issued_at=NOW, expires_at=NOW + 60)
    with pytest.raises(TokenInvalid):
        sessions().open(token.encode(), NOW)


def renewable(at: int = NOW) -> Session:
    said = replace(SAID_OF_ALICE, kept=b"x", is_renewable=True, handles=("sid:1",))
    return Sessions(RING, LIFETIME, Rendered(), SessionRules(refresh_seconds=300)).begin(ALICE, said, at)


def test_a_session_that_can_be_renewed_says_when_it_is_due():
    rules = SessionRules(refresh_seconds=300)
    store = Sessions(RING, LIFETIME, Rendered(), rules)
    assert store.open(store.seal(renewable()).encode(), NOW).due_at == NOW + 300
    plain = store.begin(ALICE, SAID_OF_ALICE, NOW)
    assert store.open(store.seal(plain).encode(), NOW).due_at == math.inf
    assert sessions().known(renewable()).due_at > NOW + 10**10


def test_jwt_19_no_renewal_makes_a_session_outlive_its_lifetime():
    store = Sessions(RING, LIFETIME, Rendered(), SessionRules(refresh_seconds=60))
    session = first = renewable()
    said = replace(SAID_OF_ALICE, kept=b"x", is_renewable=True)
    for now in range(NOW + 60, NOW + LIFETIME, 60):
        session = store.renewed(session, replace(ALICE, groups=(str(now),)), said, now)
    assert (session.id, session.issued_at, session.expires_at) == (first.id, NOW, NOW + LIFETIME)
    assert (session.checked_at, session.identity.groups) == (NOW + LIFETIME - 60, (str(NOW + LIFETIME - 60),))
    token = store.seal(session).encode()
    store.open(token, NOW + LIFETIME - 1)
    for fresh in (store, Sessions(RING, LIFETIME, Rendered())):
        with pytest.raises(TokenInvalid):
            fresh.open(token, NOW + LIFETIME)


def test_a_renewed_session_ends_when_the_provider_says_if_that_is_sooner():
    store = Sessions(RING, LIFETIME, Rendered())
    sooner = replace(SAID_OF_ALICE, expires_at=NOW + 100)
    assert store.renewed(renewable(), ALICE, sooner, NOW + 50).expires_at == NOW + 100
    later = replace(SAID_OF_ALICE, expires_at=NOW + 10**6)
    assert store.renewed(renewable(), ALICE, later, NOW + 50).expires_at == NOW + LIFETIME


def test_jwt_14_sessions_from_before_a_configured_time_are_over():
    store = sessions()
    token = store.seal(store.begin(ALICE, SAID_OF_ALICE, NOW)).encode()
    assert Sessions(RING, LIFETIME, Rendered(), SessionRules(not_before=NOW)).open(token, NOW)
    with pytest.raises(TokenInvalid):
        Sessions(RING, LIFETIME, Rendered(), SessionRules(not_before=NOW + 1)).open(token, NOW + 5)


@pytest.mark.parametrize("handle", [handle_of("sid:1"), EVERY_SESSION, "own"])
def test_what_is_revoked_opens_no_more_though_it_was_remembered(handle):
    revoked: dict[str, int] = {}
    store = Sessions(RING, LIFETIME, Rendered(), revoked=revoked)
    session = renewable(NOW)
    token = store.seal(session).encode()
    store.open(token, NOW)
    handle = own_handle(session.id) if handle == "own" else handle
    revoked |= {"another": NOW + 1, handle: NOW - 1}  # what began later is not meant
    store.open(token, NOW)
    revoked[handle] = NOW
    for fresh in (store, Sessions(RING, LIFETIME, Rendered(), revoked=revoked)):
        with pytest.raises(TokenInvalid):
            fresh.open(token, NOW)


def test_a_token_from_before_the_provider_said_something_else_is_due_whatever_its_time():
    revoked: dict[str, int] = {}
    rules = SessionRules(refresh_seconds=300)
    store = Sessions(RING, LIFETIME, Rendered(), rules, revoked)
    before = renewable()
    after = store.renewed(
        before, replace(ALICE, groups=("staff",)), replace(SAID_OF_ALICE, is_renewable=True), NOW + 300
    )
    old, new = (store.seal(session).encode() for session in (before, after))
    opened = store.open(old, NOW)
    revoked[SUPERSEDED + own_handle(before.id)] = NOW + 300
    assert not store.still_holds(opened)
    assert store.open(old, NOW).due_at == 0
    assert store.is_superseded(before)
    assert store.open(new, NOW + 300).due_at == NOW + 600
    assert store.still_holds(store.open(new, NOW + 300))
    assert not store.is_superseded(after)
    # Also where nothing is renewed any more.
    settled = Sessions(RING, LIFETIME, Rendered(), revoked=revoked)
    assert settled.open(old, NOW).due_at == 0
    assert settled.still_holds(settled.open(new, NOW))


def test_a_session_that_cannot_be_renewed_is_never_from_before():
    revoked: dict[str, int] = {}
    store = Sessions(RING, LIFETIME, Rendered(), SessionRules(refresh_seconds=300), revoked)
    begun = store.begin(ALICE, SAID_OF_ALICE, NOW)
    revoked[SUPERSEDED + own_handle(begun.id)] = NOW + 300
    known = store.open(store.seal(begun).encode(), NOW)
    assert store.still_holds(known)
    assert known.due_at == math.inf


def test_lf_22_whether_somebody_may_use_the_application_is_judged_when_the_token_is_opened():
    store = sessions()
    token = store.seal(store.begin(ALICE, SAID_OF_ALICE, NOW)).encode()
    assert store.open(token, NOW).is_permitted
    stricter = Sessions(RING, LIFETIME, Rendered(), SessionRules(grants=lambda identity: "board" in identity.groups))
    assert not stricter.open(token, NOW).is_permitted


def test_hdr_18_what_does_not_fit_a_header_is_no_session_and_the_largest_part_is_named():
    large = replace(ALICE, groups=("x" * 30, "y" * 30))
    store = Sessions(RING, LIFETIME, lambda session: b"x" * 1025, SessionRules(lines_limit_bytes=1024))
    with pytest.raises(IdentityTooLarge, match=r"1025 bytes; the largest part is groups \(2\)"):
        store.seal(store.begin(large, SAID_OF_ALICE, NOW))
    token = sessions().seal(store.begin(large, SAID_OF_ALICE, NOW)).encode()
    with pytest.raises(TokenInvalid, match="size_limit"):
        store.open(token, NOW)


def test_a_session_that_is_remembered_still_knows_its_own_handle():
    store = sessions()
    begun = store.begin(ALICE, SAID_OF_ALICE, NOW)
    token = store.seal(begun).encode()
    assert [store.open(token, NOW).handle for _ in range(2)] == [own_handle(begun.id)] * 2
    assert store.open(token, NOW).handles == list(begun.handles)
    assert store.open(token, NOW).issued_at == NOW
