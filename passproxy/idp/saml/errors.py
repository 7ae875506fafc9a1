"""
What a SAML answer can be refused for, each condition once.

All are below `LoginError`, so nothing above the adapter needs to know them.
The hints speak to the administrator of the identity provider in its own words,
because that is where nearly all of these are mended. The child process that
reads the XML reports a code; `refusal` turns it back into the class.
"""

from __future__ import annotations

from passproxy.core.errors import IdentityIncomplete, IdpUnavailable, LoginError, LoginReplayed


class SamlRefused(LoginError):
    """Base: the response is not one that can be accepted."""

    code = "PP-SAML"


class ResponseMalformed(SamlRefused):
    code = "PP-SAML-MALFORMED"
    status = 400
    sentence = "What arrived at the sign-in address is not a SAML response."
    hint = "Start again from the application's own address. Administrators: the identity provider must answer with the HTTP-POST binding, in UTF-8, without a document type."


class StructureRefused(SamlRefused):
    code = "PP-SAML-STRUCTURE"
    sentence = "The identity provider's answer is not built the way a SAML response has to be."
    hint = "Administrators: the response must hold exactly one Assertion, directly inside the Response, without comments, processing instructions or repeated IDs. The log says what was found."


class EncryptionRefused(SamlRefused):
    code = "PP-SAML-ENCRYPTED"
    sentence = "The identity provider encrypted its answer, which was not asked for."
    hint = "Administrators: switch assertion encryption off for this service at the identity provider (AD FS: EncryptClaims; Keycloak: Encrypt assertions). TLS protects it on its way."


class EncryptionMissing(SamlRefused):
    code = "PP-SAML-NOT-ENCRYPTED"
    sentence = "The identity provider did not encrypt its answer, which is demanded here."
    hint = "Administrators: switch assertion encryption on for this service at the identity provider, with the certificate that /.passproxy/saml/metadata shows, or set saml.want_encrypted_assertions to false."


class SignatureRefused(SamlRefused):
    code = "PP-SAML-SIGNATURE"
    sentence = "The signature of the identity provider's answer could not be confirmed."
    hint = "Administrators: let the identity provider sign the assertion (or the response). If its signing certificate was replaced, its metadata must publish the new one: check saml.metadata_url or replace saml.metadata_file. An assertion that cannot be decrypted counts as one whose signature is wrong: it must be encrypted for the certificate in /.passproxy/saml/metadata."


class AlgorithmRefused(SamlRefused):
    code = "PP-SAML-ALGORITHM"
    sentence = "The identity provider signs in a way that is no longer considered safe."
    hint = "Administrators: set the signature algorithm of this service to RSA-SHA256 at the identity provider (AD FS: Advanced, Secure hash algorithm SHA-256), with exclusive canonicalisation."


class StatusRefused(SamlRefused):
    code = "PP-SAML-STATUS"
    sentence = "The identity provider did not sign you in."
    hint = "Try again. Administrators: the log has the status code; the identity provider's own log has the reason."


class RequestDenied(StatusRefused):
    code = "PP-SAML-STATUS-DENIED"
    sentence = "The identity provider does not let you into this application."
    hint = "Ask for access. Administrators: assign the user or a group to this application at the identity provider."


class AuthenticationFailed(StatusRefused):
    code = "PP-SAML-STATUS-AUTHN"
    sentence = "The sign-in at the identity provider failed or was cancelled."
    hint = "Open the application's address again."


class RequestNotUnderstood(StatusRefused):
    code = "PP-SAML-STATUS-REQUEST"
    sentence = "The identity provider could not work with the sign-in request."
    hint = "Administrators: register the entity ID and the ACS address that /.passproxy/saml/metadata shows, and check that saml.name_id_format is one that the identity provider offers."


class IssuerRefused(SamlRefused):
    code = "PP-SAML-ISSUER"
    sentence = "The answer comes from a different identity provider than the one configured here."
    hint = "Administrators: the Issuer of the response must equal the entityID in the configured metadata, character by character (http or https, final slash). The log shows both."


class AudienceRefused(SamlRefused):
    code = "PP-SAML-AUDIENCE"
    sentence = "The answer was made for a different service."
    hint = "Administrators: the audience at the identity provider (relying party identifier, Entity ID, Audience URI) must equal saml.entity_id, by default https://<domain>/.passproxy/saml/metadata."


class RecipientRefused(SamlRefused):
    code = "PP-SAML-RECIPIENT"
    sentence = "The answer was made for a different address."
    hint = "Administrators: the ACS (Reply URL, Recipient URL) at the identity provider must be exactly https://<domain>/.passproxy/saml/acs."


class DestinationRefused(SamlRefused):
    code = "PP-SAML-DESTINATION"
    sentence = "The answer was sent to a different address than it was made for."
    hint = "Administrators: the ACS (Reply URL, Destination) at the identity provider must be exactly https://<domain>/.passproxy/saml/acs, with the same host name and port that browsers use."


