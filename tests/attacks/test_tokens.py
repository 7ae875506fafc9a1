"""Rows JWT of the catalogue: whatever comes as a session cookie is a session of this origin, or none."""

from __future__ import annotations

import base64
import hmac
import json
import time
import zlib

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from passproxy.core.errors import TokenInvalid
from passproxy.core.session import Sessions
from passproxy.core.session_claims import Session
from passproxy.core.tokens import KEY_BYTES, TOKEN_LIMIT_BYTES, Key, KeyRing, Purpose
from tests.core.given import ALICE, KEY, NOW, OLD_KEY, ORIGIN, RING, SAID_OF_ALICE

LIFETIME = 3600
KEY_OF_SESSIONS = RING.key(Purpose.SESSION)


def sessions_of(ring: KeyRing = RING, lifetime: int = LIFETIME) -> Sessions:
    return Sessions(ring, lifetime, lambda session: b"")


def sealed(ring: KeyRing = RING) -> str:
    return sessions_of(ring).seal(Session("id", ALICE, NOW, NOW + LIFETIME))


GOOD = sealed()
HEADER, PAYLOAD, SIGNATURE = GOOD.split(".")
GOOD_HEADER = jwt.get_unverified_header(GOOD)
GOOD_CLAIMS = jwt.decode(GOOD, options={"verify_signature": False})


def segment(value: object) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def signed(claims: object, key: bytes = KEY_OF_SESSIONS, header: object = None) -> str:
    """A token by whoever has the key: only what is said in it can be wrong. Bytes are taken as they are."""
    body = f"{segment(GOOD_HEADER if header is None else header)}.{segment(claims)}"
    return f"{body}.{segment(hmac.digest(key, body.encode(), 'sha256'))}"


def without_absent(members: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in members.items() if value is not ...}


def resealed(**changes: object) -> str:
    return signed(without_absent({**GOOD_CLAIMS, **changes}))


def reheaded(**changes: object) -> str:
    return signed(GOOD_CLAIMS, header=without_absent({**GOOD_HEADER, **changes}))


def is_session(token: str | bytes, now: float = NOW, sessions: Sessions | None = None) -> bool:
    value = token if isinstance(token, bytes) else token.encode("utf-8", "surrogatepass")
    try:
        (sessions or sessions_of()).open(value, now)
    except TokenInvalid:
        return False
    return True


def public_key_bytes(form: PublicFormat, encoding: Encoding) -> bytes:
    return rsa.generate_private_key(65537, 2048).public_key().public_bytes(encoding, form)


def test_the_good_token_is_a_session():
    assert is_session(GOOD)
    assert is_session(resealed())
    assert is_session(reheaded())


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "nOnE", "", None, ...])
@pytest.mark.parametrize("signature", ["", SIGNATURE, "AA"])
def test_jwt_01_no_algorithm_is_none(algorithm, signature):
    header = without_absent({**GOOD_HEADER, "alg": algorithm})
    assert not is_session(f"{segment(header)}.{PAYLOAD}.{signature}")
    assert not is_session(reheaded(alg=algorithm))


@pytest.mark.parametrize("algorithm", ["HS384", "HS512"])
def test_jwt_02_the_right_key_under_another_hmac_opens_nothing(algorithm):
    body = f"{segment({**GOOD_HEADER, 'alg': algorithm})}.{PAYLOAD}"
    digest = hmac.digest(KEY_OF_SESSIONS, body.encode(), algorithm.replace("HS", "sha"))
    assert not is_session(f"{body}.{segment(digest)}")
    assert not is_session(reheaded(alg=algorithm))


def test_jwt_02_an_asymmetric_signature_is_no_session():
    header = {name: GOOD_HEADER[name] for name in ("typ", "kid")}
    key = ec.generate_private_key(ec.SECP256R1())
    assert not is_session(jwt.encode(GOOD_CLAIMS, key, algorithm="ES256", headers=header))


@pytest.mark.parametrize(
    "forged",
    [
        pytest.param(f"{HEADER}.{segment({**GOOD_CLAIMS, 'sub': 'admin'})}.{SIGNATURE}", id="other claims"),
        pytest.param(f"{HEADER}.{PAYLOAD}.", id="no signature"),
        pytest.param(f"{HEADER}.{PAYLOAD}", id="no third part"),
        pytest.param(f"{HEADER}.{PAYLOAD}.{segment(bytes(32))}", id="a signature of zeros"),
        pytest.param(signed(GOOD_CLAIMS, bytes(32)), id="a key of zeros"),
        pytest.param(signed(GOOD_CLAIMS, KEY.secret), id="the master key itself"),
        pytest.param(signed(GOOD_CLAIMS, RING.key(Purpose.PENDING)), id="the key of another purpose"),
    ],
)
def test_jwt_03_a_forged_token_is_no_session(forged):
    assert not is_session(forged)


