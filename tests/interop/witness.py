"""
A browser that remembers what it sent, and what was in there.

Whether a login went the way that it was meant to go shows in what the browser
carried from one side to the other: the provider's answer, our request.
"""

from __future__ import annotations

import base64
import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from lxml import etree

from tests.fakes.browser import Browser, Front, Page
from tests.interop.provider import Stand

_SAMLP = "{urn:oasis:names:tc:SAML:2.0:protocol}"
_SAML = "{urn:oasis:names:tc:SAML:2.0:assertion}"
_SIGNATURE = "{http://www.w3.org/2000/09/xmldsig#}Signature"


@dataclass(frozen=True, slots=True)
class Sent:
    """One request, with the fields of its query and those of its form."""

    method: str
    url: str
    query: Mapping[str, str]
    form: Mapping[str, str]


class Witness(Browser):
    """`Browser`, with its requests in `sent`, oldest first."""

    def __init__(self, fronts: Mapping[str, Front] | None = None) -> None:
        super().__init__(fronts)
        self.sent: list[Sent] = []

    async def _answer(self, request: Any, relation: str | None) -> Page:
        form = (request.body or b"").decode("utf-8", "replace")
        self.sent.append(Sent(request.method, request.url, _fields(urlsplit(request.url).query), _fields(form)))
        return await super()._answer(request, relation)

    def last(self, url: str) -> Sent:
        """The newest request for this address, whatever its query."""
        found = next((sent for sent in reversed(self.sent) if sent.url.partition("?")[0] == url), None)
        assert found is not None, f"the browser was never at {url}"
        return found

    def last_with(self, name: str) -> Sent:
        """The newest request with a field of this name in its query or form."""
        found = next((sent for sent in reversed(self.sent) if name in sent.query or name in sent.form), None)
        assert found is not None, f"the browser never carried {name}"
        return found

    def take_cookies_of(self, other: Witness) -> Self:
        """What a thief, or a second window, has: the same cookies from now on, each changing for itself."""
        self.cookies = copy.deepcopy(other.cookies)
        return self


@dataclass(frozen=True, slots=True)
class SamlAnswer:
    """What stands in the open in a SAML response."""

    is_document_signed: bool
    is_assertion_signed: bool
    is_assertion_encrypted: bool


def saml_answer(browser: Witness, stand: Stand) -> SamlAnswer:
    """The last answer of the provider that the browser brought."""
    encoded = browser.last(stand.url("saml/acs")).form["SAMLResponse"]
    root = etree.fromstring(base64.b64decode(encoded), etree.XMLParser(resolve_entities=False, no_network=True))
    assert root.tag == f"{_SAMLP}Response", root.tag
    plain, encrypted = root.findall(f"{_SAML}Assertion"), root.findall(f"{_SAML}EncryptedAssertion")
    assert len(plain) + len(encrypted) == 1, f"{len(plain)} assertions, and {len(encrypted)} encrypted ones"
    return SamlAnswer(
        is_document_signed=root.find(_SIGNATURE) is not None,
        is_assertion_signed=any(one.find(_SIGNATURE) is not None for one in plain),
        is_assertion_encrypted=bool(encrypted),
    )


def witness_for(stand: Stand) -> Witness:
    """A browser that reaches the origin as visitors do: over TLS there is a web server in between."""
    if stand.origin.startswith("http:"):
        return Witness()
    added = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "192.0.2.7"}
    return Witness({stand.origin: Front(f"http://{stand.listen}", added)})


def _fields(encoded: str) -> dict[str, str]:
    return {name: values[-1] for name, values in parse_qs(encoded, keep_blank_values=True).items()}
