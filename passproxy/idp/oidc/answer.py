"""
What the browser brings back from the provider: a code, or why there is none.

Judges nothing but the form of the answer and who it claims to be from. Whether
the code is worth anything, the token endpoint says.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from passproxy.core.errors import CallbackMalformed, IdpUnavailable, LoginError
from passproxy.idp.oidc.errors import AccessDenied, AnswerAmbiguous, IssuerRefused, ProviderRefused, quoted

# RFC 6749 A.11: visible ASCII and space. Codes of Entra ID have some 1500 characters.
_CODE = re.compile(r"[ -~]{1,8192}\Z")

# RFC 6749 4.1.2.1, OpenID Connect Core 3.1.2.6: it went wrong at the provider, for now.
_PASSING_ERRORS = frozenset({"server_error", "temporarily_unavailable"})


def code_from(fields: Mapping[str, str], issuer: str) -> str:
    """
    The code in the answer, when there is one and nothing speaks against it.

    Tokens in the front channel are not looked at: they come past the browser,
    and a login needs a code (RFC 9700 2.1.2).
    """
    # RFC 9207 2.4: an answer of another provider, whether good or bad, is not ours.
    if fields.get("iss", issuer) != issuer:
        raise IssuerRefused(f"the answer is from {quoted(fields['iss'])}, expected {quoted(issuer)}")
    if "error" in fields:
        raise _refusal(fields)
    code = fields.get("code", "")
    if not _CODE.match(code):
        raise CallbackMalformed("neither a code nor an error, or a code with impossible characters")
    return code


def _refusal(fields: Mapping[str, str]) -> LoginError:
    error = fields["error"]
    detail = f"the provider answers {quoted(error)}: {quoted(fields.get('error_description'))}"
    if "code" in fields:
        return AnswerAmbiguous(f"a code, and {detail}")
    if error == "access_denied":
        return AccessDenied(detail)
    return IdpUnavailable(detail) if error in _PASSING_ERRORS else ProviderRefused(detail)
