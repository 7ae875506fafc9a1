"""
Everything that can go wrong, each condition once, with its two faces.

The public face is the class: a stable code, an HTTP status, a sentence for the
visitor and a hint for whoever can mend it. The private face is the instance:
`detail`, which goes to the log and nowhere else. Conditions that only one
protocol knows live beside its adapter, below `LoginError`.

    PassProxyError
    ├── ConfigError                what the administrator wrote cannot be served
    ├── RequestRefused             this request goes no further
    │   ├── RequestMalformed       ... and its connection is closed, as are those of
    │   │   ├── HeadTooLarge           all its subclasses: where one request was not
    │   │   ├── BodyTooLarge           understood, the next one cannot be found
    │   │   ├── VersionUnsupported
    │   │   ├── CodingUnsupported
    │   │   ├── ExpectationUnknown
    │   │   ├── MethodRefused
    │   │   ├── HostUnknown
    │   │   ├── ChallengeMalformed
    │   │   ├── HopsExhausted
    │   │   ├── TargetAmbiguous ── TargetUnreadable
    │   │   └── UpgradeRefused ── UpgradeVersion, OriginForeign
    │   ├── LoginRequired          no session, and not a navigation
    │   ├── AccessDenied           a session, and not for everybody who has one
    │   ├── RuleRefused            a rule of the configuration refuses this request
    │   ├── EndpointUnknown, EndpointMethod, RevocationOff
    │   ├── ForwardedTargetRefused a web server asks about a request, and not clearly
    │   ├── RevocationsUnknown     whether a session still holds cannot be told
    │   ├── TokenUnknown
    │   │   ├── TokenThrottled ── BearerThrottled
    │   │   └── BearerRefused
    │   ├── TokenOutOfScope ── BearerOutOfScope
    │   ├── BearerKeysMissing      a token of an issuer whose keys are not known yet
    │   ├── RequestLoops           forwarded, and back again
    │   ├── FormExpired, FormOfAnother
    │   └── Overloaded
    ├── TokenInvalid               never shown: the same as no token
    ├── LoginError                 the answer of the identity provider is not a login
    │   ├── CallbackMalformed
    │   ├── LoginUnknown, LoginExpired, LoginReplayed
    │   ├── IdentityIncomplete, IdentityUnsafe, IdentityTooLarge
    │   ├── RenewalRefused         the identity provider ended a session
    │   ├── LoginLoop              every login is followed by the next one
    │   │   └── LoopByCookie, LoopByKeys, LoopByTime
    │   └── IdpUnavailable         nobody's fault here: try again
    └── UpstreamError
        ├── UpstreamUnreachable, UpstreamTimeout, UpstreamMalformed
"""

from __future__ import annotations

from typing import ClassVar


class PassProxyError(Exception):
    """Base of all; itself only for what should not happen."""

    code: ClassVar[str] = "PP-INTERNAL"
    status: ClassVar[int] = 500
    title: ClassVar[str] = "Something went wrong here"
    sentence: ClassVar[str] = "The sign-in service in front of this application met an error of its own."
    hint: ClassVar[str] = (
        "Try again. If it happens again, send the request id to your support; the log has the details."
    )

    def __init__(self, detail: str = "") -> None:
        super().__init__(detail)
        self.detail = detail


class ConfigError(PassProxyError):
    """
    Every problem of a configuration at once.

    `problems` are complete lines, each naming file and line or the environment
    variable, the key, and what to do. They quote no secret.
    """

    code = "PP-CONFIG"
    title = "The configuration cannot be used"
    sentence = "The configuration has mistakes."
    hint = "Each line names the file, the line and the key."

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class RequestRefused(PassProxyError):
    """A request that is answered here and never forwarded."""

    code = "PP-REQUEST"
    status = 400
    title = "Request refused"


class RequestMalformed(RequestRefused):
    """Not HTTP as RFC 9112 has it, or readable in two ways."""

    code = "PP-REQUEST-MALFORMED"
    title = "This request is not valid"
    sentence = "The request does not follow the rules of HTTP, or could be read in two ways, so it was not passed on."
    hint = "A browser does not send such requests. If a program did, look for raw control characters, doubled Content-Length or Transfer-Encoding, or spaces around header names."


