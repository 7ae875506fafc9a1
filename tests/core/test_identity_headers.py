"""Templates, encodings and credentials: what is said is what was meant, and one line says one thing."""

from __future__ import annotations

import base64
import csv
import re
from urllib.parse import unquote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from passproxy.core.errors import IdentityUnsafe
from passproxy.core.identity import VALUE_LIMIT_CHARACTERS, Identity, has_unsafe
from passproxy.core.identity_headers import (
    ENCODINGS,
    PLACEHOLDERS,
    BasicAuth,
    IdentityHeaders,
    Template,
    name_problem,
    template,
)
from passproxy.core.profiles import PROFILES
from tests.core.given import NOW, examples


def somebody(groups: tuple[str, ...] = (), subject: str = "s-1", **attributes: str) -> Identity:
    return Identity("https://sso.example.com", subject, {"user": "alice", **attributes}, groups, NOW)


def said(template_text: str, identity: Identity, encoding: str = "utf-8", **more: str) -> bytes:
    """The value of one configured header, empty when it is not sent."""
    headers = IdentityHeaders("none", {"X-Said": template_text}, encoding=encoding, **more)
    line = headers.lines(identity, 17, ("viewer",))
    assert line == b"" or (line.startswith(b"X-Said: ") and line.endswith(b"\r\n") and line.count(b"\r\n") == 1)
    return line.removeprefix(b"X-Said: ").removesuffix(b"\r\n")


# --- templates


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{email}", b"a@example.com"),
        ("{given_name} {surname}", b"Alice Archer"),
        ("{given_name} {phone}", b"Alice"),
        ("{phone}", b""),
        ("tel:{phone}", b""),
        ("production", b"production"),
        ("{{{user}}}", b"{alice}"),
        ("{{user}}", b"{user}"),
        ("{user}}}{{", b"alice}{"),
        ('{{"user": "{user}"}}', b'{"user": "alice"}'),
        ("{groups}", b"staff,ops"),
        ("{roles}", b"viewer"),
        ("{subject}/{session_expires}", b"s-1/17"),
        ("{user}{user}", b"alicealice"),
    ],
)
def test_a_template_says(text, value):
    alice = somebody(("staff", "ops"), email="a@example.com", given_name="Alice", surname="Archer")
    assert said(text, alice) == value


def test_every_placeholder_can_be_used():
    full = somebody(("g",), **{name: f"{name}!" for name in PLACEHOLDERS if name not in _NOT_ATTRIBUTES})
    for name in PLACEHOLDERS:
        assert said(f"{{{name}}}", full), name


_NOT_ATTRIBUTES = {"user", "subject", "groups", "roles", "session_expires"}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{emial}", "did you mean {email}?"),
        ("{session_expire}", "did you mean {session_expires}?"),
        ("{zzz}", "there are user, subject, email"),
        ("{}", "an unknown placeholder"),
        ("{user!r}", "an unknown placeholder"),
        ("{user.__class__}", "an unknown placeholder"),
        ("{ user }", "did you mean {user}?"),
        ("{user", "a brace stands alone"),
        ("user}", "a brace stands alone"),
        ("{us{er}", "a brace stands alone"),
        ("{user}\r\nX-Admin: yes", "control characters"),
        ("a\0b", "control characters"),
    ],
)
def test_what_is_no_template_says_why_and_quotes_nothing(text, problem):
    with pytest.raises(ValueError, match=re.escape(problem)) as refusal:
        template(text)
    assert "zzz" not in str(refusal.value)


@examples(200)
@given(st.text(st.sampled_from("{}ab c") | st.characters(), max_size=20))
def test_a_text_with_doubled_braces_is_itself(text):
    doubled = text.replace("{", "{{").replace("}", "}}")
    if has_unsafe(text):
        with pytest.raises(ValueError, match="control characters"):
            template(doubled)
    else:
        assert template(doubled) == Template((text,))


