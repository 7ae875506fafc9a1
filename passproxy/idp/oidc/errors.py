"""
What can go wrong between PassProxy and an OpenID provider, each condition once.

The public texts are fixed. What the provider wrote itself goes into the private
detail only, and only through `quoted`. No detail holds a code, a token or a key.
"""

from __future__ import annotations

from passproxy.core.errors import IdpUnavailable, LoginError

_QUOTED_LIMIT_CHARACTERS = 200


def quoted(text: object) -> str:
    """Foreign text for a log line: escaped to ASCII, in quotes, and not long."""
    if text is None:
        return "nothing"
    return ascii(text[:_QUOTED_LIMIT_CHARACTERS]) if isinstance(text, str) else f"a {type(text).__name__}"


class DiscoveryRefused(IdpUnavailable):
    code = "PP-OIDC-DISCOVERY"
    title = "The identity provider is not set up correctly"
    sentence = "The identity provider's description of itself cannot be used, so new sign-ins are not possible."
    hint = "Administrators: oidc.issuer must be exactly the `issuer` in the provider's /.well-known/openid-configuration, down to the last slash, and its endpoints must be https. The log has both values."


class KeysRefused(IdpUnavailable):
    code = "PP-OIDC-KEYS"
    title = "The identity provider is not set up correctly"
    sentence = "The identity provider publishes no usable signing key, so new sign-ins are not possible."
    hint = "Administrators: the document at the provider's jwks_uri must hold public RSA keys of 2048 bits or more, EC keys (P-256, P-384, P-521) or Ed25519 keys."


class ProviderRefused(LoginError):
    """The provider answered the authorization request with an error."""

    code = "PP-OIDC-ERROR"
    sentence = "The identity provider ended the sign-in with an error."
    hint = "Try again. Administrators: the log has the provider's words; most often the client, its redirect URI or a scope is not registered there. Scopes are listed in oidc.scopes."


class AccessDenied(LoginError):
    code = "PP-OIDC-ACCESS-DENIED"
    title = "The identity provider did not let you in"
    sentence = "The sign-in was cancelled, or your account may not use this application."
    hint = "Sign in with another account, or ask for access. Administrators: assign the user to this application at the identity provider."


class AnswerAmbiguous(LoginError):
    code = "PP-OIDC-ANSWER"
    sentence = "The answer of the identity provider contradicts itself."
    hint = "Open the application's address again. Administrators: the provider sent a code and an error in one answer."


class PushRefused(IdpUnavailable):
    code = "PP-OIDC-PUSH"
    title = "The identity provider did not take the sign-in"
    sentence = "The identity provider refused the request with which every sign-in begins."
    hint = "Administrators: the log says what it answered; most often the redirect URI or a scope is not registered there. oidc.pushed_authorization_requests must fit what the provider offers and requires."


class TokenEndpointRefused(LoginError):
    code = "PP-OIDC-TOKEN-ENDPOINT"
    sentence = "The identity provider did not complete the sign-in."
    hint = "Try again. Administrators: the log says what the token endpoint answered."


class CodeRefused(LoginError):
    code = "PP-OIDC-CODE"
    title = "This sign-in cannot be completed any more"
    sentence = "The identity provider no longer accepts this answer: it was used already, or it is too old."
    hint = "Open the application's address again. Administrators: if it happens every time, the redirect URI or PKCE (S256) is not accepted for this client."


class ClientRefused(LoginError):
    code = "PP-OIDC-CLIENT"
    sentence = "The identity provider does not accept this application's own credentials."
    hint = "Administrators: compare oidc.client_id and oidc.client_secret (or the public half of oidc.private_key_file) with the client registered at the provider, and whether it is registered as confidential or public."


class IdTokenMalformed(LoginError):
    code = "PP-OIDC-ID-TOKEN"
    sentence = "The identity provider sent something that is not a plain signed ID token."
    hint = "Administrators: encrypted ID tokens, access tokens and logout tokens are not accepted in its place. The log says what is wrong with it."