@pytest.mark.parametrize("origin", ["https://b.example.com", "http://app.example.com", "https://app.example.com:8443"])
def test_jwt_04_the_session_of_another_instance_with_the_same_key_file_is_none_here(origin):
    assert not is_session(sealed(KeyRing((KEY,), origin)))


@pytest.mark.parametrize("purpose", [purpose for purpose in Purpose if purpose is not Purpose.SESSION])
def test_jwt_05_a_token_of_another_purpose_is_no_session(purpose):
    claims = {name: value for name, value in GOOD_CLAIMS.items() if name not in ("iss", "aud", "iat", "exp")}
    token = RING.seal(purpose, claims, issued_at=NOW, expires_at=NOW + 60)
    assert not is_session(token)
    assert not is_session(RING.enclose(purpose, json.dumps(GOOD_CLAIMS).encode()))
    assert not is_session(reheaded(typ=purpose.value))
    assert not is_session(resealed(aud=f"{ORIGIN} {purpose.value}"))
    with pytest.raises(TokenInvalid):
        RING.disclose(purpose, GOOD.encode())


@pytest.mark.parametrize(
    "typ", ["JWT", "jwt", "at+jwt", "PP-SESSION+JWT", "pp-session+jwt ", "", None, 5, ["pp-session+jwt"], ...]
)
def test_jwt_05_the_type_is_exact(typ):
    assert not is_session(reheaded(typ=typ))


def test_jwt_06_an_id_token_of_the_provider_is_no_session():
    key = rsa.generate_private_key(65537, 2048)
    claims = {"iss": ALICE.issuer, "sub": "admin", "aud": "client", "iat": NOW, "exp": NOW + 60}
    assert not is_session(jwt.encode(claims, key, algorithm="RS256", headers={"kid": "idp"}))
    assert not is_session(
        jwt.encode(GOOD_CLAIMS, key, algorithm="RS256", headers={"typ": "pp-session+jwt", "kid": KEY.kid})
    )


@pytest.mark.parametrize("claim", ["exp", "iat", "auth_time"])
@pytest.mark.parametrize("value", [..., None, "9999999999", True, 1.5, float(NOW + 60), [], {}, "", "soon"], ids=repr)
def test_jwt_07_times_are_whole_numbers(claim, value):
    assert not is_session(resealed(**{claim: value}))


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e9999", "-Infinity", "1e30", "9" * 5000])
def test_jwt_07_numbers_that_are_none_are_no_times(number):
    text = json.dumps(GOOD_CLAIMS).replace(f'"exp": {NOW + LIFETIME}', f'"exp": {number}')
    assert number in text
    assert not is_session(signed(text.encode()))


@pytest.mark.parametrize("exp", [-1, 0, NOW - 1, NOW])
def test_jwt_07_what_has_ended_is_no_session(exp):
    assert not is_session(resealed(exp=exp))


@pytest.mark.parametrize("exp", [10**10, 10**18, 10**30])
def test_jwt_07_the_configured_lifetime_holds_whatever_the_token_says(exp):
    token = resealed(exp=exp)
    assert is_session(token, NOW + LIFETIME - 1)
    assert not is_session(token, NOW + LIFETIME)
    remembering = sessions_of()
    assert is_session(token, NOW, remembering)
    assert not is_session(token, NOW + LIFETIME, remembering)


def test_jwt_07_an_old_token_with_a_far_end_has_ended():
    assert not is_session(resealed(iat=-(10**30), exp=10**30))
    assert not is_session(resealed(iat=NOW - LIFETIME, exp=10**30))


def test_jwt_08_a_token_from_the_future_is_no_session():
    assert is_session(resealed(iat=NOW + 60, exp=NOW + 4000))
    assert not is_session(resealed(iat=NOW + 61, exp=NOW + 4000))
    assert not is_session(resealed(iat=NOW + 3600, exp=NOW + 7200))


@pytest.mark.parametrize(
    "kid", ["unknown", "../../dev/null", "", "NEW", "new ", "k" * 10_000, 5, None, ["new"], {"a": 1}, True, ...], ids=lambda k: repr(k)[:20]
)  # fmt: skip
def test_jwt_09_a_kid_is_looked_up_and_nothing_else(kid):
    assert not is_session(reheaded(kid=kid))


