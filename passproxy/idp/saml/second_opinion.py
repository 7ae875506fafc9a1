"""
What python3-saml says about a response, in strict mode, as the last judge of verify.py.

By then structure, signatures and every condition have been found right, so it
never meets a signature whose transforms or algorithms are not known; what it
adds is the schema, and a second reading by other eyes. It reads the system's
clock. What it lets pass is listed with each check of verify.py.
"""

from __future__ import annotations

import base64
from typing import Any
from urllib.parse import urlsplit

from onelogin.saml2.response import OneLogin_Saml2_Response
from onelogin.saml2.settings import OneLogin_Saml2_Settings
from onelogin.saml2.xml_utils import OneLogin_Saml2_XML

from passproxy.idp.saml.errors import StructureRefused
from passproxy.idp.saml.messages import Expectations

_POST = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST"
_REDIRECT = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect"


def ask_python3_saml(document: bytes, expected: Expectations) -> None:
    """
    Raises:
        StructureRefused: it does not accept the response.
    """
    acs = urlsplit(expected.acs_url)
    request = {"https": "on" if acs.scheme == "https" else "off", "http_host": acs.netloc, "script_name": acs.path}
    try:
        answer = OneLogin_Saml2_Response(_settings(expected), base64.b64encode(document))
        is_valid = answer.is_valid(request, None if expected.is_unsolicited else expected.request_id)
    except Exception as error:  # what the constructor raises is not documented, and has changed
        raise StructureRefused(f"python3-saml cannot read the response ({type(error).__name__})") from None
    if not is_valid:
        # Only the schema is left to complain about; the message would quote the document.
        raise StructureRefused("python3-saml does not accept the response, probably because of its schema")


def ask_schema(document: bytes) -> None:
    """
    Where the only signature was around what was encrypted, python3-saml finds none in what was decrypted.

    Raises:
        StructureRefused: its schema does not accept the response.
    """
    try:
        found = OneLogin_Saml2_XML.validate_xml(document, "saml-schema-protocol-2.0.xsd", False)
    except Exception as error:  # as above
        raise StructureRefused(f"python3-saml cannot read the response ({type(error).__name__})") from None
    if isinstance(found, str):
        raise StructureRefused("the decrypted response is not valid by the schema")


def _settings(expected: Expectations) -> OneLogin_Saml2_Settings:
    """Everything constant or configured: nothing of a request, no fingerprints, no single certificate."""
    certificates = [base64.b64encode(der).decode() for der in expected.certificates]
    settings: dict[str, Any] = {
        "strict": True,
        "debug": False,
        "sp": {
            "entityId": expected.sp_entity_id,
            "assertionConsumerService": {"url": expected.acs_url, "binding": _POST},
        },
        "idp": {
            "entityId": expected.idp_entity_id,
            # Not used when an answer is judged, but without one the settings are refused.
            "singleSignOnService": {"url": "https://idp.invalid/", "binding": _REDIRECT},
            "x509certMulti": {"signing": certificates},
        },
        "security": {
            "allowSingleLabelDomains": True,
            "rejectDeprecatedAlgorithm": True,
            "requestedAuthnContext": False,
            "wantAttributeStatement": False,
            "wantNameId": False,
        },
    }
    return OneLogin_Saml2_Settings(settings)
