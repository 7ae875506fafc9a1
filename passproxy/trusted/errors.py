"""
Why a request is not believed, each condition once.

The class is the public face: a stable code, an HTTP status and a sentence. The
instance has `detail`, which goes to the log and nowhere else, and never holds
an assertion.

    TrustError
    ├── SettingsInvalid        the configuration cannot be used: the application does not start
    ├── AssertionRefused       401
    │   ├── AssertionMissing, AssertionAmbiguous, AssertionMalformed
    │   ├── AlgorithmRefused, TypeRefused
    │   ├── KeyUnknown, SignatureWrong
    │   ├── IssuerWrong, AudienceWrong
    │   ├── AssertionExpired, AssertionEarly, LifetimeTooLong
    │   └── ClaimWrong
    ├── KeysUnavailable        503: there is nothing to verify with
    ├── FetchFailed            a document could not be read
    └── EnrolmentRefused       what a proxy says about itself does not hold
"""

from __future__ import annotations

from typing import ClassVar


class TrustError(Exception):
    """Base of all."""

    code: ClassVar[str] = "TP-INTERNAL"
    status: ClassVar[int] = 500
    sentence: ClassVar[str] = "The identity of this request could not be verified."

    def __init__(self, detail: str = "") -> None:
        super().__init__(detail)
        self.detail = detail


class SettingsInvalid(TrustError):
    """Every problem of the configuration at once; each is a complete line that names its variable."""

    code = "TP-SETTINGS"

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class AssertionRefused(TrustError):
    """The request goes no further."""

    code = "TP-REFUSED"
    status = 401


class AssertionMissing(AssertionRefused):
    code = "TP-MISSING"
    sentence = "This application answers only requests that come through its sign-in proxy."


class AssertionAmbiguous(AssertionRefused):
    """More than one, or one under a second spelling of the header's name."""

    code = "TP-AMBIGUOUS"


class AssertionMalformed(AssertionRefused):
    """Not a JSON Web Token in compact form (RFC 7515, 7.1), or one with extensions."""

    code = "TP-MALFORMED"


class AlgorithmRefused(AssertionRefused):
    code = "TP-ALGORITHM"


class TypeRefused(AssertionRefused):
    """A token of the same issuer that was made for something else (RFC 8725, 3.11)."""

    code = "TP-TYPE"


class KeyUnknown(AssertionRefused):
    code = "TP-KEY"


class SignatureWrong(AssertionRefused):
    code = "TP-SIGNATURE"


class IssuerWrong(AssertionRefused):
    code = "TP-ISSUER"


class AudienceWrong(AssertionRefused):
    code = "TP-AUDIENCE"


class AssertionExpired(AssertionRefused):
    code = "TP-EXPIRED"


class AssertionEarly(AssertionRefused):
    """Valid from a time that has not come: compare the clocks."""

    code = "TP-EARLY"


class LifetimeTooLong(AssertionRefused):
    code = "TP-LIFETIME"


class ClaimWrong(AssertionRefused):
    """A claim that must be there is not, or has a wrong type."""

    code = "TP-CLAIM"


class KeysUnavailable(TrustError):
    code = "TP-KEYS"
    status = 503
    sentence = "The keys of the sign-in proxy cannot be read right now. Try again in a minute."


class FetchFailed(TrustError):
    """A document could not be read within its bounds, or is not what it should be."""

    code = "TP-FETCH"
    status = 503


class EnrolmentRefused(TrustError):
    """What a proxy publishes about itself contradicts itself, its address, or what was enrolled."""

    code = "TP-ENROLMENT"