class HeadTooLarge(RequestMalformed):
    code = "PP-REQUEST-HEAD-SIZE"
    status = 431
    title = "The request's headers are too large"
    sentence = "The address and headers of this request are larger than can be accepted."
    hint = "Usually too many cookies: clear the cookies of this site and try again."


class BodyTooLarge(RequestMalformed):
    code = "PP-REQUEST-BODY-SIZE"
    status = 413
    title = "The request is too large"
    sentence = "More was sent to the sign-in service than a sign-in can need."
    hint = "If this happens during a login, the identity provider sends an unusually large answer: ask for fewer groups or attributes."


class VersionUnsupported(RequestMalformed):
    code = "PP-REQUEST-VERSION"
    status = 505
    title = "HTTP version not supported"
    sentence = "Only HTTP/1.1 and HTTP/1.0 are spoken here."
    hint = "HTTP/2 and HTTP/3 belong to the web server in front of PassProxy."


class CodingUnsupported(RequestMalformed):
    code = "PP-REQUEST-CODING"
    status = 501
    title = "Transfer coding not supported"
    sentence = "The request uses a transfer coding other than plain chunked."
    hint = "Send the body with a Content-Length or with Transfer-Encoding: chunked."


class ExpectationUnknown(RequestMalformed):
    code = "PP-REQUEST-EXPECT"
    status = 417
    title = "Expectation not understood"
    sentence = "The request carries an Expect header other than 100-continue."
    hint = "Remove the Expect header from the request."


class HopsExhausted(RequestMalformed):
    code = "PP-REQUEST-HOPS"
    title = "This request may go no further"
    sentence = "The request's Max-Forwards header does not let it reach the application."
    hint = "Send OPTIONS without Max-Forwards, or with a number above the count of proxies in front of the application."


class MethodRefused(RequestMalformed):
    code = "PP-REQUEST-METHOD"
    status = 405
    title = "Method not allowed"
    sentence = "This request method is not passed on."
    hint = "TRACE, CONNECT and methods that are not registered are refused by design."


class ChallengeMalformed(RequestMalformed):
    code = "PP-TRUST-CHALLENGE"
    title = "Not a challenge"
    sentence = "The description of this sign-in service was asked for with something else than one challenge."
    hint = "Ask without parameters, or with challenge= and 22 to 86 random characters of base64url, as `python -m passproxy.trusted enroll` does."


class HostUnknown(RequestMalformed):
    code = "PP-REQUEST-HOST"
    status = 421
    title = "Wrong address"
    sentence = "This server does not answer for the host name in the request."
    hint = "Open the application by its configured name. Administrators: `domain` (or `origin`) and the Host header that the web server in front passes on must agree."


class TargetAmbiguous(RequestMalformed):
    code = "PP-REQUEST-AMBIGUOUS"
    title = "This address can be read in two ways"
    sentence = (
        "The address contains escapes or path segments that different programs read differently, so it is not public."
    )
    hint = "Sign in first, or use the plain form of the address."


class TargetUnreadable(TargetAmbiguous):
    """Nobody can say which rules hold for it."""

    code = "PP-REQUEST-READINGS"
    title = "This address can be read in too many ways"
    sentence = "The address has more escapes and unusual characters than the access rules can be applied to, so it was refused."
    hint = "Use the plain form of the address."


class UpgradeRefused(RequestMalformed):
    code = "PP-UPGRADE"
    title = "The connection cannot be upgraded"
    sentence = "The request to switch protocols is incomplete or carries a body."
    hint = "A WebSocket handshake is a GET over HTTP/1.1 with Connection: Upgrade, Upgrade: websocket and one Sec-WebSocket-Key. Check that the web server in front passes Upgrade and Connection on."


class UpgradeVersion(UpgradeRefused):
    code = "PP-UPGRADE-VERSION"
    status = 426
    title = "WebSocket version not supported"
    sentence = "Only version 13 of the WebSocket protocol is supported."
    hint = "Use a current WebSocket client."


