"""
The parts of a configuration that say who may do what and what is told of them, as what works with them.

One place for all who decide or explain: the server, `passproxy policy` and `check`. The settings may be those
of settings.py, or the plain ones that a server is given (plain.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from passproxy.core.bearer import Token, Tokens
from passproxy.core.identity import AttributeRules, extended_aliases
from passproxy.core.identity_headers import BasicAuth, IdentityHeaders, template
from passproxy.core.policy import Policy, Rule
from passproxy.core.trust import Trust

if TYPE_CHECKING:
    from passproxy.core.settings import AccessRule, Settings


def policy_of(settings: Settings) -> Policy:
    """The policy of one domain."""
    access = settings.access
    return Policy(
        rules_of(settings),
        access.default,
        roles=access.roles,
        require_any_group=access.require_any_group,
    )


def rules_of(settings: Settings) -> list[Rule]:
    """What `passthrough.paths` opens, as rules, and then the access rules in their order."""
    public = [
        Rule(f"passthrough.paths[{number}]", (entry.path,), entry.methods, "allow")
        for number, entry in enumerate(settings.passthrough.paths)
    ]
    return [*public, *map(_rule, settings.access.rules)]


def attribute_rules_of(settings: Settings) -> AttributeRules:
    """How the provider's attributes become ours. Of the groups, only those that something uses are kept."""
    identity = settings.identity
    return AttributeRules(
        aliases=extended_aliases({str(name): names for name, names in identity.attributes.items()}),
        group_include=tuple(re.compile(pattern) for pattern in identity.groups.include),
        group_strip_prefix=identity.groups.strip_prefix,
        list_separator=identity_headers_of(settings).separator,
        named_groups=frozenset(_named_groups(settings)),
    )


def identity_headers_of(settings: Settings) -> IdentityHeaders:
    """What the application is told of a session."""
    headers, basic_auth = settings.headers, settings.upstream.basic_auth
    credentials = None
    if basic_auth is not None and basic_auth.password is not None:
        credentials = BasicAuth(template(basic_auth.username), basic_auth.password.get_secret_value())
    return IdentityHeaders(
        headers.profile,
        headers.set,
        separator=None if headers.list_separator == "profile" else headers.list_separator,
        encoding=headers.encoding,
        basic_auth=credentials,
    )


def tokens_of(settings: Settings) -> Tokens | None:
    """The passthrough tokens; None where there is none."""
    passthrough = settings.passthrough
    tokens = [
        Token(
            entry.name,
            bytes.fromhex(entry.hash.removeprefix("sha256:")),
            entry.paths,
            _with_head(entry.methods),
            entry.networks,
            float("inf") if entry.expires is None else float(entry.expires),
        )
        for entry in passthrough.tokens
    ]
    return Tokens(tokens, in_authorization=passthrough.tokens_in_authorization) if tokens else None


def trusts_of(settings: Settings) -> tuple[Trust, ...]:
    """The issuers whose bearer tokens are taken."""
    return tuple(
        Trust(
            entry.name,
            entry.issuer,
            entry.audience,
            frozenset(entry.algorithms),
            entry.jwks_uri,
            entry.types,
            entry.id_tokens,
            entry.max_lifetime,
            entry.clock_skew,
            dict(entry.require),
            {str(name): names for name, names in entry.claims.items()},
            entry.paths,
            _with_head(entry.methods),
            entry.networks,
            entry.forward,
        )
        for entry in settings.bearer.issuers
    )


def _named_groups(settings: Settings) -> Iterable[str]:
    access = settings.access
    yield from access.require_any_group
    for groups in access.roles.values():
        yield from groups
    for rule in access.rules:
        yield from rule.require_any_group or ()
        yield from rule.require_all_groups or ()


def _rule(rule: AccessRule) -> Rule:
    return Rule(
        rule.name,
        rule.paths if rule.path is None else (rule.path,),
        _with_head(rule.methods or ()),
        rule.action,
        frozenset(rule.require_any_group or ()),
        frozenset(rule.require_all_groups or ()),
        frozenset(rule.require_any_role or ()),
        {str(name): values for name, values in rule.require_attribute.items()},
        rule.networks,
        rule.report_only,
    )


def _with_head(methods: tuple[str, ...]) -> tuple[str, ...]:
    """A rule about GET is one about HEAD, which asks for the same without its content."""
    return (*methods, "HEAD") if "GET" in methods and "HEAD" not in methods else methods