class AlgorithmRefused(LoginError):
    code = "PP-OIDC-ALGORITHM"
    sentence = "The identity provider signs with an algorithm that is not accepted."
    hint = "Administrators: let the provider sign this client's ID tokens with RS256, PS256, ES256 or EdDSA (or the 384 and 512 variants); never none or HS256."


class SignatureRefused(LoginError):
    code = "PP-OIDC-SIGNATURE"
    sentence = "The signature of the identity provider's answer could not be verified."
    hint = "Try again in a minute: the provider may just have changed its keys. Administrators: the key that signs must be published at the provider's jwks_uri."


class IssuerRefused(LoginError):
    code = "PP-OIDC-ISSUER"
    sentence = "The answer comes from another identity provider than the one that was asked."
    hint = "Administrators: oidc.issuer and the issuer that the provider writes must be equal, character for character."


class AudienceRefused(LoginError):
    code = "PP-OIDC-AUDIENCE"
    sentence = "The answer of the identity provider was made for another application."
    hint = "Administrators: the ID token's aud must contain oidc.client_id and its azp must equal it; every further audience must be listed in oidc.audiences."


class NonceRefused(LoginError):
    code = "PP-OIDC-NONCE"
    sentence = "The answer of the identity provider belongs to another sign-in."
    hint = "Open the application's address again. Administrators: if it happens every time, the provider does not return the nonce in the ID token."


class TimeRefused(LoginError):
    code = "PP-OIDC-TIME"
    sentence = "The answer of the identity provider is too old, or from the future."
    hint = (
        "Administrators: compare the clocks of this machine and of the identity provider (NTP). The log has both times."
    )


class ClaimsRefused(LoginError):
    code = "PP-OIDC-CLAIMS"
    sentence = "The answer of the identity provider lacks something that every answer must have."
    hint = "Administrators: the log names the claim (sub, iat, exp, at_hash) and what is wrong with it."


class UserinfoRefused(LoginError):
    code = "PP-OIDC-USERINFO"
    sentence = "The identity provider's answer about your account could not be used."
    hint = "Administrators: the log says what the userinfo endpoint answered. With oidc.use_userinfo: never it is not asked."


class GroupsRefused(LoginError):
    code = "PP-OIDC-GROUPS"
    title = "Your groups could not be read"
    sentence = (
        "The identity provider did not send your groups in a form that can be used, so nobody can tell what you may do."
    )
    hint = "Administrators: with very many groups, Entra ID sends a reference instead of the list; let it send only the groups assigned to the application, or permit where the reference leads in oidc.group_overage_endpoints. Otherwise the groups claim must be a list of names."


class AuthenticationWeak(LoginError):
    code = "PP-OIDC-ACR"
    title = "This application needs another way to sign in"
    sentence = "The identity provider signed you in by a way that is not enough for this application."
    hint = "Sign in with the stronger method, such as a second factor. Administrators: the log has the acr that was sent; oidc.acr_values lists those that are accepted."


class AuthenticationOld(LoginError):
    code = "PP-OIDC-MAX-AGE"
    title = "Please sign in once more"
    sentence = "This application asks for a recent sign-in, and the one at the identity provider is too long ago."
    hint = "Open the application's address again. Administrators: the identity provider ignored max_age, or its clock is behind; oidc.max_age asks for it."


class LogoutTokenRefused(LoginError):
    code = "PP-OIDC-LOGOUT-TOKEN"
    status = 400
    title = "This logout is not valid"
    sentence = (
        "What arrived is not a logout token of the identity provider for this application, or it was used before."
    )
    hint = "Administrators: only the identity provider sends to this address. The log says what is wrong; compare oidc.issuer, oidc.client_id and the clocks."


class FrontchannelRefused(LoginError):
    code = "PP-OIDC-FRONTCHANNEL"
    status = 400
    title = "This logout is not valid"
    sentence = "The logout does not name the identity provider and a session of it."
    hint = "Administrators: let the identity provider send issuer and session id with the front-channel logout (frontchannel_logout_session_required)."
