"""
Who somebody is, in words that do not depend on the protocol.

A provider yields an `Authentication`: what the identity provider said, under
the names it used. `identity_from` turns that into an `Identity`: under our
names, safe to write into a header. This module knows no header and no token.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from passproxy.core.errors import IdentityIncomplete, IdentityUnsafe

#: Longest single value. Distinguished names are the longest real ones, below 400.
VALUE_LIMIT_CHARACTERS = 1024

_CLAIMS_2005 = "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/"
_CLAIMS_2008 = "http://schemas.microsoft.com/ws/2008/06/identity/claims/"

#: Our name of an attribute -> the provider's names for it, first match wins. Names in
#: full (URI, OID) stand before short ones, which some providers let people edit.
ALIASES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "login": ("urn:oid:0.9.2342.19200300.100.1.1", "preferred_username", "uid", "username"),
        "account": (
            "urn:oid:1.2.840.113556.1.4.221",
            _CLAIMS_2008 + "windowsaccountname",
            "http://schemas.microsoft.com/ws/2012/01/devicecontext/claims/onpremisessamaccountname",
            "sAMAccountName",
            "samaccountname",
            "onpremisessamaccountname",
            "onprem_sam_account_name",
        ),
        "upn": (
            _CLAIMS_2005 + "upn",
            "urn:oid:1.2.840.113556.1.4.656",
            "userPrincipalName",
            "userprincipalname",
            "upn",
        ),
        "email": (
            _CLAIMS_2005 + "emailaddress",
            "urn:oid:0.9.2342.19200300.100.1.3",
            "urn:oid:1.2.840.113549.1.9.1",
            "mail",
            "email",
            "emailAddress",
            "emailaddress",
        ),
        "name": (
            # Entra and AD FS put the UPN into .../claims/name: the display name goes first.
            "http://schemas.microsoft.com/identity/claims/displayname",
            "urn:oid:2.16.840.1.113730.3.1.241",
            "urn:oid:2.5.4.3",
            "displayName",
            "displayname",
            "name",
            "cn",
            _CLAIMS_2005 + "name",
        ),
        "given_name": (
            _CLAIMS_2005 + "givenname",
            "urn:oid:2.5.4.42",
            "givenName",
            "given_name",
            "givenname",
            "firstName",
        ),
        "surname": (_CLAIMS_2005 + "surname", "urn:oid:2.5.4.4", "sn", "surname", "family_name", "lastName"),
        "dn": (
            _CLAIMS_2005 + "x500distinguishedname",
            "urn:oid:2.5.4.49",
            "distinguishedName",
            "distinguishedname",
            "dn",
            "entryDN",
        ),
        "company": ("urn:oid:2.5.4.10", "company", "companyname", "organization", "o"),
        "department": ("urn:oid:2.5.4.11", "department", "ou"),
        "phone": (
            _CLAIMS_2005 + "otherphone",
            "urn:oid:2.5.4.20",
            "telephoneNumber",
            "telephonenumber",
            "phone_number",
            "phone",
        ),
        "groups": (
            _CLAIMS_2008 + "groups",
            "http://schemas.xmlsoap.org/claims/Group",
            "urn:oid:1.3.6.1.4.1.5923.1.5.1.1",
            "urn:oid:1.2.840.113556.1.2.102",
            _CLAIMS_2008 + "role",
            "isMemberOf",
            "memberOf",
            "memberof",
            "groups",
            "group",
            "roles",
        ),
    }
)

#: What a person logs in as, in this order; the subject when there is none of them.
USER_ORDER = ("login", "account", "upn")

# Control characters, what Unicode counts as a line end, what turns the direction of
# text around, and lone surrogates (which cannot be written as UTF-8 at all).
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Authentication:
    """
    What an identity provider said about somebody, verified, under its own names.

    `authenticated_at` and `expires_at` are seconds since the epoch; `expires_at`
    is the provider's own bound on the session, if it gave one. `handles` are
    names under which the provider may end the session later. `kept` is the
    adapter's own: what it wants to have back to renew or end the session; it is
    given to the browser encrypted, and `is_renewable` says that it can renew.
    With `keeps_identity` the provider confirmed the session and said nothing
    else now: what it said before still stands.
    """

    issuer: str
    subject: str
    attributes: Mapping[str, tuple[str, ...]]
    authenticated_at: int
    expires_at: int | None = None
    handles: tuple[str, ...] = ()
    kept: bytes = field(default=b"", repr=False)
    is_renewable: bool = False
    keeps_identity: bool = False


@dataclass(frozen=True, slots=True)
class Identity:
    """
    Who this is: the neutral record that everything above the adapters works with.

    `attributes` holds at most one value for each of the names in `ALIASES`
    other than groups, and "user", which is always there.
    """

    issuer: str
    subject: str
    attributes: Mapping[str, str]
    groups: tuple[str, ...]
    authenticated_at: int


@dataclass(frozen=True, slots=True)
class AttributeRules:
    """How the provider's attributes become ours: further names, and which groups are kept."""

    aliases: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: ALIASES)
    group_include: tuple[re.Pattern[str], ...] = ()
    group_strip_prefix: str = ""
    list_separator: str = ","
    #: Groups that the configuration names, without the prefix. When it names any, no others are
    #: kept but those that are included: somebody in two thousand groups has a small session then.
    named_groups: frozenset[str] = frozenset()