class OriginForeign(UpgradeRefused):
    code = "PP-ORIGIN"
    status = 403
    title = "Opened from another site"
    sentence = "A page of another site tried to open a WebSocket with your session."
    hint = "WebSockets are accepted only from pages of this application's own address."


class LoginRequired(RequestRefused):
    code = "PP-LOGIN-REQUIRED"
    status = 401
    title = "Sign-in required"
    sentence = "There is no valid session, and this request is not a page that could be redirected to the sign-in."
    hint = "Open login_url in a browser window, then repeat the request."


class AccessDenied(RequestRefused):
    code = "PP-ACCESS-GROUP"
    status = 403
    title = "You may not use this application"
    sentence = "You are signed in, but your account is in none of the groups that may use this application."
    hint = "Ask for access, or sign out and sign in with another account. Administrators: access.require_any_group lists the groups; /.passproxy/userinfo shows those that the identity provider sent."


class RequestLoops(RequestRefused):
    """RFC 5842, 7.2 has the status."""

    code = "PP-LOOP-REQUEST"
    status = 508
    title = "This request goes round in circles"
    sentence = "The sign-in service forwarded this request, and it came back as if it were new."
    hint = "Administrators: upstream.url, or a proxy behind it, leads back to this domain. It must lead to the application."


class RuleRefused(RequestRefused):
    """
    A rule denies it, or somebody does not meet what a rule requires.

    `rule` is its configured name, for the page; None where nobody is signed in, who need not know.
    """

    code = "PP-ACCESS-RULE"
    status = 403
    title = "You may not do this here"
    sentence = "An access rule of this application refuses this request."
    hint = "Ask for access, or sign in with another account. Administrators: the log says what the rule requires, and `passproxy policy` tries it out."

    def __init__(self, detail: str = "", rule: str | None = None) -> None:
        super().__init__(detail)
        self.rule = rule


class TokenUnknown(RequestRefused):
    """RFC 6750, 3.1."""

    code = "PP-PASSTHROUGH-TOKEN"
    status = 401
    title = "This token is not valid"
    sentence = "The request carries a passthrough token that this service does not know."
    hint = "Check X-Passproxy-Authorization: it is the word Bearer, a space and the token, once. Administrators: `passproxy token new` makes one, and a reload makes it valid."


class TokenThrottled(TokenUnknown):
    code = "PP-PASSTHROUGH-THROTTLED"
    status = 429
    title = "Too many wrong tokens"
    sentence = "Many wrong passthrough tokens came from this address within a minute."
    hint = "Wait a minute, then send the right token."


class TokenOutOfScope(RequestRefused):
    code = "PP-PASSTHROUGH-SCOPE"
    status = 403
    title = "This token is not for this request"
    sentence = "The passthrough token is valid, but not for this path, method, address or time."
    hint = "Administrators: the log names the token and what does not fit; its entry in the configuration has paths, methods, from and expires."


class BearerRefused(TokenUnknown):
    """A JWT of a configured issuer that does not hold. RFC 6750, 3.1."""

    code = "PP-BEARER-TOKEN"
    sentence = "The request carries a bearer token that this service does not accept."
    hint = "Get a new token from its issuer, for this service. Administrators: the log says what is wrong with it; issuer, audience, algorithms and what else is expected of a token are in bearer.issuers."


class BearerThrottled(TokenThrottled):
    code = "PP-BEARER-THROTTLED"
    sentence = "Many wrong bearer tokens came from this address within a minute."


class BearerOutOfScope(TokenOutOfScope):
    """RFC 6750, 3.1: insufficient_scope."""

    code = "PP-BEARER-SCOPE"
    sentence = (
        "The bearer token is valid, but not for this path, method or address, or it does not say what is required."
    )
    hint = "Administrators: the log names the issuer and what does not fit; its entry in bearer.issuers has require, paths, methods and from."


class BearerKeysMissing(RequestRefused):
    code = "PP-BEARER-KEYS"
    status = 503
    title = "This token cannot be verified now"
    sentence = "The keys of the issuer of this bearer token are not known yet, so nobody can say whether it is valid."
    hint = "Try again in a moment. Administrators: the log says why the issuer's keys could not be read; `passproxy doctor` tries it."


