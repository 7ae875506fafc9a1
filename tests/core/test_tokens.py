"""Any bytes either unseal to what was sealed or raise TokenInvalid, never anything else."""

from __future__ import annotations

import base64
import itertools
import json

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from passproxy.core.errors import ConfigError, TokenInvalid
from passproxy.core.tokens import (
    KEY_BYTES,
    REPLICA_SKEW_SECONDS,
    RING_LIMIT,
    TOKEN_LIMIT_BYTES,
    Key,
    KeyRing,
    Purpose,
    keys_from,
    keys_text,
    needed_keys,
    new_key,
)
from tests.core.given import KEY, NOW, OLD_KEY, RING, examples

CLAIMS = {"sub": "alice", "n": [1, 2]}
SEALED = RING.seal(Purpose.SESSION, CLAIMS, issued_at=NOW, expires_at=NOW + 60).encode()
ENCLOSED = RING.enclose(Purpose.PENDING, b"content").encode()
ORIGINS = ["https://app.example.com", "https://app.example.com:8443", "http://app.example.com", "https://b.example.com"]


def opened(value: bytes) -> object:
    try:
        return RING.unseal(Purpose.SESSION, value, NOW)
    except TokenInvalid:
        return None


def disclosed(value: bytes) -> bytes | None:
    try:
        return RING.disclose(Purpose.PENDING, value)
    except TokenInvalid:
        return None


# --- properties ---

_EDITS = st.lists(st.tuples(st.integers(0, 400), st.integers(0, 8), st.binary(max_size=8)), min_size=1, max_size=3)


def edited(value: bytes, edits: list[tuple[int, int, bytes]]) -> bytes:
    for at, length, new in edits:
        position = at % (len(value) + 1)
        value = value[:position] + new + value[position + length :]
    return value


@examples(120)
@given(_EDITS)
def test_a_changed_token_is_no_token(edits):
    """Any bytes either unseal to what was sealed or raise TokenInvalid."""
    changed = edited(SEALED, edits)
    assert opened(changed) is None or changed == SEALED


@examples(120)
@given(_EDITS)
def test_a_changed_enclosure_does_not_open(edits):
    changed = edited(ENCLOSED, edits)
    assert disclosed(changed) is None or changed == ENCLOSED


@examples(150)
@given(st.one_of(st.binary(max_size=200), st.binary(max_size=60).map(lambda b: b".".join([b, b, b]))))
def test_any_bytes_are_no_token(value):
    assert opened(value) is None
    assert disclosed(value) is None


_JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=4), inner, max_size=3)),
    max_leaves=4,
)


def segment(value: object) -> bytes:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=")


@examples(100)
@given(st.one_of(_JSON, st.fixed_dictionaries({"alg": _JSON, "typ": _JSON, "kid": _JSON})), _JSON)
def test_any_header_and_any_claims_raise_nothing_but_token_invalid(header, claims):
    """PyJWT alone lets TypeError and others through for some of these."""
    assert opened(b".".join([segment(header), segment(claims), segment(b"x")])) is None


@examples(60)
@given(st.dictionaries(st.text(min_size=1, max_size=6), st.text(max_size=10), max_size=4))
def test_what_was_sealed_is_unsealed(claims):
    claims = {f"x-{name}": value for name, value in claims.items() if value.isascii()}
    token = RING.seal(Purpose.SESSION, claims, issued_at=NOW, expires_at=NOW + 1).encode()
    assert claims.items() <= RING.unseal(Purpose.SESSION, token, NOW).items()


@examples(60)
@given(st.binary(max_size=500))
def test_what_was_enclosed_is_disclosed(content):
    value = RING.enclose(Purpose.PENDING, content)
    assert value.isascii()
    assert not set(value) & set(' ",;\\')
    assert RING.disclose(Purpose.PENDING, value.encode()) == content


def test_an_enclosure_does_not_show_its_content_and_is_never_the_same_twice():
    one, other = (RING.enclose(Purpose.PENDING, b"content") for _ in range(2))
    assert one != other
    assert b"content" not in base64.urlsafe_b64decode(one.partition(".")[2] + "==")


# --- purposes, origins, keys ---


def test_no_two_purposes_or_origins_share_a_key():
    keys = [KeyRing((KEY,), origin).key(purpose) for origin in ORIGINS for purpose in Purpose]
    assert len(set(keys)) == len(keys)
    assert KEY.secret not in keys


@pytest.mark.parametrize(("made_for", "used_for"), list(itertools.permutations(Purpose, 2)))
def test_a_token_opens_for_no_other_purpose(made_for, used_for):
    sealed = RING.seal(made_for, CLAIMS, issued_at=NOW, expires_at=NOW + 60).encode()
    with pytest.raises(TokenInvalid):
        RING.unseal(used_for, sealed, NOW)
    with pytest.raises(TokenInvalid):
        RING.disclose(used_for, RING.enclose(made_for, b"x").encode())