def extended_aliases(extra: Mapping[str, Iterable[str]]) -> Mapping[str, tuple[str, ...]]:
    """The alias table with further names, which are tried after the built-in ones."""
    return MappingProxyType(
        {ours: (*names, *(n for n in extra.get(ours, ()) if n not in names)) for ours, names in ALIASES.items()}
    )


def identity_from(authentication: Authentication, rules: AttributeRules) -> Identity:
    """
    The identity in our own names.

    A group that could break out of a list or a header is dropped, which can only
    take access away; any other unsafe value refuses the login.

    Raises:
        IdentityIncomplete: there is no subject.
        IdentityUnsafe: a value has characters that no header can carry faithfully.
    """
    subject = _safe("subject", authentication.subject)
    if not subject:
        raise IdentityIncomplete("the subject is empty")
    found: dict[str, str] = {}
    for ours, names in rules.aliases.items():
        if ours != "groups" and (value := _first(ours, authentication.attributes, names)):
            found[ours] = value
    user = next((found[name] for name in USER_ORDER if name in found), subject)
    groups = _groups(authentication.attributes, rules)
    return Identity(authentication.issuer, subject, {"user": user, **found}, groups, authentication.authenticated_at)


def has_unsafe(text: str) -> bool:
    """Whether there is a character that no header can carry faithfully."""
    return _UNSAFE.search(text) is not None


def unsafe_groups(authentication: Authentication, rules: AttributeRules) -> int:
    """How many groups `identity_from` dropped because they could break out of a list or a header."""
    return sum(not _is_safe_group(value, rules) for value in _named_groups(authentication.attributes, rules))


def _first(ours: str, attributes: Mapping[str, tuple[str, ...]], names: tuple[str, ...]) -> str:
    for name in names:
        for value in attributes.get(name, ()):
            if safe := _safe(ours, value):
                return safe
    return ""


def _safe(name: str, value: str) -> str:
    stripped = value.strip(" ")
    if has_unsafe(stripped) or len(stripped) > VALUE_LIMIT_CHARACTERS:
        raise IdentityUnsafe(f"attribute {name} has a forbidden character or is longer than {VALUE_LIMIT_CHARACTERS}")
    return stripped


def _groups(attributes: Mapping[str, tuple[str, ...]], rules: AttributeRules) -> tuple[str, ...]:
    """Each group once, in the provider's order. All values of the first name that has any."""
    kept: dict[str, None] = {}
    for value in _named_groups(attributes, rules):
        if not _is_safe_group(value, rules):
            continue
        shortened = value.removeprefix(rules.group_strip_prefix)
        if shortened == shortened.strip() and _is_used(value, shortened, rules):
            kept.setdefault(shortened)
    kept.pop("", None)
    return tuple(kept)


def _named_groups(attributes: Mapping[str, tuple[str, ...]], rules: AttributeRules) -> tuple[str, ...]:
    return next((attributes[name] for name in rules.aliases["groups"] if attributes.get(name)), ())


def _is_safe_group(value: str, rules: AttributeRules) -> bool:
    if value != value.strip() or not value or len(value) > VALUE_LIMIT_CHARACTERS or has_unsafe(value):
        return False
    # Emitted raw it would be read as two groups, one of them perhaps "admins".
    return rules.list_separator not in value


def _is_used(group: str, shortened: str, rules: AttributeRules) -> bool:
    if not rules.group_include and not rules.named_groups:
        return True
    return shortened in rules.named_groups or any(pattern.search(group) for pattern in rules.group_include)
