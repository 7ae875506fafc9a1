"""A passthrough token is exactly one, of ours, for this request; or none."""

from __future__ import annotations

import contextlib
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passproxy.core import bearer as module
from passproxy.core.bearer import Token, Tokens, without_authorization
from passproxy.core.errors import RequestMalformed, TargetAmbiguous, TokenOutOfScope, TokenThrottled, TokenUnknown
from passproxy.core.headers import request_names
from passproxy.core.http1 import request_head
from tests.core.given import NOW, examples, request

SECRET = "a-token-of-32-characters-or-more"
OTHER = "b" * 32


def digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def tokens(**scope) -> Tokens:
    return Tokens([Token("other", digest(OTHER)), Token("backup", digest(SECRET), **scope)])


def bearer(secret: str | bytes = SECRET, field: str = "X-Passproxy-Authorization") -> bytes:
    return f"{field}: Bearer ".encode() + (secret if isinstance(secret, bytes) else secret.encode())


def name_of(found: Token | None) -> str | None:
    return None if found is None else found.name


def asked(made: Tokens, *lines: bytes, start: bytes = b"GET / HTTP/1.1", address: str = "192.0.2.1", now: float = NOW):
    return name_of(made.of(request(*lines, start=start), lambda: address, now))


def test_it_is_found_by_its_digest():
    assert asked(tokens(), bearer()) == "backup"
    assert asked(tokens(), bearer(OTHER)) == "other"
    assert asked(tokens()) is None


@pytest.mark.parametrize("scheme", [b"Bearer", b"bearer", b"BEARER"])
def test_the_scheme_is_in_any_case_and_one_or_more_spaces_follow(scheme):
    assert asked(tokens(), b"X-Passproxy-Authorization: " + scheme + b"   " + SECRET.encode()) == "backup"


PT_02 = {
    "PT-01 nothing": b"",
    "PT-01 the scheme alone": b"Bearer",
    "PT-01 the scheme and a space": b"Bearer ",
    "PT-02 without a scheme": SECRET.encode(),
    "PT-02 another scheme": b"Basic " + SECRET.encode(),
    "PT-02 two": b"Bearer " + SECRET.encode() + b", " + OTHER.encode(),
    "PT-02 two schemes": b"Bearer Bearer " + SECRET.encode(),
    "PT-02 a tab": b"Bearer\t" + SECRET.encode(),
    "PT-02 longer": b"Bearer " + SECRET.encode() + b"x",
    "PT-02 shorter": b"Bearer " + SECRET.encode()[:-1],
    "PT-02 in capitals": b"Bearer " + SECRET.upper().encode(),
    "PT-02 padded": b"Bearer " + SECRET.encode() + b"=",
    "PT-02 very long": b"Bearer " + b"x" * 513,
    "PT-03 not ASCII": b"Bearer \xc3\xa9" + SECRET.encode(),
    "PT-03 ends not in ASCII": b"Bearer " + SECRET.encode() + b"\xff",
}


@pytest.mark.parametrize("value", PT_02.values(), ids=PT_02)
def test_anything_else_is_no_token(value):
    with pytest.raises(TokenUnknown):
        asked(tokens(), b"X-Passproxy-Authorization: " + value)


def test_pt_02_two_fields_are_no_token():
    with pytest.raises(TokenUnknown):
        asked(tokens(), bearer(), bearer())
    with pytest.raises(TokenUnknown):
        asked(tokens(), bearer("wrong"), bearer())


@pytest.mark.parametrize(
    "name", ["X_Passproxy_Authorization", "X.Passproxy.Authorization", "x-passproxy--authorization"]
)
def test_pt_02_another_spelling_of_the_name_never_counts(name):
    assert asked(tokens(), bearer(field=name)) is None


@given(st.binary(max_size=80).filter(lambda raw: not set(raw) & set(b"\r\n\0")))
@examples(300)
def test_no_other_bytes_are_a_token(value):
    line = b"X-Passproxy-Authorization: Bearer " + value
    with contextlib.suppress(TokenUnknown, RequestMalformed):
        assert value.strip(b" ") in (SECRET.encode(), OTHER.encode()) or asked(tokens(), line) is None