class RevocationOff(RequestRefused):
    code = "PP-REVOCATION-OFF"
    status = 501
    title = "Sessions cannot be ended from outside"
    sentence = "The identity provider asked to end a session, and nothing here remembers that sessions ended."
    hint = "Administrators: set revocation.store to memory, or to file:/path where several instances share it."


class EndpointUnknown(RequestRefused):
    code = "PP-ENDPOINT"
    status = 404
    title = "No such page"
    sentence = "The sign-in service has no page at this address."
    hint = "Everything below /.passproxy/ belongs to the sign-in service, not to the application."


class EndpointMethod(RequestRefused):
    code = "PP-ENDPOINT-METHOD"
    status = 405
    title = "Method not allowed"
    sentence = "This page of the sign-in service does not accept that request method."
    hint = "Start again from the application's own address."

    def __init__(self, *allowed: str) -> None:
        super().__init__(f"only {', '.join(allowed)} here")
        self.allowed = allowed


class ForwardedTargetRefused(RequestRefused):
    """What a web server asks about is not told clearly, or is nothing that a web server can serve."""

    code = "PP-FORWARD-AUTH"
    status = 403
    title = "This request cannot be let through"
    sentence = "The web server asked whether this request may pass, but it is not clear which request that is, or what of it would reach the application."
    hint = "Administrators: the log says what is missing, doubled or contradictory. Compare the web server's configuration with docs/forward-auth.md, and forward_auth.web_server with the web server."


class FormExpired(RequestRefused):
    """A form that was kept over a login cannot be offered any more."""

    code = "PP-FORM-EXPIRED"
    status = 410
    title = "The form cannot be sent again"
    sentence = "What you had entered is no longer available, or too old to be sent again. Nothing was sent."
    hint = "Open the form in the application and fill it in once more."


class FormOfAnother(RequestRefused):
    code = "PP-FORM-OTHER"
    status = 403
    title = "This form was filled in by somebody else"
    sentence = "Before the session ended, another account was signed in here. Its form is not sent in your name. Nothing was sent."
    hint = "Sign in with the account that filled in the form, or open the form again."


class RevocationsUnknown(RequestRefused):
    """Nobody can tell whether the session still holds."""

    code = "PP-REVOCATIONS-UNKNOWN"
    status = 503
    title = "Your sign-in cannot be confirmed right now"
    sentence = "It cannot be told whether your session has been ended, so nothing is shown until it can."
    hint = "Wait a moment and try again. Administrators: the server of revocation.store does not answer; when_unavailable: open goes on without it."


class Overloaded(RequestRefused):
    code = "PP-OVERLOADED"
    status = 503
    title = "Too busy right now"
    sentence = "More is being asked than can be handled at once."
    hint = "Wait a few seconds and try again."


class TokenInvalid(PassProxyError):
    """Whatever a sealed token may suffer from. Nobody is told which: it counts as no token."""

    code = "PP-TOKEN"


class LoginError(PassProxyError):
    """The answer of the identity provider does not become a session."""

    code = "PP-LOGIN"
    status = 403
    title = "Sign-in failed"
    sentence = "The answer of the identity provider could not be accepted."
    hint = "Try again from the application's address. If it happens again, give the code and the request id to your administrator."


class CallbackMalformed(LoginError):
    code = "PP-CALLBACK-MALFORMED"
    status = 400
    sentence = "What arrived at the sign-in address is not an answer of an identity provider."
    hint = "Start again from the application's own address instead of a bookmark of the sign-in page."


class LoginUnknown(LoginError):
    code = "PP-LOGIN-UNKNOWN"
    title = "This sign-in was not started here"
    sentence = "The answer does not belong to a sign-in that this browser started."
    hint = "Open the application's address again. If it keeps happening, the browser may be blocking cookies for this site."


class LoginExpired(LoginError):
    code = "PP-LOGIN-EXPIRED"
    title = "This sign-in took too long"
    sentence = "Too much time passed between the start of the sign-in and its answer."
    hint = "Open the application's address again."