@pytest.mark.parametrize(
    "extra",
    [
        {"crit": ["exp"]},
        {"crit": ["b64"], "b64": False},
        {"b64": False},
        {"zip": "DEF"},
        {"cty": "JWT"},
        {"jku": "https://evil.example/"},
        {"jwk": {"kty": "oct", "k": segment(KEY_OF_SESSIONS)}},
        {"x5u": "https://evil.example/"},
        {"enc": "A256GCM"},
    ],
    ids=str,
)
def test_jwt_11_a_header_has_three_members_and_no_more(extra):
    assert not is_session(reheaded(**extra))


def test_jwt_11_encrypted_nested_and_compressed_tokens_are_no_sessions():
    assert not is_session(f"{segment({'alg': 'dir', 'enc': 'A256GCM'})}..{segment(bytes(12))}.{PAYLOAD}.{SIGNATURE}")
    assert not is_session(f"{HEADER}..{SIGNATURE}")
    assert not is_session(signed(zlib.compress(json.dumps(GOOD_CLAIMS).encode())))
    assert not is_session(signed(GOOD.encode()))


def test_jwt_13_rotation_keeps_sessions_and_removal_ends_them():
    before = sealed(KeyRing((OLD_KEY,), str(ORIGIN)))
    assert is_session(before, sessions=sessions_of(KeyRing((KEY, OLD_KEY), str(ORIGIN))))
    assert not is_session(before, sessions=sessions_of(KeyRing((KEY,), str(ORIGIN))))


@pytest.mark.parametrize(
    "token",
    [
        pytest.param("A" * 1_000_000, id="a megabyte"),
        pytest.param(f"{HEADER}.{'A' * 1_000_000}.{SIGNATURE}", id="a megabyte of claims"),
        pytest.param(f"{segment(b'[' * 2800)}.{PAYLOAD}.{SIGNATURE}", id="a nested header"),
        pytest.param(f"{segment(b'[' * 100_000)}.{PAYLOAD}.{SIGNATURE}", id="a header nested beyond measure"),
        pytest.param(f"{segment(b'{' + b'9' * 2900 + b'}')}.{PAYLOAD}.{SIGNATURE}", id="a long number"),
        pytest.param(signed(b'{"a":' * 500 + b"1" + b"}" * 500), id="nested claims, signed"),
        pytest.param(signed(b"[" * 2800), id="claims that nest and never end, signed"),
        pytest.param("." * 4000, id="dots"),
    ],
)
def test_jwt_15_size_and_nesting_cost_nothing(token):
    started = time.perf_counter()
    assert not is_session(token)
    assert time.perf_counter() - started < 0.1


def test_jwt_15_a_token_above_the_limit_is_not_even_looked_at():
    claims = {**GOOD_CLAIMS, "groups": ["g" * TOKEN_LIMIT_BYTES]}
    assert not is_session(signed(claims))


@pytest.mark.parametrize(
    "spelling",
    [
        pytest.param(GOOD + "=", id="padded"),
        pytest.param(GOOD + "==", id="padded twice"),
        pytest.param(GOOD + "\n", id="a line end"),
        pytest.param(GOOD + " ", id="a space behind"),
        pytest.param(" " + GOOD, id="a space before"),
        pytest.param(GOOD + "%3D", id="an escape"),
        pytest.param(GOOD + ".", id="a dot behind"),
        pytest.param('"' + GOOD + '"', id="quoted"),
        pytest.param(GOOD.replace(".", "%2E"), id="escaped dots"),
        pytest.param(f"{HEADER}=.{PAYLOAD}.{SIGNATURE}", id="a padded header"),
        pytest.param(f"{HEADER}.{PAYLOAD}\n.{SIGNATURE}", id="a line end within"),
        pytest.param(f"{HEADER}.{PAYLOAD}.{SIGNATURE}A", id="one character more"),
        pytest.param(f"{HEADER}.{PAYLOAD}.{SIGNATURE}AAAA", id="four characters more"),
        pytest.param(f"{HEADER}.{PAYLOAD}.{SIGNATURE[:-1]}", id="one character less"),
    ],
)
def test_jwt_16_another_spelling_is_no_session(spelling):
    assert not is_session(spelling)