@pytest.mark.parametrize(
    ("scope", "start"),
    [
        ({"paths": ("/api/**",)}, b"GET /admin HTTP/1.1"),
        ({"paths": ("/api/**",)}, b"GET /apix HTTP/1.1"),
        ({"methods": ("GET",)}, b"POST / HTTP/1.1"),
        ({"networks": ("10.0.0.0/8",)}, b"GET / HTTP/1.1"),
        ({"expires_at": NOW}, b"GET / HTTP/1.1"),
    ],
)
def test_pt_07_it_is_for_its_scope_alone(scope, start):
    with pytest.raises(TokenOutOfScope, match="backup"):
        asked(tokens(**scope), bearer(), start=start)


def test_pt_07_within_its_scope_it_holds():
    scope = {
        "paths": ("/api/**",),
        "methods": ("GET",),
        "networks": ("192.0.2.0/24", "2001:db8::/32"),
        "expires_at": NOW + 1,
    }
    assert asked(tokens(**scope), bearer(), start=b"GET /api/x HTTP/1.1") == "backup"
    assert asked(tokens(**scope), bearer(), start=b"GET /api HTTP/1.1", address="2001:db8::1") == "backup"
    with pytest.raises(TokenOutOfScope):
        asked(tokens(**scope), bearer(), start=b"GET /api HTTP/1.1", address="unix:")


@pytest.mark.parametrize("target", [b"/api/..%2fadmin", b"/api//x", b"/api/%2e%2e/x", b"/api/;x"])
def test_pt_07_a_path_that_can_be_read_in_two_ways_is_refused(target):
    with pytest.raises(TargetAmbiguous):
        asked(tokens(paths=("/api/**",)), bearer(), start=b"GET " + target + b" HTTP/1.1")


def test_pt_04_who_guesses_has_to_wait_and_others_do_not():
    made = tokens()
    for _ in range(module.FAILURES_LIMIT):
        with pytest.raises(TokenUnknown):
            asked(made, bearer(b"x" * 32))
    with pytest.raises(TokenThrottled):
        asked(made, bearer(b"x" * 32))
    with pytest.raises(TokenUnknown) as other:
        asked(made, bearer(b"x" * 32), address="192.0.2.2")
    assert not isinstance(other.value, TokenThrottled)
    assert asked(made, bearer()) == "backup"
    with pytest.raises(TokenUnknown) as later:
        asked(made, bearer(b"x" * 32), now=NOW + module.FAILURES_SECONDS)
    assert not isinstance(later.value, TokenThrottled)


def test_pt_04_addresses_are_counted_within_bounds(monkeypatch):
    monkeypatch.setattr(module, "ADDRESSES_LIMIT", 3)
    made = tokens()
    for number in range(10):
        with pytest.raises(TokenUnknown):
            asked(made, bearer(b"x" * 32), address=f"192.0.2.{number}")
    assert len(made._failures._counted) == 3


USUAL = request_names(notes_authorization=True)
IN_USUAL = Tokens([Token("backup", digest(SECRET))], in_authorization=True)


def usual(*lines: bytes):
    text = b"".join(line + b"\r\n" for line in (b"GET / HTTP/1.1", b"Host: app.example.com", *lines))
    return request_head(text, USUAL)


def test_in_the_usual_field_it_counts_where_that_is_allowed():
    head = usual(bearer(field="Authorization"), b"Accept: */*")
    assert name_of(IN_USUAL.of(head, str, NOW)) == "backup"
    assert IN_USUAL.in_authorization(head)
    assert without_authorization(head).lines == [b"Accept: */*"]
    assert tokens().of(head, str, NOW) is None
    assert not tokens().in_authorization(head)


@pytest.mark.parametrize("line", [bearer("someone-elses", "Authorization"), b"Authorization: Basic x"])
def test_there_what_is_none_of_ours_is_the_applications(line):
    assert IN_USUAL.of(usual(line), str, NOW) is None
    both = usual(line, bearer())
    assert name_of(IN_USUAL.of(both, str, NOW)) == "backup"
    assert not IN_USUAL.in_authorization(both)


def test_pt_05_ours_beside_another_one_is_refused_and_not_passed_on():
    for lines in ([bearer(field="Authorization")] * 2, [b"Authorization: Basic x", bearer(field="Authorization")]):
        with pytest.raises(TokenUnknown):
            IN_USUAL.of(usual(*lines), str, NOW)


def test_where_we_say_authorization_ourselves_a_token_is_still_read_there():
    names = request_names(("Authorization",), notes_authorization=True)
    text = b"GET / HTTP/1.1\r\nHost: app.example.com\r\n" + bearer(field="Authorization") + b"\r\n"
    head = request_head(text, names)
    assert name_of(IN_USUAL.of(head, str, NOW)) == "backup"
    assert head.lines == []