class LoginReplayed(LoginError):
    code = "PP-LOGIN-REPLAYED"
    title = "This sign-in was already used"
    sentence = "Each answer of the identity provider is accepted once."
    hint = "Open the application's address again; reloading the sign-in page does not work."


class IdentityIncomplete(LoginError):
    code = "PP-IDENTITY-INCOMPLETE"
    title = "The identity provider did not say who you are"
    sentence = "The answer contains no usable identifier."
    hint = "Administrators: let the identity provider send a subject (NameID or sub) that is not empty."


class IdentityUnsafe(LoginError):
    code = "PP-IDENTITY-UNSAFE"
    title = "Your account has characters that cannot be passed on"
    sentence = "A value that the identity provider sent contains control or other forbidden characters."
    hint = "Administrators: the log names the attribute."


class IdentityTooLarge(LoginError):
    code = "PP-IDENTITY-SIZE"
    title = "Your account carries too much"
    sentence = "The attributes that the identity provider sent do not fit into a session cookie, or into the headers for the application."
    hint = "Administrators: the log names the largest attribute. Send fewer groups, or keep only those the application needs with identity.groups.include; headers.size_limit may be raised where the application takes more."


class RenewalRefused(LoginError):
    """The identity provider does not renew a session, for good."""

    code = "PP-RENEWAL"
    title = "Your sign-in has ended"
    sentence = "The identity provider no longer confirms your sign-in."
    hint = "Open the application's address again to sign in. Administrators: the session was ended at the identity provider, the account was disabled, or its refresh token was used by somebody else."


class LoginLoop(LoginError):
    """A browser comes back from each login without a session that holds."""

    code = "PP-LOOP"
    status = 508
    title = "Signing in goes round in circles"
    sentence = "You were signed in several times within a minute, and each time the new session was refused at once. This page stops that."
    hint = "Try again; if it goes on, give the code and the request id to your administrator. Administrators: the log says why the session was refused."


class LoopByCookie(LoginLoop):
    code = "PP-LOOP-COOKIE"
    sentence = "You were signed in several times within a minute, but your browser never brought the session's cookie back. This page stops that."
    hint = "Allow cookies for this site, and clear those it has. Administrators: does the web server in front pass Cookie and Set-Cookie on, are its header buffers large enough, and is `domain` the name that browsers use?"


class LoopByKeys(LoginLoop):
    code = "PP-LOOP-KEYS"
    sentence = "Another instance of the sign-in service gave you a session that this one does not know. This page stops going round in circles."
    hint = "Administrators: all instances of one domain need the same keys. Point session.keys_file of each at the same file, or at copies of it."


class LoopByTime(LoginLoop):
    code = "PP-LOOP-TIME"
    sentence = "You were signed in several times within a minute, but each session was over, or not yet valid, as soon as it began. This page stops that."
    hint = "Administrators: compare the clocks of all instances and of the identity provider (timedatectl), and look at session.lifetime."


class IdpUnavailable(LoginError):
    code = "PP-IDP-UNAVAILABLE"
    status = 503
    title = "The identity provider cannot be reached"
    sentence = "New sign-ins are not possible right now. Whoever is signed in already can go on working."
    hint = "Wait a moment and try again."


class UpstreamError(PassProxyError):
    code = "PP-UPSTREAM"
    status = 502
    title = "The application does not answer"
    sentence = "You are signed in, but the application behind this address cannot be reached."
    hint = "Wait a moment and try again. Administrators: is the application running, and is upstream.url right?"


class UpstreamUnreachable(UpstreamError):
    code = "PP-UPSTREAM-UNREACHABLE"


class UpstreamTimeout(UpstreamError):
    code = "PP-UPSTREAM-TIMEOUT"
    status = 504
    title = "The application took too long"
    sentence = "The application behind this address did not answer in time."


class UpstreamMalformed(UpstreamError):
    code = "PP-UPSTREAM-MALFORMED"
    title = "The application's answer is not valid"
    sentence = "The application behind this address sent an answer that cannot be passed on."
    hint = "Administrators: the log says what was wrong with it."
