"""Each profile as the table that its documentation would have: who alice is, in the words of each product."""

from __future__ import annotations

import pytest

from passproxy.core.headers import normal_form
from passproxy.core.identity import Identity
from passproxy.core.identity_headers import IdentityHeaders
from passproxy.core.profiles import PROFILES
from passproxy.core.settings import HeaderSettings
from tests.core.given import NOW

ATTRIBUTES = {
    "user": "alice",
    "login": "alice",
    "email": "alice@example.com",
    "name": "Alice Archer",
    "given_name": "Alice",
    "surname": "Archer",
    "upn": "alice@corp.example",
    "account": "aarcher",
    "dn": "CN=Alice,DC=corp,DC=example",
    "company": "Example Corp",
    "department": "Optics",
    "phone": "+1 555 0100",
}
ALICE = Identity("https://sso.example.com", "s-1", ATTRIBUTES, ("staff", "ops"), NOW)
ROLES = ("administrator", "viewer")

GOLDEN = {
    "passproxy": """
        X-Passproxy-User: alice
        X-Passproxy-Email: alice@example.com
        X-Passproxy-Name: Alice Archer
        X-Passproxy-Upn: alice@corp.example
        X-Passproxy-Given-Name: Alice
        X-Passproxy-Surname: Archer
        X-Passproxy-Account: aarcher
        X-Passproxy-Dn: CN=Alice,DC=corp,DC=example
        X-Passproxy-Company: Example Corp
        X-Passproxy-Department: Optics
        X-Passproxy-Phone: +1 555 0100
        X-Passproxy-Subject: s-1
        X-Passproxy-Groups: staff,ops
        X-Passproxy-Roles: administrator,viewer
        X-Passproxy-Session-Expires: 17
    """,
    "passbeyond": """
        X-Passbeyond-User: alice
        X-Passbeyond-Email: alice@example.com
        X-Passbeyond-Name: Alice Archer
        X-Passbeyond-Upn: alice@corp.example
        X-Passbeyond-Given-Name: Alice
        X-Passbeyond-Surname: Archer
        X-Passbeyond-Account: aarcher
        X-Passbeyond-Dn: CN=Alice,DC=corp,DC=example
        X-Passbeyond-Company: Example Corp
        X-Passbeyond-Department: Optics
        X-Passbeyond-Phone: +1 555 0100
        X-Passbeyond-Subject: s-1
        X-Passbeyond-Groups: staff,ops
        X-Passbeyond-Roles: administrator,viewer
    """,
    "x-auth": """
        X-Auth-User: alice
        X-Auth-Email: alice@example.com
        X-Auth-Name: Alice Archer
        X-Auth-Groups: staff,ops
        X-Auth-Roles: administrator,viewer
        X-Auth-Subject: s-1
    """,
    "x-forwarded": """
        X-Forwarded-User: s-1
        X-Forwarded-Email: alice@example.com
        X-Forwarded-Preferred-Username: alice
        X-Forwarded-Groups: staff,ops
    """,
    "x-auth-request": """
        X-Auth-Request-User: s-1
        X-Auth-Request-Email: alice@example.com
        X-Auth-Request-Preferred-Username: alice
        X-Auth-Request-Groups: staff,ops
    """,
    "remote-user": """
        Remote-User: alice
        Remote-Email: alice@example.com
        Remote-Name: Alice Archer
        Remote-Groups: staff,ops
    """,
    "authentik": """
        X-authentik-username: alice
        X-authentik-email: alice@example.com
        X-authentik-name: Alice Archer
        X-authentik-uid: s-1
        X-authentik-groups: staff|ops
        X-authentik-entitlements: administrator|viewer
    """,
    "vouch": """
        X-Vouch-User: alice@example.com
        X-Vouch-IdP-Claims-Sub: s-1
        X-Vouch-IdP-Claims-Preferred-Username: alice
        X-Vouch-IdP-Claims-Email: alice@example.com
        X-Vouch-IdP-Claims-Name: Alice Archer
        X-Vouch-IdP-Claims-Given-Name: Alice
        X-Vouch-IdP-Claims-Family-Name: Archer
        X-Vouch-IdP-Claims-Groups: "staff","ops"
    """,
    "mellon": """
        MELLON_NAME_ID: s-1
        MELLON_uid: alice
        MELLON_mail: alice@example.com
        MELLON_cn: Alice Archer
        MELLON_givenName: Alice
        MELLON_sn: Archer
        MELLON_groups: staff;ops
    """,
    "none": "",
}


@pytest.mark.parametrize("profile", GOLDEN)
def test_a_profile_says_exactly_what_its_table_says(profile):
    lines = IdentityHeaders(profile).lines(ALICE, 17, ROLES).decode()
    assert lines.split("\r\n")[:-1] == [line.strip() for line in GOLDEN[profile].strip().splitlines()]


def test_every_profile_has_a_table_and_can_be_configured():
    assert GOLDEN.keys() == PROFILES.keys()
    for profile in PROFILES:
        assert HeaderSettings.model_validate({"profile": profile}).profile == profile


@pytest.mark.parametrize("profile", PROFILES)
def test_whoever_has_nothing_but_a_subject_has_no_line_for_the_rest(profile):
    bare = Identity("https://sso.example.com", "s-1", {"user": "s-1"}, (), NOW)
    lines = IdentityHeaders(profile).lines(bare, 17).decode().split("\r\n")[:-1]
    said = {PROFILES[profile].fields[line.partition(":")[0]] for line in lines}
    assert said == set(PROFILES[profile].fields.values()) & {"user", "subject", "session_expires"}
    assert all(line.endswith((": s-1", ": 17")) for line in lines)


@pytest.mark.parametrize("profile", PROFILES)
def test_no_two_fields_of_a_profile_are_one_to_an_application(profile):
    fields = PROFILES[profile].fields
    assert len({normal_form(name.encode()) for name in fields}) == len(fields)


@pytest.mark.parametrize("profile", PROFILES)
def test_another_separator_than_the_profiles_can_be_had(profile):
    default = IdentityHeaders(profile)
    for separator in (",", ";", "|"):
        lines = IdentityHeaders(profile, separator=separator).lines(ALICE, 17, ROLES)
        expected = default.lines(ALICE, 17, ROLES).decode()
        for members in (("staff", "ops"), ROLES):
            for between in (default.separator, f'"{default.separator}"'):
                expected = expected.replace(
                    between.join(members), between.replace(default.separator, separator).join(members)
                )
        assert lines.decode() == expected


def test_a_login_name_never_takes_the_place_of_an_address():
    """Where applications know people by their address, a name that somebody chose would be another's."""
    posing = Identity("https://sso.example.com", "s-2", {"user": "alice@example.com"}, (), NOW)
    assert b"X-Vouch-User" not in IdentityHeaders("vouch").lines(posing, 17)
