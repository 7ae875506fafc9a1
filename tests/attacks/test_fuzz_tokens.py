"""
Whatever a browser brings as one of our own values: byte for byte what it was given, or the same as nothing.

Sessions, pending logins, and what is kept beside a session. The second half seals
hostile content with the real keys, as a key in wrong hands or another version of PassProxy would.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passproxy.core.errors import LoginError, LoginExpired, LoginUnknown, TokenInvalid
from passproxy.core.identity import Identity
from passproxy.core.kept import disclosed, enclosed
from passproxy.core.pending import PendingLogin, PendingLogins
from passproxy.core.session import Sessions
from passproxy.core.session_claims import Session
from passproxy.core.tokens import KeyRing, Purpose
from tests.attacks.mutations import byte_strings
from tests.core.given import ALICE, KEY, NAMES, NOW, OLD_KEY, ORIGIN, RING, Jar, examples

BOTH_KEYS = KeyRing((KEY, OLD_KEY), str(ORIGIN))
ANOTHER = KeyRing((KEY,), "https://other.example.com")
SESSIONS = Sessions(RING, 3600, lambda session: b"")
LOGINS = PendingLogins(BOTH_KEYS, NAMES)

SMALL = Session("small", ALICE, NOW, NOW + 3600)
LARGE = Session("large", Identity(ALICE.issuer, "b", {"user": "b"}, tuple(map(str, range(2000))), NOW), NOW, NOW + 3600)
SEALED = {SESSIONS.seal(session).encode(): session for session in (SMALL, LARGE)}

ENCLOSED = {
    RING.enclose(purpose, content).encode(): (purpose, content)
    for purpose in Purpose
    for content in (b"", b"content", bytes(range(256)))
}
KEPT = {str(enclosed(RING, name, b"refresh " + name.encode())).encode(): name for name in ("one", "two")}

#: Parts of real values among them, so that they are also put together anew.
TOKENS = (
    b".", b"..", b"=", b"==", b"A", b"-", b"_", b"+", b"/", b"%3D", b"\n", b"\x00", b"\xff", b"new", b"old", "\u0665".encode(),
    *(part for token in SEALED for part in token.split(b".") if len(part) < 600),
    *ENCLOSED,
)  # fmt: skip

Change = Callable[[bytes], bytes]

#: Any bytes, or one of the real values after a change.
AT_WILL = st.one_of(st.binary(max_size=200), st.lists(st.sampled_from(TOKENS), max_size=6).map(b"".join))
CHANGES = byte_strings(TOKENS)


def values(real: Mapping[bytes, Any]) -> st.SearchStrategy[bytes]:
    changed = st.builds(lambda token, change: change(token), st.sampled_from(list(real)), CHANGES)
    return st.one_of(changed, changed, changed, AT_WILL)


@examples(300)
@given(values(SEALED))
def test_jwt_18_a_session_is_the_one_that_was_sealed_or_none(token: bytes):
    try:
        session = SESSIONS.session(token, NOW + 1)
    except TokenInvalid:
        assert token not in SEALED
    else:
        assert session == SEALED[token]


@examples(200)
@given(values(SEALED), st.sampled_from(Purpose), st.sampled_from([RING, BOTH_KEYS, ANOTHER]))
def test_jwt_05_a_sealed_token_is_unsealed_for_its_purpose_and_origin_only(
    token: bytes, purpose: Purpose, ring: KeyRing
):
    try:
        claims = ring.unseal(purpose, token, NOW + 1)
    except TokenInvalid:
        return
    assert claims["sid"] == SEALED[token].id
    assert purpose is Purpose.SESSION
    assert ring is not ANOTHER


@examples(300)
@given(values(ENCLOSED), st.sampled_from(Purpose))
def test_what_was_enclosed_is_disclosed_for_its_purpose_only(value: bytes, purpose: Purpose):
    try:
        content = RING.disclose(purpose, value)
    except TokenInvalid:
        assert ENCLOSED.get(value, (None,))[0] is not purpose
    else:
        assert ENCLOSED[value] == (purpose, content)


@examples(300)
@given(values(KEPT), st.sampled_from(["one", "two", "three", "o"]))
def test_jwt_18_what_is_kept_comes_back_for_its_session_only(value: bytes, name: str):
    kept = disclosed(RING, name, value)
    assert kept == (b"refresh " + name.encode() if KEPT.get(value) == name else b"")


def under_way() -> tuple[Jar, dict[str, PendingLogin]]:
    """A browser with some logins in cookies of their own and some gathered ones, and all of them."""
    jar = Jar()
    logins = [jar.start(f"/page/{number}?q=%C3%A4", NOW + number, LOGINS) for number in range(9)]
    return jar, {login.login_id: login for login in logins}


JAR, UNDER_WAY = under_way()
OVER = max(login.started_at for login in UNDER_WAY.values())


@examples(300)
@given(
    st.sampled_from([*UNDER_WAY, "", "A" * 22, "\u0665" * 22, "x"]),
    st.lists(st.one_of(CHANGES, AT_WILL.map(lambda value: lambda _: value)), min_size=len(JAR), max_size=len(JAR)),
    st.integers(0, 2 ** len(JAR) - 1),
    st.sampled_from([NOW, OVER, OVER + 899, OVER + 901, 0]),
)
def test_jwt_18_a_pending_login_is_the_one_that_was_started_or_none(
    login_id: str, changes: list[Change], which: int, now: int
):
    """`which` says for each cookie whether it was changed."""
    brought = {
        name: change(value) if which >> number & 1 else value
        for number, ((name, value), change) in enumerate(zip(JAR.items(), changes, strict=True))
    }
    try:
        found = LOGINS.find(login_id, brought, now)
    except (LoginUnknown, LoginExpired):
        return
    real = UNDER_WAY[login_id]
    # A gathered login may have lost its target, and the cookie of its own may be harmed: then it is "/".
    assert found in (real, PendingLogin(real.binding, real.serial, real.started_at, "/"))


# --- sealed with the real keys ---

_JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=4), inner, max_size=3)),
    max_leaves=4,
)
_LAYOUT = {
    "v": 2,
    "sid": "small",
    "sub": "s",
    "idp": "i",
    "auth_time": 1,
    "checked": 0,
    "handles": ["handle-of-16-chr"],
    "attributes": {"user": "u"},
    "groups": ["g"],
}


@examples(300)
@given(
    st.dictionaries(st.sampled_from([*_LAYOUT, "z", "more"]), _JSON, max_size=3),
    st.sets(st.sampled_from([*_LAYOUT]), max_size=2),
)
def test_claims_of_another_layout_are_no_session(changed: dict[str, Any], missing: set[str]):
    claims = {name: value for name, value in {**_LAYOUT, **changed}.items() if name not in missing}
    token = RING.seal(Purpose.SESSION, claims, issued_at=NOW, expires_at=NOW + 60).encode()
    try:
        session = SESSIONS.session(token, NOW)
    except TokenInvalid:
        return
    assert claims.keys() == _LAYOUT.keys()
    assert all(type(claims[name]) is type(value) for name, value in _LAYOUT.items())
    assert session.identity.attributes["user"]


@examples(100)
@given(st.one_of(st.binary(max_size=200), st.binary(max_size=100).map(lambda raw: zlib.compress(raw, wbits=-15))))
def test_jwt_18_any_content_of_a_login_cookie_raises_no_other_error(content: bytes):
    cookies = {NAMES.login_prefix.encode() + b"all": RING.enclose(Purpose.PENDING, content).encode()}
    logins = PendingLogins(RING, NAMES)
    with pytest.raises(LoginError):
        logins.find("A" * 22, cookies, NOW)
    # A new login starts whatever was there.
    remembered = logins.remember("/", cookies, NOW)
    assert logins.find(
        remembered.login.login_id, {name.encode(): value.encode() for name, value in remembered.cookies.items()}, NOW
    )