def test_jwt_16_the_last_character_of_a_signature_has_one_spelling():
    """It has two bits to spare, which PyJWT before 2.15 (Debian has 2.10) ignores: four tokens for one."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    assert [letter for letter in alphabet if is_session(GOOD[:-1] + letter)] == [GOOD[-1]]


@pytest.mark.parametrize(
    "changes",
    [
        {"groups": "admins"},
        {"groups": {"admins": True}},
        {"groups": None},
        {"groups": [1]},
        {"groups": [""]},
        {"groups": [["admins"]]},
        {"groups": ...},
        {"sub": ["a"]},
        {"sub": ""},
        {"sub": None},
        {"sub": 5},
        {"sub": ...},
        {"idp": ""},
        {"idp": ["a"]},
        {"idp": ...},
        {"sid": ""},
        {"sid": 5},
        {"sid": ...},
        {"attributes": None},
        {"attributes": []},
        {"attributes": {}},
        {"attributes": "user"},
        {"attributes": {"user": ""}},
        {"attributes": {"user": ["alice"]}},
        {"attributes": {"user": None}},
        {"attributes": {"email": "a@b"}},
        {"attributes": {"user": "a", "unknown": "b"}},
        {"attributes": {"user": "a", "groups": "admins"}},
        {"attributes": ...},
        {"aud": [GOOD_CLAIMS["aud"]]},
        {"aud": [GOOD_CLAIMS["aud"], "x"]},
        {"aud": str(ORIGIN)},
        {"aud": ""},
        {"aud": ...},
        {"iss": "https://evil.example"},
        {"iss": [str(ORIGIN)]},
        {"iss": ...},
        {"extra": 1},
        {"nbf": NOW},
        {"jti": "a"},
    ],
    ids=str,
)
def test_jwt_17_claims_have_their_types_and_none_is_missing_or_unknown(changes):
    assert not is_session(resealed(**changes))


@pytest.mark.parametrize("text", ["[]", "null", '"a"', "5", "true", "{}", "", "{", "\ufeff{}", '{"sub":"a","sub":"b"}'])
def test_jwt_17_claims_are_an_object(text):
    assert not is_session(signed(text.encode()))


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"a.b",
        b"a.b.c",
        b"a.b.c.d.e",
        b"...",
        b"\x00",
        b"\xff\xfe",
        b"\x1f\x8b\x08\x00",
        "\udcff".encode("utf-8", "surrogatepass"),
        "é.é.é".encode(),
        GOOD.encode()[:-10] + b"\x00" * 10,
        GOOD.encode() + b"\x00",
        GOOD.encode().replace(b".", b"\x00"),
        b"undefined",
        b"null",
        b"deleted",
    ],
)
def test_jwt_18_a_cookie_that_makes_readers_stumble_is_no_session(value):
    assert not is_session(value)


def test_jwt_21_each_login_has_a_session_id_of_its_own():
    sessions = sessions_of()
    ids = {sessions.begin(ALICE, SAID_OF_ALICE, NOW).id for _ in range(50)}
    assert len(ids) == 50
    assert all(len(identifier) >= 22 for identifier in ids)


def test_jwt_22_a_token_tells_who_and_nothing_secret():
    assert GOOD_CLAIMS.keys() == {
        "v", "sid", "sub", "idp", "auth_time", "checked", "handles", "attributes", "groups", "iss", "aud", "iat", "exp",
    }  # fmt: skip
    assert KEY.secret not in base64.urlsafe_b64decode(PAYLOAD + "==")


@pytest.mark.parametrize("version", [0, 1, 3, "2", True, 2.0, None, ...])
def test_jwt_24_a_token_of_another_version_is_no_session(version):
    assert not is_session(resealed(v=version))


@pytest.mark.parametrize("encoding", [Encoding.PEM, Encoding.DER])
def test_jwt_25_public_material_makes_no_session(encoding):
    public = public_key_bytes(PublicFormat.SubjectPublicKeyInfo, encoding)
    assert not is_session(signed(GOOD_CLAIMS, public))


def test_jwt_26_no_two_contexts_derive_the_same_key():
    """Lengths are part of the context, so nothing can move from the origin into the purpose."""
    purposes = list(Purpose)
    origins = [
        "https://a",
        "https://ab",
        f"https://a {purposes[0].value}",
        purposes[0].value,
        "",
        "\x00",
        "https://a\x00",
    ]
    rings = [KeyRing((KEY, Key("k2", b"2" * KEY_BYTES, 0)), origin) for origin in origins]
    keys = [key for ring in rings for purpose in purposes for key in ring.keys(purpose)]
    assert len(set(keys)) == len(keys) == len(origins) * len(purposes) * 2