@pytest.mark.parametrize(
    "name",
    [
        *("Host", "host", "Cookie", "Content-Length", "content_type", "Content-Anything", "Transfer-Encoding", "TE"),
        *("Connection", "Keep-Alive", "Upgrade", "Proxy", "Proxy-Authorization", "Authorization", "authorization_"),
        *("X-Forwarded-For", "X_Forwarded_Host", "X-Forwarded-Anything", "Forwarded", "X-Real-IP", "X-Request-Id"),
        *("X-Passproxy-User", "x_passproxy_new", "X-Passproxy-Assertion", "X-HTTP-Method-Override", "Sec-Fetch-Site"),
        *("Via", "Date", "Origin", "Referer", "Expect", "Max-Forwards", "X-Original-URL", "Remote-Addr", "Accept"),
        *("", " ", "X User", "X-User:", "X-\u00dcser", "X.User", "-X", "X-User\r\n", "X" * 65),
    ],
    ids=lambda name: f"HDR-25 {name!a}",
)
def test_a_name_with_a_meaning_of_its_own_cannot_be_configured(name):
    assert name_problem(name)


@pytest.mark.parametrize(
    "name",
    ["X-WEBAUTH-USER", "X-WEBAUTH-ROLE", "SM_USER", "Remote-User", "X-Forwarded-User", "X-Forwarded-Email", "X" * 64],
)
def test_a_name_that_applications_expect_can_be_configured(name):
    assert name_problem(name) is None


# --- encodings


@pytest.mark.parametrize(
    ("encoding", "value", "wire"),
    [
        ("utf-8", "Jörg 🙂 100%", "Jörg 🙂 100%".encode()),
        ("percent", "Jörg 100%", b"J%C3%B6rg 100%25"),
        ("percent", "plain; a,b", b"plain; a,b"),
        ("rfc8187", "Jörg Ä, x", b"UTF-8''J%C3%B6rg%20%C3%84%2C%20x"),
        ("rfc8187", "plain 100%", b"plain 100%"),
        ("rfc8187", "UTF-8''admin", b"UTF-8''UTF-8%27%27admin"),
        ("rfc8187", "utf-8''admin", b"UTF-8''utf-8%27%27admin"),
    ],
)
def test_a_value_is_written(encoding, value, wire):
    assert said("{name}", somebody(name=value), encoding) == wire


def decoded(encoding: str, wire: bytes) -> str:
    """As the documentation tells applications to read it."""
    if encoding == "percent":
        return unquote(wire.decode("ascii"), errors="strict")
    if encoding == "rfc8187" and wire.startswith(b"UTF-8''"):
        return unquote(wire.decode("ascii").removeprefix("UTF-8''"), errors="strict")
    return wire.decode()


_ANY = st.text(st.characters() | st.sampled_from("%'\"{},;|:\r\n\0\u2028Jö "), max_size=30)


@examples(200)
@given(
    _ANY,
    st.lists(_ANY, max_size=3),
    st.lists(_ANY, max_size=2),
    st.sampled_from([*ENCODINGS]),
    st.sampled_from([*PROFILES]),
)
@example("a\r\nX-Admin: yes", [], [], "utf-8", "passproxy")
@example("\ud800", [], [], "percent", "none")
def test_whatever_somebody_is_called_no_line_is_added(value, groups, roles, encoding, profile):
    """Each line is one that the profile or the configuration has, with one value that comes back from it."""
    headers = IdentityHeaders(profile, {"X-Further": "<{name}>"}, encoding=encoding)
    identity = somebody(tuple(groups), name=value, surname=value)
    try:
        lines = headers.lines(identity, 17, roles)
    except IdentityUnsafe:
        return
    assert not re.search(rb"[\x00-\x08\x0a-\x1f\x7f]", lines.replace(b"\r\n", b""))
    assert encoding == "utf-8" or lines.isascii()
    rows = [line.split(b": ", 1) for line in lines.split(b"\r\n")[:-1]]
    names = [name.decode() for name, _ in rows]
    assert len(set(names)) == len(names)
    assert set(names) <= {*PROFILES[profile].fields, "X-Further"}
    by_name = {name.decode(): decoded(encoding, wire) for name, wire in rows}
    assert by_name["X-Further"] == f"<{value}>"
    for name, placeholder in PROFILES[profile].fields.items():
        if placeholder == "name" and value.strip(" "):
            assert by_name[name] == value.strip(" ")