@pytest.mark.parametrize(("made_at", "used_at"), list(itertools.permutations(ORIGINS, 2)))
def test_a_token_opens_at_no_other_origin_though_the_key_file_is_shared(made_at, used_at):
    ours, theirs = KeyRing((KEY,), used_at), KeyRing((KEY,), made_at)
    with pytest.raises(TokenInvalid):
        ours.unseal(Purpose.SESSION, theirs.seal(Purpose.SESSION, {}, issued_at=NOW, expires_at=NOW + 60).encode(), NOW)
    with pytest.raises(TokenInvalid):
        ours.disclose(Purpose.PENDING, theirs.enclose(Purpose.PENDING, b"x").encode())


def test_the_newest_key_seals_and_every_key_of_the_ring_opens():
    old, both, new = KeyRing((OLD_KEY,), ORIGINS[0]), KeyRing((KEY, OLD_KEY), ORIGINS[0]), KeyRing((KEY,), ORIGINS[0])
    before = old.seal(Purpose.SESSION, CLAIMS, issued_at=NOW, expires_at=NOW + 60).encode()
    after = both.seal(Purpose.SESSION, CLAIMS, issued_at=NOW, expires_at=NOW + 60).encode()
    assert jwt.get_unverified_header(after)["kid"] == KEY.kid
    assert both.unseal(Purpose.SESSION, before, NOW)["sub"] == "alice"
    assert new.unseal(Purpose.SESSION, after, NOW)["sub"] == "alice"
    with pytest.raises(TokenInvalid):
        new.unseal(Purpose.SESSION, before, NOW)
    with pytest.raises(TokenInvalid):
        old.unseal(Purpose.SESSION, after, NOW)
    assert both.disclose(Purpose.PENDING, old.enclose(Purpose.PENDING, b"x").encode()) == b"x"
    with pytest.raises(TokenInvalid):
        new.disclose(Purpose.PENDING, old.enclose(Purpose.PENDING, b"x").encode())
    assert both.keys(Purpose.PENDING) == [new.key(Purpose.PENDING), old.key(Purpose.PENDING)]


def test_a_key_under_anothers_name_opens_nothing():
    impostor = KeyRing((Key(KEY.kid, b"x" * KEY_BYTES, NOW),), ORIGINS[0])
    with pytest.raises(TokenInvalid):
        impostor.unseal(Purpose.SESSION, SEALED, NOW)
    with pytest.raises(TokenInvalid):
        impostor.disclose(Purpose.PENDING, ENCLOSED)


# --- time ---


@pytest.mark.parametrize(
    ("now", "opens"),
    [
        pytest.param(NOW, True, id="at once"),
        pytest.param(NOW + 59.9, True, id="just before its end"),
        pytest.param(NOW + 60, False, id="at its end"),
        pytest.param(NOW + 61, False, id="after its end"),
        pytest.param(NOW - REPLICA_SKEW_SECONDS, True, id="by a replica whose clock is behind"),
        pytest.param(NOW - REPLICA_SKEW_SECONDS - 1, False, id="from the future"),
    ],
)
def test_a_token_opens(now, opens):
    if opens:
        assert RING.unseal(Purpose.SESSION, SEALED, now)["exp"] == NOW + 60
    else:
        with pytest.raises(TokenInvalid):
            RING.unseal(Purpose.SESSION, SEALED, now)


# --- enclosures by hand ---


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b".",
        b"new",
        b"new.",
        b"new.A",
        b"new.AAAA",
        b"new." + b"A" * 15,
        b"new." + b"A" * 16,
        b"new." + b"A" * 38,
        b"other." + ENCLOSED.partition(b".")[2],
        b"\xff." + ENCLOSED.partition(b".")[2],
        b"NEW." + ENCLOSED.partition(b".")[2],
        b" " + ENCLOSED,
        ENCLOSED + b"=",
        ENCLOSED + b"\n",
        ENCLOSED + b".",
        ENCLOSED.replace(b".", b".."),
        b"new." + b"A" * TOKEN_LIMIT_BYTES,
    ],
    ids=itertools.count(),  # what is enclosed differs from run to run, and names of tests must not
)
def test_what_is_no_enclosure_does_not_open(value):
    with pytest.raises(TokenInvalid):
        RING.disclose(Purpose.PENDING, value)


def test_an_enclosure_has_one_spelling():
    """Base64 leaves bits of the last character unused: those spellings are refused."""
    content = b"0123456789"  # 38 bytes with nonce and tag: two bits to spare in the last character
    value = RING.enclose(Purpose.PENDING, content).encode()
    alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    opening = [letter for letter in alphabet if disclosed(value[:-1] + bytes([letter])) is not None]
    assert opening == [value[-1]]


# --- key files ---


def test_a_key_file_is_read_back_newest_first():
    keys = keys_from(keys_text((OLD_KEY, KEY)))
    assert keys == (KEY, OLD_KEY)


def test_new_keys_are_random_and_dated():
    one, other = new_key(NOW + 0.5), new_key(NOW)
    assert one.created == NOW
    assert len(one.secret) == KEY_BYTES
    assert one.secret != other.secret
    assert one.kid != other.kid


