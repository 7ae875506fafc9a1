"""
What an assertion says, brought to the real callback: attack catalogue 2.2, and the two rows of 2.13 on its texts.

Every document is signed by the right key for a login that really began.
"""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from passproxy.core.identity import ALIASES
from passproxy.web.log import FIELD_LIMIT_CHARACTERS, JsonFormatter, TextFormatter
from tests.attacks.acs import ACS, FORM, AcsSite, Begun, acs_site, claims
from tests.fakes import idp_saml as idp
from tests.fakes.gateway import get, request
from tests.fakes.idp_saml import Edit, all_of, text, without
from tests.fakes.log import Log

pytestmark = pytest.mark.asyncio(loop_scope="module")

EVIL = "evil@example.com"

#: Here names of other attributes stand in for ours, so it is not one name in two spellings.
MIXED = {"name"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[AcsSite]:
    async with acs_site(tmp_path_factory.mktemp("acs")) as running:
        yield running


@pytest.fixture(autouse=True)
def as_new(site: AcsSite) -> None:
    site.upstream.forget()


def is_full(name: str) -> bool:
    return name.startswith(("http://", "urn:oid:"))


@pytest.mark.parametrize("ours", sorted(ALIASES.keys() - MIXED))
async def test_sem_28_names_in_full_come_before_short_ones(site: AcsSite, ours: str) -> None:
    """Whoever may edit the short ones gains nothing by sending all of them, and first."""
    short = {name: (EVIL,) for name in ALIASES[ours] if not is_full(name)}
    for full in filter(is_full, ALIASES[ours]):
        session = await site.signed_in(attributes={**short, full: (idp.USER,)})
        said = claims(session)
        assert (said["groups"] == [idp.USER]) if ours == "groups" else (said["attributes"][ours] == idp.USER)


async def test_sem_28_the_order_holds_whatever_the_order_of_the_document_and_a_friendly_name_is_none(
    site: AcsSite,
) -> None:
    full = "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/emailaddress"
    for attributes in ({"email": (EVIL,), full: (idp.USER,)}, {full: (idp.USER,), "email": (EVIL,)}):
        seen = await site.seen(await site.signed_in(attributes=attributes))
        assert seen.one(b"x-passproxy-email") == idp.USER.encode()
    friendly = idp.setting(".//saml:Attribute", "FriendlyName", "mail")
    seen = await site.seen(await site.signed_in(attributes={"urn:x:notes": (EVIL,)}, edit=friendly))
    assert seen.all(b"x-passproxy-email") == []
    assert EVIL.encode() not in seen.head


@pytest.mark.parametrize("separator", [",", ";", "|"], ids=["SEM-29 comma", "SEM-29 semicolon", "SEM-29 bar"])
async def test_sem_29_no_group_reads_as_two(tmp_path: Path, separator: str, caplog: pytest.LogCaptureFixture) -> None:
    hostile = ("a,admins", "x;admins", "y|admins", "admins ", " admins", "", f"{separator}admins", f"admins{separator}")
    async with acs_site(tmp_path, headers={"list_separator": separator}) as site:
        seen = await site.seen(await site.signed_in(attributes={"groups": ("staff", *hostile, "ops")}))
    found = seen.one(b"x-passproxy-groups").decode().split(separator)
    left = [group for group in hostile[:3] if separator not in group]
    assert found == ["staff", *left, "ops"]
    assert "admins" not in found
    assert any("identity.groups_dropped" in record.getMessage() for record in caplog.records)


async def test_sem_33_a_login_as_somebody_else_leaves_nothing_of_the_first(site: AcsSite) -> None:
    first = await site.signed_in(
        name_id="alice@example.com",
        attributes={"mail": ("alice@example.com",), "displayName": ("Alice",), "groups": ("board",)},
    )
    second = await site.signed_in(first, name_id="bob@example.com", attributes={"groups": ("staff",)})
    seen = await site.seen(second)
    assert seen.one(b"x-passproxy-user") == b"bob@example.com"
    assert seen.one(b"x-passproxy-groups") == b"staff"
    assert b"alice" not in seen.head.lower()
    assert b"board" not in seen.head
    assert claims(first)["sid"] != claims(second)["sid"]
    assert claims(second)["sub"] == "bob@example.com"


def as_query(begun: Begun, encoded: str) -> bytes:
    quoted = encoded.replace("+", "%2B").replace("/", "%2F").replace("=", "%3D")
    return get(f"{ACS}?SAMLResponse={quoted}&RelayState={begun.relay_state}", cookie=begun.cookie)


def as_body(content_type: str, body: Callable[[Begun, str], str]) -> Callable[[Begun, str], bytes]:
    def build(begun: Begun, encoded: str) -> bytes:
        content = body(begun, encoded).encode()
        return request("POST", ACS, f"Content-Type: {content_type}", cookie=begun.cookie, body=content)

    return build


def fields(names: str) -> Callable[[Begun, str], str]:
    def body(begun: Begun, encoded: str) -> str:
        quoted = encoded.replace("+", "%2B").replace("/", "%2F").replace("=", "%3D")
        return names.replace("{a}", quoted).replace("{r}", begun.relay_state)

    return body


def parts(begun: Begun, encoded: str) -> str:
    part = '--b\r\nContent-Disposition: form-data; name="{}"{}\r\n\r\n{}\r\n'
    file = part.format("SAMLResponse", '; filename="a.xml"', encoded)
    return file + part.format("RelayState", "", begun.relay_state) + "--b--\r\n"


GOOD, URL_FORM = "SAMLResponse={a}&RelayState={r}", "application/x-www-form-urlencoded"

WRONG_BINDINGS: list[tuple[str, Callable[[Begun, str], bytes], int]] = [
    ("SEM-35 in a query", as_query, 405),
    ("SEM-35 as the part of a multipart body", as_body("multipart/form-data; boundary=b", parts), 400),
    ("SEM-35 as plain text", as_body("text/plain", fields(GOOD)), 400),
    ("SEM-35 as JSON", as_body("application/json", lambda begun, encoded: f'{{"SAMLResponse":"{encoded}"}}'), 400),
    ("SEM-35 two answers", as_body(URL_FORM, fields(GOOD + "&SAMLResponse={a}")), 400),
    ("SEM-35 a second answer in another spelling", as_body(URL_FORM, fields(GOOD + "&SAML%52esponse={a}")), 400),
    ("SEM-35 as a list", as_body(URL_FORM, fields("SAMLResponse[]={a}&RelayState={r}")), 400),
    ("SEM-35 two relay states", as_body(URL_FORM, fields(GOOD + "&RelayState=x")), 400),
    ("SEM-35 an artifact", as_body(URL_FORM, fields("SAMLart=AAQAAMh48&RelayState={r}")), 400),
    ("SEM-35 a request in its place", as_body(URL_FORM, fields("SAMLRequest={a}&RelayState={r}")), 400),
]  # fmt: skip


@pytest.mark.parametrize(
    ("build", "status"), [row[1:] for row in WRONG_BINDINGS], ids=[row[0] for row in WRONG_BINDINGS]
)
async def test_an_answer_by_another_way_is_none(
    site: AcsSite, log: Log, build: Callable[[Begun, str], bytes], status: int
) -> None:
    begun = await site.begun()
    encoded = base64.b64encode(idp.answer(begun.facts())).decode()
    await site.refuses(build(begun, encoded), log, status)


async def test_sem_35_the_very_same_answer_by_the_right_way_is_one(site: AcsSite) -> None:
    begun = await site.begun()
    encoded = base64.b64encode(idp.answer(begun.facts())).decode()
    answer = await site.asked(as_body(URL_FORM, fields(GOOD))(begun, encoded))
    assert answer.status == 303
    assert FORM.endswith(URL_FORM)


@pytest.mark.parametrize(
    "edit",
    [
        pytest.param(without(".//saml:NameID"), id="SEM-37 no NameID"),
        pytest.param(text(".//saml:NameID", ""), id="SEM-37 an empty NameID"),
        pytest.param(text(".//saml:NameID", " \n\t "), id="SEM-37 a NameID of white space"),
        pytest.param(
            all_of(without(".//saml:NameID"), text(".//saml:AttributeValue", "  ")),
            id="SEM-37 white space in the attribute too",
        ),
    ],
)
async def test_somebody_without_a_name_is_nobody(site: AcsSite, log: Log, edit: Edit) -> None:
    begun = await site.begun()
    document = idp.answer(begun.facts(attributes={"urn:oid:0.9.2342.19200300.100.1.1": (" ",)}), before=edit)
    answer = await site.refuses(site.posted(begun, document), log, 403)
    assert b"did not say who you are" in answer.body
    assert b"Administrators:" in answer.body


MARKUP = "&lt;img src=x onerror=alert(1)&gt;"


def with_status_message(root: idp.Element) -> None:
    outer = idp.find(root, "samlp:Status")
    idp.find(root, "samlp:Status/samlp:StatusCode").set("Value", "urn:oasis:names:tc:SAML:2.0:status:Responder")
    outer.append(idp.xml(f"<samlp:StatusMessage>{MARKUP}</samlp:StatusMessage>"))
    outer.append(idp.xml(f"<samlp:StatusDetail><x>{MARKUP}</x></samlp:StatusDetail>"))


@pytest.mark.parametrize(
    "edit",
    [
        pytest.param(with_status_message, id="XSS-02 status message"),
        pytest.param(text(".//saml:Assertion/saml:Issuer", "https://<script>alert(1)</script>"), id="XSS-02 issuer"),
        pytest.param(text(".//saml:Audience", "<svg onload=alert(1)>"), id="XSS-02 audience"),
        pytest.param(text(".//saml:NameID", "<svg onload=alert(1)>\u2028"), id="XSS-02 name"),
        pytest.param(text(".//saml:AttributeValue", "<svg onload=alert(1)>\u2028"), id="XSS-02 attribute"),
        pytest.param(idp.setting(".", "Destination", "javascript:alert(1)"), id="XSS-02 destination"),
    ],
)
async def test_a_page_shows_nothing_of_an_answer(site: AcsSite, log: Log, edit: Edit) -> None:
    begun = await site.begun()
    document = idp.answer(begun.facts(), before=edit)
    answer = await site.refuses(site.posted(begun, document), log, 403)
    shown = answer.body.partition(b"<main>")[2]
    assert shown
    for piece in (b"alert", b"onerror", b"<svg", b"<script", b"<img", b"javascript:"):
        assert piece not in shown


@pytest.mark.parametrize(
    "value",
    ["a\n{}", "a\r\n{}", "a\x85{}", "a\u2028{}", "\u202eadmin", "a\u200bb", "x" * 100_000, '"} {"', "a user=admin"],
    ids=lambda value: f"LOG-02 {value[:9]!a}",
)
@pytest.mark.parametrize("where", ["saml:NameID", "saml:AttributeValue", "saml:Assertion/saml:Issuer"])
async def test_an_identity_writes_one_line(
    site: AcsSite, caplog: pytest.LogCaptureFixture, log: Log, value: str, where: str
) -> None:
    """Accepted or refused: whatever was logged of it is one printable line, and short."""
    begun = await site.begun()
    log.forget()
    document = idp.answer(begun.facts(), before=text(f".//{where}", value.replace("{}", '{"event":"auth.login"}')))
    answer = await site.asked(site.posted(begun, document))
    assert answer.status in (303, 403)
    records = [record for record in caplog.records if record.name.startswith("passproxy")]
    assert [record.getMessage() for record in records if record.name == "passproxy"] in (
        ["auth.login"],
        ["auth.reject"],
    )
    for line in [form.format(record) for record in records for form in (JsonFormatter(), TextFormatter())]:
        assert line.isprintable(), line
        assert len(line) < 8 * FIELD_LIMIT_CHARACTERS