@examples(200)
@given(st.lists(_ANY.filter(bool), max_size=5), st.sampled_from([*PROFILES]))
def test_no_group_is_read_as_two(groups, profile):
    """What an application finds in a list are groups that somebody is in, and nothing made of their parts."""
    headers = IdentityHeaders(profile, {"X-Groups": "{groups}"})
    try:
        lines = headers.lines(somebody(tuple(groups)), 17)
    except IdentityUnsafe:
        return
    value = next((line[10:] for line in lines.split(b"\r\n") if line.startswith(b"X-Groups: ")), b"").decode()
    found = value.split(headers.separator) if value else []
    if profile == "vouch":
        found = next(csv.reader([value]), [])
    stripped = {group.strip(" ") for group in groups}
    assert {each.strip(" ") for each in found} <= stripped | {""}


def test_a_list_that_was_made_for_another_separator_gains_no_member():
    """A session from before headers.list_separator was changed may have groups that it would split."""
    alice = somebody(("staff", "x|admins", 'y"'))
    assert said("{groups}", alice, separator="|") == b'staff|y"'
    assert b'Claims-Groups: "staff","x|admins"\r\n' in IdentityHeaders("vouch").lines(alice, 17)


def test_the_longest_lines_are_no_longer_than_was_computed():
    for profile in PROFILES:
        headers = IdentityHeaders(profile, {"X-Two": "<{user}|{groups}>", "X-None": "constant"})
        long = "x" * VALUE_LIMIT_CHARACTERS
        attributes = {name: long for name in PLACEHOLDERS if name not in _NOT_ATTRIBUTES}
        identity = Identity("i", long, {"user": long, **attributes}, ("staff", "ops"), NOW)
        lists = {"groups": headers.joined_length(("staff", "ops")), "roles": headers.joined_length(("r",))}
        longest = headers.longest(VALUE_LIMIT_CHARACTERS, {**lists, "session_expires": 2})
        assert longest == len(headers.lines(identity, 17, ("r",)))


# --- credentials


def credentials(line: bytes) -> str:
    assert line.startswith(b"Authorization: Basic ")
    assert line.endswith(b"\r\n")
    return base64.b64decode(line.removeprefix(b"Authorization: Basic ").strip(), validate=True).decode()


def with_basic_auth(username: str) -> IdentityHeaders:
    return IdentityHeaders("none", basic_auth=BasicAuth(template(username), "pässword:x"))


def test_hdr_16_one_account_for_all_is_sent_for_nobody_in_particular_too():
    headers = with_basic_auth("gateway")
    assert credentials(headers.without_session) == "gateway:pässword:x"
    assert headers.lines(somebody(), 17) == headers.without_session
    assert headers.names == ("Authorization",)


def test_hdr_16_an_account_of_ones_own_is_sent_for_somebody_alone():
    headers = with_basic_auth("{user}")
    assert headers.without_session == b""
    assert credentials(headers.lines(somebody(), 17)) == "alice:pässword:x"


def test_hdr_16_a_user_name_is_sent_whole_or_not_at_all():
    assert with_basic_auth("{user}@{company}").lines(somebody(), 17) == b""


def test_hdr_16_a_user_name_with_a_colon_is_refused():
    with pytest.raises(IdentityUnsafe) as refusal:
        with_basic_auth("{subject}").lines(somebody(subject="urn:alice"), 17)
    assert "alice" not in refusal.value.detail


def test_a_password_is_not_shown():
    assert "pässword" not in repr(BasicAuth(template("u"), "pässword"))
