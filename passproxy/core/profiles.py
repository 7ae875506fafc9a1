"""
The header names of other products, and ours: what each tells an application about somebody, and how.

An application that was made for one of them reads its names, and needs no change. Names that are
public alone are here; what is said under them are our attributes. No client may send any of them,
whichever is chosen (headers.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple


class Profile(NamedTuple):
    """
    The habits of one product: field name -> placeholder, and what stands between the members of a list.

    With `is_quoted` each member stands between quotation marks.
    """

    fields: Mapping[str, str]
    separator: str = ","
    is_quoted: bool = False


_OURS = {
    "User": "user",
    "Email": "email",
    "Name": "name",
    "Upn": "upn",
    "Given-Name": "given_name",
    "Surname": "surname",
    "Account": "account",
    "Dn": "dn",
    "Company": "company",
    "Department": "department",
    "Phone": "phone",
    "Subject": "subject",
    "Groups": "groups",
    "Roles": "roles",
}

# oauth2-proxy's "user" is the claim `sub`: accounts that an application made for it go on.
_OAUTH2_PROXY = {"User": "subject", "Email": "email", "Preferred-Username": "user", "Groups": "groups"}


def _below(prefix: str, fields: Mapping[str, str]) -> Mapping[str, str]:
    return MappingProxyType({f"{prefix}{name}": placeholder for name, placeholder in fields.items()})


#: By the name that the configuration has for them.
PROFILES: Mapping[str, Profile] = MappingProxyType(
    {
        "passproxy": Profile(_below("X-Passproxy-", {**_OURS, "Session-Expires": "session_expires"})),
        # Of its names only Email and Groups are public; the others are formed like ours.
        "passbeyond": Profile(_below("X-Passbeyond-", _OURS)),
        "x-auth": Profile(
            _below("X-Auth-", {n: _OURS[n] for n in ("User", "Email", "Name", "Groups", "Roles", "Subject")})
        ),
        "x-forwarded": Profile(_below("X-Forwarded-", _OAUTH2_PROXY)),
        "x-auth-request": Profile(_below("X-Auth-Request-", _OAUTH2_PROXY)),
        "remote-user": Profile(_below("Remote-", {n: _OURS[n] for n in ("User", "Email", "Name", "Groups")})),
        "authentik": Profile(
            _below(
                "X-authentik-",
                {
                    "username": "user",
                    "email": "email",
                    "name": "name",
                    "uid": "subject",
                    "groups": "groups",
                    # There the roles that somebody has in one application.
                    "entitlements": "roles",
                },
            ),
            "|",
        ),
        # Its user is the address. Where there is none nothing takes its place: a login name that
        # somebody may choose would be read as an address.
        "vouch": Profile(
            _below(
                "X-Vouch-",
                {
                    "User": "email",
                    "IdP-Claims-Sub": "subject",
                    "IdP-Claims-Preferred-Username": "user",
                    "IdP-Claims-Email": "email",
                    "IdP-Claims-Name": "name",
                    "IdP-Claims-Given-Name": "given_name",
                    "IdP-Claims-Family-Name": "surname",
                    "IdP-Claims-Groups": "groups",
                },
            ),
            is_quoted=True,
        ),
        # The module sets variables of Apache; recipes hand them on under their own names. These are the
        # ones that it makes of the usual LDAP attributes, and its separator when it merges values.
        "mellon": Profile(
            _below(
                "MELLON_",
                {
                    "NAME_ID": "subject",
                    "uid": "user",
                    "mail": "email",
                    "cn": "name",
                    "givenName": "given_name",
                    "sn": "surname",
                    "groups": "groups",
                },
            ),
            ";",
        ),
        "none": Profile({}),
    }
)