def test_a_key_does_not_show_its_secret():
    assert "nnn" not in repr(KEY)
    assert "nnn" not in str([KEY])


def _entry(**changes):
    return {"kid": "a", "created": 1, "secret": base64.urlsafe_b64encode(b"s" * 32).decode(), **changes}


def _file(*entries):
    return json.dumps({"keys": list(entries)})


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("null", id="null"),
        pytest.param("[]", id="a list"),
        pytest.param("{}", id="no keys"),
        pytest.param('{"keys": 5}', id="a number of keys"),
        pytest.param('{"keys": {"a": 1}}', id="a mapping of keys"),
        pytest.param('{"keys": [null]}', id="a key that is null"),
        pytest.param('{"keys": ["a"]}', id="a key that is a string"),
        pytest.param('{"keys": []}', id="an empty list"),
        pytest.param("[" * 100_000, id="nested beyond measure"),
        pytest.param(_file(_entry(secret="")), id="an empty secret"),
        pytest.param(_file(_entry(secret="c2hvcnQ")), id="a short secret"),
        pytest.param(_file(_entry(secret="not base64 at all!")), id="a secret that is not base64"),
        pytest.param(_file(_entry(secret="é" * 60)), id="a secret that is not ASCII"),
        pytest.param(_file(_entry(secret=None)), id="no secret"),
        pytest.param(_file(_entry(secret=5)), id="a secret that is a number"),
        pytest.param(_file(_entry(kid="")), id="an empty kid"),
        pytest.param(_file(_entry(kid="../../dev/null")), id="a kid that is a path"),
        pytest.param(_file(_entry(kid="a\n")), id="a kid with a line end"),
        pytest.param(_file(_entry(kid="k" * 33)), id="a long kid"),
        pytest.param(_file(_entry(kid=5)), id="a kid that is a number"),
        pytest.param(_file(_entry(kid=None)), id="no kid"),
        pytest.param(_file(_entry(kid=["a"])), id="a kid that is a list"),
        pytest.param(_file(_entry(), _entry()), id="the same kid twice"),
        pytest.param(_file(_entry(created="soon")), id="a date that is none"),
        pytest.param(_file(_entry(created=None)), id="no date"),
        pytest.param(_file(_entry()).replace('"created": 1', '"created": 1e999'), id="a date beyond all numbers"),
        pytest.param(_file(*(_entry(kid=f"k{n}") for n in range(RING_LIMIT + 1))), id="too many keys"),
    ],
)
def test_a_bad_key_file_is_refused_by_name(text):
    with pytest.raises(ConfigError) as refusal:
        keys_from(text)
    assert "key file" in refusal.value.problems[0]
    assert "c3Nz" not in refusal.value.problems[0]


def test_a_key_opens_at_once_and_seals_when_its_time_has_come():
    coming, now = Key("coming", b"c" * KEY_BYTES, NOW, NOW + 300), [float(NOW)]
    ring = KeyRing((coming, OLD_KEY), ORIGINS[0], lambda: now[0])
    ahead = KeyRing((coming, OLD_KEY), ORIGINS[0], lambda: NOW + 301)
    sealed = ahead.seal(Purpose.SESSION, CLAIMS, issued_at=NOW, expires_at=NOW + 600).encode()
    assert ring.unseal(Purpose.SESSION, sealed, NOW)["sub"] == "alice"
    assert ring.disclose(Purpose.PENDING, ahead.enclose(Purpose.PENDING, b"x").encode()) == b"x"
    for at, kid in ((NOW, "old"), (NOW + 299, "old"), (NOW + 300, "coming")):
        now[0] = at
        token = ring.seal(Purpose.SESSION, CLAIMS, issued_at=NOW, expires_at=NOW + 600)
        assert jwt.get_unverified_header(token)["kid"] == kid
        assert ring.enclose(Purpose.PENDING, b"x").startswith(f"{kid}.")


def test_before_the_time_of_every_key_the_first_one_to_come_seals():
    """A clock that was set back must not leave nobody to seal."""
    keys = (Key("b", b"b" * KEY_BYTES, NOW, NOW + 300), Key("a", b"a" * KEY_BYTES, NOW - 9, NOW + 100))
    assert KeyRing(keys, ORIGINS[0], lambda: NOW).enclose(Purpose.PENDING, b"x").startswith("a.")


def test_a_key_is_needed_for_a_lifetime_after_its_successor_began_to_seal():
    keys = (Key("c", b"c" * KEY_BYTES, NOW, NOW + 300), Key("b", b"b" * KEY_BYTES, NOW - 5000), OLD_KEY)
    assert [key.kid for key in needed_keys(keys, NOW, 5001)] == ["c", "b", "old"]
    assert [key.kid for key in needed_keys(keys, NOW, 5000)] == ["c", "b"]
    assert [key.kid for key in needed_keys(keys, NOW + 400, 100)] == ["c"]


def test_the_names_of_keys_are_no_secret():
    ring = KeyRing((KEY, OLD_KEY), ORIGINS[0])
    assert ring.kids == (KEY.kid, OLD_KEY.kid)
