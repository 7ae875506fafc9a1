"""
The four families of header fields, on every route alike.

*Hop-by-hop* fields end here, in both directions. *Asserted* fields are those
that only PassProxy (or a proxy like it) may tell an application: whatever a
client sends under such a name is dropped before anything else happens, also on
public paths. *Forwarded* fields describe the client; they are made anew.
*Identity* fields are appended last. Names are compared in normal form, since
CGI-style applications read X_User, X.User and X-User as one variable.

Decides about names only. What is true of a client address is forwarded.py's
business, what is a cookie of ours cookies.py's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from passproxy.core.http1 import CHUNKED, DROP, KEEP, NameTable, RequestHead, Treatment, connection_options

# RFC 9110, 7.6.1, and what older proxies used.
_HOP_BY_HOP = frozenset(
    b"connection keep-alive proxy-connection proxy-authenticate proxy-authentication-info proxy-authorization "
    b"te trailer transfer-encoding upgrade http2-settings".split()
)

#: Request fields that PassProxy reads, and that also pass as they came.
_NOTED_AND_KEPT = frozenset(b"content-length via".split())

#: Request fields that PassProxy reads.
_NOTED = frozenset(
    b"host connection cookie upgrade expect transfer-encoding x-passproxy-authorization x-forwarded-for max-forwards x-request-id".split()
)

# Every name under which some identity-aware proxy tells an application who is there:
# an application may trust it without our knowing. Ends with "-": everything below it.
_ASSERTED_PREFIXES = tuple(
    b"x-passproxy- x-passbeyond- x-auth-request- x-authentik- x-vouch- x-pomerium- x-webauth- mellon- oidc-claim- "
    b"oidc-access- oidc-id- oidc-refresh- cf-access- x-goog-authenticated- x-goog-iap- x-amzn-oidc- x-ms-client-principal- "
    b"x-ssl-client- ssl-client- x-client-cert- x-tls-client- x-justiam-".split()
)
# An address or host that an application may take for the real one, and `Proxy`: CGI makes
# HTTP_PROXY of it, which client libraries obey ("httpoxy").
_PLACES = frozenset(
    b"forwarded remote-addr remote-host x-forwarded-proto x-forwarded-protocol x-forwarded-scheme x-forwarded-ssl "
    b"x-forwarded-host x-forwarded-port x-forwarded-server x-forwarded-uri x-forwarded-url x-forwarded-path "
    b"x-forwarded-prefix x-forwarded-method x-forwarded-by x-original-uri x-original-url x-original-host "
    b"x-original-method x-original-forwarded-for x-rewrite-url x-host x-real-ip x-client-ip x-cluster-client-ip "
    b"true-client-ip client-ip cf-connecting-ip x-url-scheme x-scheme front-end-https proxy".split()
)
_ASSERTED = _PLACES | frozenset(
    b"remote-user remote-email remote-name remote-groups x-remote-user x-remote-email x-remote-name "
    b"x-remote-group x-remote-groups x-forwarded-user x-forwarded-email x-forwarded-name x-forwarded-groups "
    b"x-forwarded-preferred-username x-forwarded-access-token x-forwarded-roles x-forwarded-client-cert "
    b"x-auth-user x-auth-username x-auth-email x-auth-name x-auth-groups x-auth-roles x-auth-subject x-auth-assertion "
    b"x-token-subject x-token-user-name x-token-user-email x-token-user-roles x-proxy-user x-authenticated-user "
    b"x-authenticated-userid x-authenticated-groups x-client-cert x-client-verify "
    b"x-ms-client-principal x-id-token auth-user https-client-cert ssl-client x-jwt-assertion x-endpoint-api-userinfo".split()
)

# An alias of one of these under the same normal form is a second opinion about framing,
# address or credentials for whoever folds names, so only the exact spelling passes.
_EXACT_ONLY = (
    _HOP_BY_HOP
    | _NOTED
    | frozenset(b"content-length content-type authorization date via max-forwards origin referer".split())
)

_VERSION_FIELDS = frozenset(
    b"server x-powered-by x-powered-by-plesk x-aspnet-version x-aspnetmvc-version x-php-version x-generator "
    b"x-owa-version microsoftsharepointteamservices liferay-portal x-jenkins x-hudson".split()
)

_METHOD_OVERRIDES = frozenset(b"x-http-method-override x-method-override x-http-method".split())

# Of no identity, whatever the configuration says.
_SPECIAL = frozenset(b"accept accept-encoding range cookie2 set-cookie user-agent".split())
_SPECIAL_PREFIXES = (b"content-", b"sec-", b"x-forwarded-", b"x-original-", b"if-", b"access-control-")

#: All of them are noted under this one.
METHOD_OVERRIDE = b"x-http-method-override"

#: Connection options that name no field that could be among those that pass, or, the last, one that must stay.
_NOT_NOMINATED = frozenset({b"close", b"keep-alive", b"upgrade", b"content-length"})

#: More digits mean the same: further than any request goes.
_HOPS = re.compile(rb"[0-9]{1,9}\Z")

_NOT_ALPHANUMERIC = re.compile(rb"[^a-z0-9]+")

#: All names of ours, in normal form.
PREFIX = "x-passproxy-"


def normal_form(raw: bytes) -> bytes:
    """Case folded, each run of anything but letters and digits one hyphen, none at the ends."""
    return _NOT_ALPHANUMERIC.sub(b"-", raw.lower()).strip(b"-")


def is_asserted(normal: bytes) -> bool:
    """Whether only a proxy may send a field of this normal form to an application."""
    return normal in _ASSERTED or normal.startswith(_ASSERTED_PREFIXES) or normal + b"-" in _ASSERTED_PREFIXES


def is_reserved(normal: bytes) -> bool:
    """Whether a field of this normal form says how a request is to be read, and so cannot say who sends it."""
    return (
        normal in _EXACT_ONLY | _PLACES | _METHOD_OVERRIDES | _SPECIAL
        or normal.startswith(_SPECIAL_PREFIXES)
        or normal.decode().startswith(PREFIX)
    )


def _request_treatment(raw: bytes) -> Treatment:
    lower, normal = raw.lower(), normal_form(raw)
    if normal in _EXACT_ONLY and lower != normal:
        return DROP
    if lower in _NOTED_AND_KEPT:
        return Treatment(True, lower)
    if lower in _NOTED:
        return Treatment(False, lower)
    if normal in _HOP_BY_HOP or is_asserted(normal):
        return DROP
    return Treatment(True, METHOD_OVERRIDE) if normal in _METHOD_OVERRIDES else KEEP


def request_names(
    asserted: Iterable[str] = (), *, notes_authorization: bool = False, noted: frozenset[bytes] = frozenset()
) -> NameTable:
    """
    How request fields are treated.

    `asserted` are further names under which only we tell the application something. With
    `notes_authorization` that field is read too, and passes all the same; those of `noted`,
    in lower case, are read and do not pass.
    """
    ours = frozenset(normal_form(name.encode()) for name in asserted)

    def treatment(raw: bytes) -> Treatment:
        if raw.lower() in noted:
            return Treatment(False, raw.lower())
        is_ours = normal_form(raw) in ours
        if notes_authorization and raw.lower() == b"authorization":
            return Treatment(not is_ours, b"authorization")
        return DROP if is_ours else _request_treatment(raw)

    if notes_authorization or noted:
        return NameTable(treatment)
    return NameTable(
        (lambda raw: DROP if normal_form(raw) in ours else _request_treatment(raw)) if ours else _request_treatment
    )


def read_anew(head: RequestHead, names: NameTable) -> RequestHead:
    """A head that was read by another table, without the lines that this one drops."""
    kept = [line for line in head.lines if (names.examine(line.partition(b":")[0]) or DROP).keeps]
    return head._replace(lines=kept)


def answer_names(strip_version_headers: bool) -> NameTable:
    """How the fields of an application's answer are treated."""

    def treatment(raw: bytes) -> Treatment:
        lower = raw.lower()
        if lower in (b"content-length", b"set-cookie", b"sec-websocket-protocol"):
            return Treatment(True, lower)
        if lower in (b"connection", b"transfer-encoding", b"upgrade", b"sec-websocket-accept"):
            return Treatment(False, lower)
        if lower in _HOP_BY_HOP or normal_form(raw).startswith(PREFIX.encode()):
            return DROP
        return DROP if strip_version_headers and lower in _VERSION_FIELDS else KEEP

    return NameTable(treatment)


