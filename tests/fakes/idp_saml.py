"""
A SAML identity provider that says whatever it is told to.

It signs with real keys, at the real time (python3-saml reads the system's
clock), and lets a test change the tree before and after signing. `Edit`
functions below do one thing each to a tree; their names say what.
"""

from __future__ import annotations

import base64
import secrets
import time
import zlib
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

import xmlsec
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from lxml import etree

from passproxy.demo.assertions import (
    DS,
    METADATA,
    SAML,
    SAMLP,
    UNSPECIFIED,
    KeyPair,
    ResponseFacts,
    encrypt,
    instant,
    key_pair,
    metadata,
    response,
    serialized,
    sign,
)
from passproxy.idp.base import Callback
from passproxy.idp.saml.keys import FILE_NAME
from passproxy.idp.saml.messages import Expectations
from passproxy.idp.saml.redirect import RSA_SHA256

__all__ = ["UNSPECIFIED", "instant", "replace"]

TRANSIENT = "urn:oasis:names:tc:SAML:2.0:nameid-format:transient"
IDP_ENTITY_ID = "https://idp.example.com/meta"
SSO_URL = "https://idp.example.com/sso?tenant=1"
SP_ENTITY_ID = "https://app.example.com/.passproxy/saml/metadata"
ACS_URL = "https://app.example.com/.passproxy/saml/acs"
SLO_URL = "https://app.example.com/.passproxy/saml/slo"
IDP_SLO_URL = "https://idp.example.com/slo"
REQUEST_ID = "_req1"
USER, VICTIM = "user@example.com", "admin@example.com"

Element = etree._Element
Edit = Callable[[Element], None]


def keys(name: str = "idp") -> KeyPair:
    """One key pair for each name in the life of the test process: making them is slow."""
    return _made(name)


@cache
def _made(name: str) -> KeyPair:
    return key_pair(name, time.time())


def der(pair: KeyPair) -> bytes:
    return x509.load_pem_x509_certificate(pair.certificate_pem).public_bytes(Encoding.DER)


def expectations(**changes: Any) -> Expectations:
    """What a login in progress expects, now."""
    expected = Expectations(IDP_ENTITY_ID, (der(keys()),), SP_ENTITY_ID, ACS_URL, REQUEST_ID, time.time(), 60.0)
    return replace(expected, **changes)


def facts(**changes: Any) -> ResponseFacts:
    """A good response to `REQUEST_ID`."""
    good = ResponseFacts(
        issuer=IDP_ENTITY_ID,
        audience=SP_ENTITY_ID,
        recipient=ACS_URL,
        destination=ACS_URL,
        in_response_to=REQUEST_ID,
        name_id=USER,
        issued_at=time.time(),
        attributes={"mail": (USER,), "groups": ("staff", "ops")},
    )
    return replace(good, **changes)


def answer(
    said: ResponseFacts | None = None,
    *,
    signed: str = "assertion",
    pair: KeyPair | None = None,
    before: Edit | None = None,
    after: Edit | None = None,
    encrypt: Edit | None = None,
    **signing: Any,
) -> bytes:
    """
    The bytes of a response.

    `signed` is "assertion", "response", "both" or "neither"; `before` edits the
    tree before it is signed (so the edit is genuine), `after` once it was.
    `encrypt` comes between the two signatures, as SAML Core 6.2 orders them.
    """
    root = response(said or facts())
    if before:
        before(root)
    pair = pair or keys()
    if signed in ("assertion", "both"):
        sign(assertion_of(root), pair.key_pem, pair.certificate_pem, **signing)
    if encrypt:
        # Parsed again, because lxml does not find all that xmlsec made.
        root = etree.fromstring(serialized(root))
        encrypt(root)
        root = etree.fromstring(serialized(root))
    if signed in ("response", "both"):
        sign(root, pair.key_pem, pair.certificate_pem, **signing)
    if after:
        # Parsed again, because lxml does not find all that xmlsec made.
        root = etree.fromstring(serialized(root))
        after(root)
    return serialized(root)