class InResponseToRefused(SamlRefused):
    code = "PP-SAML-IN-RESPONSE-TO"
    title = "This sign-in was not started here"
    sentence = "The answer does not belong to the sign-in that this browser started."
    hint = "Open the application's own address instead of a tile or bookmark at the identity provider: sign-ins that the identity provider starts by itself are not accepted."


class TimeRefused(SamlRefused):
    code = "PP-SAML-TIME"
    title = "This answer is not valid now"
    sentence = "The identity provider's answer is too old, too new, or has no end."
    hint = "Open the application's address again. Administrators: if it keeps happening, the clocks differ: check time synchronisation on both sides; saml.clock_skew allows up to 5m. The log has the times."


class ConditionsRefused(SamlRefused):
    code = "PP-SAML-CONDITIONS"
    sentence = "The answer makes a condition that is not understood here."
    hint = "Administrators: remove the custom Condition from the assertions for this service at the identity provider."


class ConfirmationRefused(SamlRefused):
    code = "PP-SAML-CONFIRMATION"
    sentence = "The answer does not say that whoever brings it may use it."
    hint = "Administrators: the assertion must have exactly one SubjectConfirmation with the method bearer."


class AuthnContextRefused(SamlRefused):
    code = "PP-SAML-AUTHN-CONTEXT"
    title = "This application needs another way to sign in"
    sentence = "The identity provider signed you in by a way that is not enough for this application."
    hint = "Sign in with the stronger method, such as a second factor. Administrators: the log has the AuthnContextClassRef that was sent; saml.authn_context lists those that are accepted."


class AuthenticationStale(SamlRefused):
    code = "PP-SAML-FORCE-AUTHN"
    title = "Please sign in once more"
    sentence = "This application asks everybody to authenticate anew, and the identity provider did not do so."
    hint = "Open the application's address again. Administrators: the identity provider ignored ForceAuthn, or its clock is behind; saml.force_authn asks for it."


class AttributesRefused(SamlRefused):
    code = "PP-SAML-ATTRIBUTES"
    sentence = "The identity provider sends the same attribute twice, or one that can be read in two ways."
    hint = "Administrators: the log names the attribute. Send all values of an attribute in one Attribute element (Keycloak: Single Role Attribute and Single Group Attribute on), as plain text."


class AssertionReplayed(LoginReplayed):
    code = "PP-SAML-REPLAY"


class SubjectMissing(IdentityIncomplete):
    code = "PP-SAML-SUBJECT"
    sentence = "The identity provider did not say who you are."
    hint = "Administrators: add a NameID (AD FS: a claim rule for Name ID) to what the identity provider sends to this service."


class GroupsElsewhere(SamlRefused):
    code = "PP-SAML-GROUPS"
    title = "Your groups could not be read"
    sentence = "You are in more groups than the identity provider sends, so nobody can tell what you may do."
    hint = "Administrators: above 150 groups, Entra ID sends a link instead of the list. Let it send only the groups that are assigned to the application (Single sign-on, Attributes & Claims, Group claims)."


class LogoutRefused(SamlRefused):
    code = "PP-SAML-LOGOUT"
    title = "This logout is not valid"
    sentence = "The identity provider's message about a logout could not be accepted, so nothing was ended by it."
    hint = "Administrators: the identity provider must sign its logout messages and send them to /.passproxy/saml/slo. The log says what is wrong with this one."


class MetadataRefused(IdpUnavailable):
    """The description of the identity provider cannot be used. Logins are impossible until one can."""

    code = "PP-SAML-METADATA"
    hint = (
        "Wait a moment and try again. Administrators: the log says what is wrong with the identity provider's metadata."
    )


class VerifierBusy(IdpUnavailable):
    code = "PP-SAML-BUSY"
    title = "Too many sign-ins at once"
    sentence = "More people are signing in at this moment than can be checked."


class VerifierFailed(IdpUnavailable):
    """The process that reads the XML died or hung over this answer, or could not be started."""

    code = "PP-SAML-VERIFIER"
    title = "Sign-in failed"
    sentence = "The answer of the identity provider could not be examined."
    hint = "Open the application's address again. Administrators: the log says whether the verifying process could not start, hung or crashed."


#: What the child process may answer with: everything that can be judged from the document.
_REPORTED: tuple[type[LoginError], ...] = (
    ResponseMalformed,
    StructureRefused,
    EncryptionRefused,
    EncryptionMissing,
    SignatureRefused,
    AlgorithmRefused,
    StatusRefused,
    RequestDenied,
    AuthenticationFailed,
    RequestNotUnderstood,
    IssuerRefused,
    AudienceRefused,
    RecipientRefused,
    DestinationRefused,
    InResponseToRefused,
    TimeRefused,
    ConditionsRefused,
    ConfirmationRefused,
    AuthnContextRefused,
    AuthenticationStale,
    AttributesRefused,
    LogoutRefused,
    MetadataRefused,
)
_BY_CODE = {error.code: error for error in _REPORTED}


def refusal(code: str, detail: str) -> LoginError:
    """The error that a code stands for; an unknown code is still a refusal."""
    return _BY_CODE.get(code, SamlRefused)(detail)
