"""Which forms are kept over a login, and who gets them back."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passproxy.core import rescue
from passproxy.core.errors import FormExpired, FormOfAnother
from passproxy.core.tokens import Purpose
from tests.core.given import ALICE, NOW, RING, examples, request

WHO = rescue.who(RING, ALICE).encode()
FROM_A_WINDOW = (
    b"Sec-Fetch-Site: same-origin",
    b"Sec-Fetch-Mode: navigate",
    b"Sec-Fetch-Dest: document",
    b"Content-Type: application/x-www-form-urlencoded; charset=utf-8",
)
LENGTH = b"Content-Length: 10"
POST = b"POST /edit?id=4 HTTP/1.1"


def without(number: int) -> tuple[bytes, ...]:
    return (*FROM_A_WINDOW[:number], *FROM_A_WINDOW[number + 1 :], LENGTH)


@pytest.mark.parametrize(
    ("lines", "start", "may"),
    [
        pytest.param((*FROM_A_WINDOW, LENGTH), POST, True, id="a form in a window"),
        pytest.param((*FROM_A_WINDOW, LENGTH), b"PUT /edit?id=4 HTTP/1.1", False, id="no form has another method"),
        pytest.param((*FROM_A_WINDOW, LENGTH), b"POST //evil.example/ HTTP/1.1", False, id="a target like a host"),
        pytest.param((*FROM_A_WINDOW,), POST, False, id="no body"),
        pytest.param((*FROM_A_WINDOW, b"Transfer-Encoding: chunked"), POST, False, id="a body of unknown length"),
        pytest.param(
            (*FROM_A_WINDOW, b"Content-Length: %d" % rescue.FORM_LIMIT_BYTES), POST, True, id="the largest form"
        ),
        pytest.param(
            (*FROM_A_WINDOW, b"Content-Length: %d" % (rescue.FORM_LIMIT_BYTES + 1)), POST, False, id="a byte more"
        ),
        pytest.param(without(0), POST, False, id="nobody says from where"),
        pytest.param((*without(0), b"Sec-Fetch-Site: cross-site"), POST, False, id="from another site"),
        pytest.param((*without(0), b"Sec-Fetch-Site: same-site"), POST, False, id="from another host of the site"),
        pytest.param((*without(1), b"Sec-Fetch-Mode: cors"), POST, False, id="by a script"),
        pytest.param((*without(2), b"Sec-Fetch-Dest: iframe"), POST, False, id="in a frame"),
        pytest.param((*without(3), b"Content-Type: multipart/form-data; boundary=x"), POST, False, id="with files"),
        pytest.param((*without(3), b"Content-Type: application/json"), POST, False, id="not a form"),
    ],
)
def test_only_a_form_that_a_window_of_the_application_sent_is_kept(lines, start, may):
    assert rescue.is_rescuable(request(*lines, start=start)) is may


TEXT = st.text(
    st.characters(min_codepoint=32, max_codepoint=0x2FFF, exclude_characters="\x7f", exclude_categories=["Cs"])
)


@examples(60)
@given(st.lists(st.tuples(TEXT.filter(bool), TEXT), min_size=1, max_size=20))
def test_a_form_comes_back_as_it_was(fields):
    value = rescue.kept(RING, WHO, "/edit?id=4", urlencode(fields).encode(), NOW)
    assert value is not None
    form = rescue.restored(RING, value.encode(), ALICE, NOW + 60)
    assert form == rescue.Form("/edit?id=4", tuple(fields))


def test_the_largest_form_comes_back_too():
    body = urlencode({"text": '"' * 20_000 + "\r\n" * 300}).encode()
    assert len(body) < rescue.FORM_LIMIT_BYTES
    value = rescue.kept(RING, WHO, "/" + "x" * 2000, body, NOW)
    assert value is not None
    assert rescue.restored(RING, value.encode(), ALICE, NOW).fields[0][1].startswith('"')


@pytest.mark.parametrize(
    "body",
    [
        b"a=%00",
        b"a=%0A",
        b"a=%0D",
        b"a=%0Db",
        b"a=%1b",
        b"a=%ff",
        b"a=\xc3\xa4",
        b"no pair",
        b"&".join(b"a=1" for _ in range(rescue.FORM_FIELD_LIMIT + 1)),
    ],
)
def test_a_form_that_a_page_could_not_repeat_exactly_is_not_kept(body):
    assert rescue.kept(RING, WHO, "/", body, NOW) is None


@pytest.mark.parametrize(
    "who", [b"", b"x", RING.enclose(Purpose.KEPT, b"0" * 16).encode()], ids=["empty", "noise", "of another purpose"]
)
def test_a_form_of_nobody_knows_whom_is_not_kept(who):
    assert rescue.kept(RING, who, "/", b"a=1", NOW) is None


def test_a_form_is_given_to_nobody_else():
    value = rescue.kept(RING, WHO, "/", b"a=1", NOW)
    assert value is not None
    for other in (replace(ALICE, subject="bob"), replace(ALICE, issuer="https://other.example")):
        with pytest.raises(FormOfAnother):
            rescue.restored(RING, value.encode(), other, NOW)
    renamed = replace(ALICE, attributes={"user": "alice2"}, groups=())
    assert rescue.restored(RING, value.encode(), renamed, NOW).target == "/"


def test_a_form_is_offered_for_half_an_hour():
    value = rescue.kept(RING, WHO, "/", b"a=1", NOW)
    assert value is not None
    rescue.restored(RING, value.encode(), ALICE, NOW + rescue.FORM_SECONDS)
    with pytest.raises(FormExpired):
        rescue.restored(RING, value.encode(), ALICE, NOW + rescue.FORM_SECONDS + 1)


@pytest.mark.parametrize(
    "value",
    [b"", b"x", RING.enclose(Purpose.WHO, b"[]").encode(), b"new." + b"A" * 300_000],
    ids=["empty", "noise", "of another purpose", "too long"],
)
def test_anything_else_is_no_form(value):
    with pytest.raises(FormExpired):
        rescue.restored(RING, value, ALICE, NOW)