def encrypted_for(name: str = "sp", **how: Any) -> Edit:
    """An edit that encrypts the assertion for the key pair of this name."""

    def edit(root: Element) -> None:
        encrypt(root, keys(name).certificate_pem, **how)

    return edit


@cache
def private_key(pem: bytes) -> Any:
    """Of a PEM text. Examining it, which takes longer than most tests, is done once."""
    return load_pem_private_key(pem, None)


def own_key(name: str = "sp") -> bytes:
    """The private key of this name as PassProxy holds its own: PKCS #8, DER."""
    private = private_key(keys(name).key_pem)
    return private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def place_own_key(folder: Path, name: str = "sp") -> None:
    """PassProxy's own key where it would make one at its first start: making one is slow."""
    (folder / FILE_NAME).write_bytes(keys(name).key_pem + keys(name).certificate_pem)


def logout(
    kind: str = "LogoutRequest",
    *,
    destination: str = SLO_URL,
    issuer: str = IDP_ENTITY_ID,
    content: str | None = None,
    edit: Edit | None = None,
    **attributes: str,
) -> bytes:
    """An unsigned logout message; `content` is what stands behind the Issuer."""
    if content is None:
        content = f"<saml:NameID>{USER}</saml:NameID>" if kind == "LogoutRequest" else status_of("Success")
    more = "".join(f' {name}="{value}"' for name, value in attributes.items())
    now = instant(time.time())
    root = etree.fromstring(
        f'<samlp:{kind} xmlns:samlp="{SAMLP}" xmlns:saml="{SAML}" ID="_{secrets.token_hex(8)}" Version="2.0"'
        f' IssueInstant="{now}" Destination="{destination}"{more}>'
        f"<saml:Issuer>{issuer}</saml:Issuer>{content}</samlp:{kind}>"
    )
    if edit:
        edit(root)
    return serialized(root)


def status_of(*codes: str) -> str:
    inner = ""
    for code in reversed(codes):
        inner = f'<samlp:StatusCode Value="urn:oasis:names:tc:SAML:2.0:status:{code}">{inner}</samlp:StatusCode>'
    return f"<samlp:Status>{inner}</samlp:Status>"


def by_post(document: bytes, pair: KeyPair | None = None, **signing: Any) -> bytes:
    """A logout message with its root signed."""
    pair = pair or keys()
    root = etree.fromstring(document)
    sign(root, pair.key_pem, pair.certificate_pem, **signing)
    return serialized(root)


def deflated(document: bytes) -> str:
    compressor = zlib.compressobj(wbits=-15)
    return base64.b64encode(compressor.compress(document) + compressor.flush()).decode()


def by_redirect(
    document: bytes,
    pair: KeyPair | None = None,
    *,
    relay_state: str | None = "state-of-the-idp",
    algorithm: str = RSA_SHA256,
    name: str | None = None,
    quoted: Callable[[str], str] = lambda text: quote(text, safe=""),
) -> bytes:
    """A query with a logout message, signed as it stands."""
    name = name or ("SAMLRequest" if b"LogoutRequest" in document[:400] else "SAMLResponse")
    query = f"{name}={quoted(deflated(document))}"
    if relay_state is not None:
        query += f"&RelayState={quoted(relay_state)}"
    query += f"&SigAlg={quoted(algorithm)}"
    private = private_key((pair or keys()).key_pem)
    digest = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}.get(algorithm[-3:], hashes.SHA1())
    signature = private.sign(query.encode(), padding.PKCS1v15(), digest)
    return f"{query}&Signature={quoted(base64.b64encode(signature).decode())}".encode()


def callback(document: bytes, login_id: str = "login-1") -> Callback:
    return Callback({"SAMLResponse": base64.b64encode(document).decode(), "RelayState": login_id})