def without_nominated(lines: list[bytes], connection: list[bytes]) -> list[bytes]:
    """
    Drop the lines that a Connection field names (RFC 9110, 7.6.1).

    Runs on what arrived, before anything is added: what PassProxy asserts
    cannot be taken away like this (CVE-2025-48865's class).
    """
    # The length of a body is not a client's to remove.
    named = connection_options(connection) - _NOT_NOMINATED
    if not named:
        return lines
    return [line for line in lines if line.partition(b":")[0].lower() not in named]


def without_overrides(lines: list[bytes]) -> list[bytes]:
    """
    Drop the lines with which some applications let a request change its method.

    For public paths: what is public for GET is not public for the DELETE that
    such a field makes of it.
    """
    return [line for line in lines if normal_form(line.partition(b":")[0]) not in _METHOD_OVERRIDES]


def hops_left(values: list[bytes]) -> int | None:
    """How many more recipients a Max-Forwards field allows (RFC 9110, 7.6.2); None when it is not one number."""
    return int(values[0]) if len(values) == 1 and _HOPS.match(values[0]) else None


def _counted_down(head: RequestHead) -> bytes:
    """The line of Max-Forwards for the application; only OPTIONS counts (TRACE does not get this far)."""
    values = head.noted[b"max-forwards"]
    hops = hops_left(values) if head.method == b"OPTIONS" else None
    told = values if hops is None else [b"%d" % (hops - 1)]
    return b"".join(b"Max-Forwards: " + value + b"\r\n" for value in told)


def outgoing(
    head: RequestHead,
    *,
    host: bytes,
    cookies: Sequence[bytes],
    identity: bytes,
    forwarded: bytes,
    request_id: bytes,
    is_public: bool,
    connection: bytes = b"",
) -> bytes:
    """
    The head of the request to the upstream, complete.

    First the lines that may pass, as they arrived; then, where no client can
    reach them, what PassProxy asserts: `identity` and `forwarded` are lines
    that end with CRLF, `connection` those of an upgrade, `cookies` the values
    that are left without ours, `request_id` a value. `is_public` where nobody was asked for.
    """
    lines = head.lines
    if is_public and METHOD_OVERRIDE in head.noted:
        lines = without_overrides(lines)
    options = head.noted.get(b"connection")
    if options is not None:
        lines = without_nominated(lines, options)
    parts = [head.method, b" ", head.target, b" HTTP/1.1\r\nHost: ", host, b"\r\n"]
    if lines:
        parts += (b"\r\n".join(lines), b"\r\n")
    for value in cookies:
        parts += (b"Cookie: ", value, b"\r\n")
    if b"max-forwards" in head.noted:
        connection += _counted_down(head)
    if head.body == CHUNKED:
        connection += b"Transfer-Encoding: chunked\r\n"
    parts += (connection, identity, forwarded, b"X-Request-Id: ", request_id, b"\r\n\r\n")
    return b"".join(parts)