def logout_service(binding: str = "HTTP-Redirect", url: str = IDP_SLO_URL, answers: str | None = None) -> Edit:
    """An edit of metadata: the provider offers single logout."""

    def edit(root: Element) -> None:
        role = next(root.iter(f"{{{METADATA}}}IDPSSODescriptor"))
        service = etree.Element(f"{{{METADATA}}}SingleLogoutService")
        service.set("Binding", f"urn:oasis:names:tc:SAML:2.0:bindings:{binding}")
        service.set("Location", url)
        if answers:
            service.set("ResponseLocation", answers)
        role.insert(len(role.findall(f"{{{METADATA}}}KeyDescriptor")), service)

    return edit


def idp_metadata(
    *pairs: KeyPair, entity_id: str = IDP_ENTITY_ID, sso_url: str = SSO_URL, edit: Edit | None = None
) -> bytes:
    root = metadata(entity_id, sso_url, [pair.certificate_pem for pair in pairs or (keys(),)])
    if edit:
        edit(root)
    return serialized(root)


def read_request(redirect: str) -> Element:
    """The AuthnRequest that a redirect carries."""
    [encoded] = parse_qs(urlsplit(redirect).query)["SAMLRequest"]
    return etree.fromstring(zlib.decompress(base64.b64decode(encoded), -15))


def read_message(encoded: str) -> Element:
    """A message of ours from a query."""
    return etree.fromstring(zlib.decompress(base64.b64decode(encoded), -15))


def check_query(raw: str, pair: KeyPair) -> None:
    """That this pair signed the raw query; raises otherwise."""
    signed, _, signature = raw.partition("&Signature=")
    public = x509.load_pem_x509_certificate(pair.certificate_pem).public_key()
    public.verify(base64.b64decode(unquote(signature)), signed.encode(), padding.PKCS1v15(), hashes.SHA256())


def check_signed(document: bytes, pair: KeyPair) -> None:
    """That this pair signed the root, as any provider would check it; raises otherwise."""
    root = etree.fromstring(document)
    xmlsec.tree.add_ids(root, ["ID"])
    context = xmlsec.SignatureContext()
    context.key = xmlsec.Key.from_memory(pair.certificate_pem, xmlsec.constants.KeyDataFormatCertPem)
    signature = root.find(f"{{{DS}}}Signature")
    assert signature is not None
    assert root.index(signature) == 1
    context.verify(signature)


def find(root: Element, path: str) -> Element:
    """The first element at a path of prefixed names, such as `.//saml:NameID`."""
    found = root.find(path, {"saml": SAML, "samlp": SAMLP, "ds": DS})
    assert found is not None, path
    return found


def assertion_of(root: Element) -> Element:
    return find(root, ".//saml:Assertion")


def setting(path: str, name: str, value: str | None) -> Edit:
    """An edit that sets an attribute, or removes it for None."""

    def edit(root: Element) -> None:
        element = root if path == "." else find(root, path)
        if value is None:
            element.attrib.pop(name, "")
        else:
            element.set(name, value)

    return edit


def text(path: str, value: str) -> Edit:
    def edit(root: Element) -> None:
        find(root, path).text = value

    return edit


def without(path: str) -> Edit:
    def edit(root: Element) -> None:
        element = find(root, path)
        parent = element.getparent()
        assert parent is not None
        parent.remove(element)

    return edit


def all_of(*edits: Edit) -> Edit:
    def edit(root: Element) -> None:
        for one in edits:
            one(root)

    return edit


def xml(fragment: str) -> Element:
    """An element from text in which the usual prefixes are declared."""
    declarations = f'xmlns:saml="{SAML}" xmlns:samlp="{SAMLP}" xmlns:ds="{DS}"'
    wrapper = etree.fromstring(f"<w {declarations}>{fragment}</w>")
    return wrapper[0]


def replaced(document: bytes, old: str, new: str) -> bytes:
    """A change of the bytes themselves, which must be there to be changed."""
    assert old.encode() in document, old
    return document.replace(old.encode(), new.encode())
