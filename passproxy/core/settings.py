"""
What can be configured: one frozen model for each section, with its defaults and bounds.

This is the only list of keys. How values are written is in formats.py; the
reading of files and environment variables, and the checks that involve several
keys, are in config.py. Nothing here reads a file; a `..._file` twin is
resolved before these models see it.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from passproxy.core.cleanup import PATTERNS_LIMIT, STORAGE_KEYS_LIMIT, Occasion
from passproxy.core.formats import (
    AssertionName,
    AttributeValues,
    Audience,
    AuditTarget,
    Bytes,
    CookieName,
    CookiePattern,
    Description,
    GroupList,
    HeaderName,
    HostName,
    IconText,
    Instant,
    Issuer,
    Label,
    LaunchUrl,
    Listed,
    ListenAddress,
    Method,
    Network,
    Off,
    OriginUrl,
    Password,
    PathPattern,
    Pattern,
    ProviderUrl,
    PublicPattern,
    RevocationStore,
    RoleName,
    RuleName,
    Seconds,
    Secret,
    Skew,
    StorageKey,
    SupportUrl,
    Template,
    Text,
    TextList,
    TokenHash,
    UpstreamUrl,
    UserName,
    is_everything,
    token_entry,
)
from passproxy.core.headers import normal_form
from passproxy.core.profiles import PROFILES
from passproxy.core.routing import PREFIX
from passproxy.core.urls import Origin

#: Below a minute a session ends while its page still loads; above a month nobody
#: remembers having logged in (and a stolen cookie lives as long).
SESSION_LIFETIME_BOUNDS_SECONDS = (60, 31 * 86400)

#: Access rules of one domain. The longest lists that people write by hand have some fifty;
#: finding the first of so many that matches takes a few microseconds.
RULES_LIMIT = 500

#: Configured headers beside the profile's. There are fifteen things that can be told of somebody.
FURTHER_HEADERS_LIMIT = 50


def _is_everybody(network: str) -> bool:
    return ipaddress.ip_network(network, strict=False).prefixlen == 0


class Section(BaseModel):
    """Frozen, and closed to keys that are not listed."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class BasicAuthSettings(Section):
    """What the application wants to see of whoever asks."""

    username: UserName
    password: Password | None = None

    @model_validator(mode="after")
    def _has_a_password(self) -> BasicAuthSettings:
        if self.password is None:
            raise ValueError("needs password_file, or password")
        return self


class UpstreamSettings(Section):
    """The one application behind this domain."""

    url: UpstreamUrl
    ca_file: Text | None = None
    server_name: HostName | None = None
    verify_tls: bool = True
    preserve_host: bool = True
    send_via: bool = True
    strip_version_headers: bool = True
    basic_auth: BasicAuthSettings | None = None
    max_connections: Annotated[int, Field(ge=1, le=8192)] = 2048
    connect_timeout: Annotated[Seconds, Field(ge=1, le=300)] = 5
    response_timeout: Annotated[Seconds, Field(ge=1, le=86400)] = 60
    idle_timeout: Annotated[Seconds, Field(ge=1, le=86400)] = 600


class SamlSettings(Section):
    """A SAML 2.0 identity provider; PassProxy is the service provider."""

    metadata_url: ProviderUrl | None = None
    metadata_file: Text | None = None
    metadata_refresh: Annotated[Seconds, Field(ge=60, le=7 * 86400)] = 3600
    metadata_certificate_file: Text | None = None
    idp_entity_id: Text | None = None
    entity_id: Text | None = None
    name_id_format: Literal["unspecified", "emailAddress", "persistent", "transient"] = "unspecified"
    allow_idp_initiated: bool = False
    single_logout: bool = True
    force_authn: bool = False
    authn_context: TextList = ()
    sign_requests: bool = False
    want_encrypted_assertions: bool = False
    key_file: Text | None = None
    certificate_file: Text | None = None
    next_key_file: Text | None = None
    next_certificate_file: Text | None = None
    clock_skew: Skew = 60

    @model_validator(mode="after")
    def _keys_come_in_pairs(self) -> SamlSettings:
        if (self.key_file is None) != (self.certificate_file is None):
            raise ValueError("key_file and certificate_file belong together")
        if (self.next_key_file is None) != (self.next_certificate_file is None):
            raise ValueError("next_key_file and next_certificate_file belong together")
        if self.next_key_file is not None and self.key_file is None:
            raise ValueError("next_key_file needs key_file, which it will replace")
        return self

    @model_validator(mode="after")
    def _somebody_must_have_been_asked(self) -> SamlSettings:
        if self.allow_idp_initiated and self.force_authn:
            raise ValueError(
                "allow_idp_initiated and force_authn contradict each other: nobody was asked to sign in anew"
            )
        return self


class OidcSettings(Section):
    """An OpenID provider; PassProxy is the relying party."""

    issuer: Issuer
    client_id: Text
    client_secret: Secret | None = None
    private_key_file: Text | None = None
    token_endpoint_auth_method: Literal[
        "auto", "client_secret_basic", "client_secret_post", "private_key_jwt", "none"
    ] = "auto"  # noqa: S105 - the name of a method
    response_mode: Literal["query", "form_post"] = "query"
    pushed_authorization_requests: Literal["auto", "always", "never"] = "auto"
    scopes: TextList = ("openid", "profile", "email", "groups")
    use_userinfo: Literal["auto", "always", "never"] = "auto"
    audiences: TextList = ()
    group_overage_endpoints: Annotated[tuple[ProviderUrl, ...], Listed] = ()
    allow_unverified_email: bool = False
    acr_values: TextList = ()
    max_age: Annotated[Seconds, Field(ge=0, le=31 * 86400)] | None = None
    signing_algorithms: Annotated[
        tuple[Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"], ...],
        Listed,
        Field(min_length=1),
    ] = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
    clock_skew: Skew = 60

    @model_validator(mode="after")
    def _client_proves_itself_in_one_way(self) -> OidcSettings:
        method, has_secret, has_key = (
            self.token_endpoint_auth_method,
            self.client_secret is not None,
            self.private_key_file is not None,
        )
        if has_secret and has_key:
            raise ValueError("private_key_file and client_secret are both given; a client proves itself in one way")
        if method.startswith("client_secret") and not has_secret:
            raise ValueError(f"token_endpoint_auth_method {method} needs client_secret or client_secret_file")
        if method == "private_key_jwt" and not has_key:
            raise ValueError("token_endpoint_auth_method private_key_jwt needs private_key_file")
        if method == "none" and (has_secret or has_key):
            raise ValueError("token_endpoint_auth_method is none, yet there is a secret or a private key")
        return self


class SessionSettings(Section):
    lifetime: Annotated[
        Seconds, Field(ge=SESSION_LIFETIME_BOUNDS_SECONDS[0], le=SESSION_LIFETIME_BOUNDS_SECONDS[1])
    ] = 86400
    refresh: Annotated[Annotated[Seconds, Field(ge=5, le=86400)] | None, Off] = 300
    not_before: Instant | None = None
    keys_file: Text | None = None
    cookie_name: CookieName | None = None


#: What a provider may say of somebody in a single value, by our names.
SaidAttribute = Literal[
    "login", "account", "upn", "email", "name", "given_name", "surname", "dn", "company", "department", "phone"
]

#: What is read from claims.
AttributeClaim = Literal[SaidAttribute, "groups"]

#: What headers and rules may name.
AttributeName = Literal["user", SaidAttribute]


class GroupSettings(Section):
    include: Annotated[tuple[Pattern, ...], Listed] = ()
    strip_prefix: str = ""


class IdentitySettings(Section):
    attributes: dict[AttributeClaim, TextList] = Field(default_factory=dict)
    groups: GroupSettings = GroupSettings()


class HeaderSettings(Section):
    """How the application is told who is there."""

    profile: Literal[
        "passproxy",
        "passbeyond",
        "x-auth",
        "x-forwarded",
        "x-auth-request",
        "remote-user",
        "authentik",
        "vouch",
        "mellon",
        "none",
    ] = "passproxy"
    set: Annotated[dict[HeaderName, Template], Field(max_length=FURTHER_HEADERS_LIMIT)] = Field(default_factory=dict)
    list_separator: Literal["profile", ",", ";", "|"] = "profile"
    encoding: Literal["utf-8", "percent", "rfc8187"] = "utf-8"
    size_limit: Annotated[Bytes, Field(ge=1024, le=64 * 1024)] = 8 * 1024

    @model_validator(mode="after")
    def _no_header_is_said_twice(self) -> HeaderSettings:
        said = {normal_form(name.encode()): f"the profile {self.profile}" for name in PROFILES[self.profile].fields}
        for name in self.set:
            other = said.setdefault(normal_form(name.encode()), name)
            if other != name:
                raise ValueError(f"{name} is said by {other} as well; applications read both as one")
        return self


class AssertionSettings(Section):
    """What the application can verify who is there with. Off unless the section is there."""

    header: AssertionName = "X-Passproxy-Assertion"
    lifetime: Annotated[Seconds, Field(ge=10, le=3600)] = 60
    audience: Audience | None = None
    algorithm: Literal["ES256"] = "ES256"


class PassthroughPath(Section):
    path: PublicPattern
    methods: Annotated[tuple[Method, ...], Listed, Field(min_length=1)] = ("GET", "HEAD")


def _path_entry(value: Any) -> Any:
    return {"path": value} if isinstance(value, str) else value


#: Each is compared with what a request brings.
TOKENS_LIMIT = 100


class TokenEntry(Section):
    """A secret that lets a program in, known by its digest."""

    name: RuleName
    hash: TokenHash
    paths: Annotated[tuple[PathPattern, ...], Listed] = ()
    methods: Annotated[tuple[Method, ...], Listed] = ()
    networks: Annotated[tuple[Network, ...], Listed, Field(alias="from")] = ()
    expires: Instant | None = None


class PassthroughSettings(Section):
    """What is public, and which tokens let programs in. A path given alone is public for GET and HEAD."""

    paths: Annotated[tuple[Annotated[PassthroughPath, BeforeValidator(_path_entry)], ...], Listed] = ()
    tokens: Annotated[
        tuple[Annotated[TokenEntry, BeforeValidator(token_entry)], ...], Field(max_length=TOKENS_LIMIT)
    ] = ()
    tokens_file: Text | None = None
    tokens_in_authorization: bool = False

    @model_validator(mode="after")
    def _names_are_given_once(self) -> PassthroughSettings:
        names = [token.name for token in self.tokens]
        if doubled := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"two tokens have the name {min(doubled)}")
        return self


#: People name a handful.
ISSUERS_LIMIT = 20

SigningAlgorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]


class IssuerEntry(Section):
    """An issuer whose bearer tokens say which program asks."""

    name: RuleName
    issuer: Issuer
    audience: Annotated[TextList, Field(min_length=1)]
    jwks_uri: ProviderUrl | None = None
    algorithms: Annotated[tuple[SigningAlgorithm, ...], Listed, Field(min_length=1)] = get_args(SigningAlgorithm)
    types: Annotated[tuple[Literal["at+jwt", "JWT"], ...], Listed, Field(min_length=1)] = ("at+jwt", "JWT")
    id_tokens: bool = False
    max_lifetime: Annotated[Seconds, Field(ge=60, le=366 * 86400)] = 86400
    clock_skew: Skew = 60
    require: dict[Text, Annotated[TextList, Field(min_length=1)]] = Field(default_factory=dict)
    claims: dict[AttributeClaim, Annotated[TextList, Field(min_length=1)]] = Field(default_factory=dict)
    paths: Annotated[tuple[PathPattern, ...], Listed] = ()
    methods: Annotated[tuple[Method, ...], Listed] = ()
    networks: Annotated[tuple[Network, ...], Listed, Field(alias="from")] = ()
    forward: bool = False


class BearerSettings(Section):
    """Issuers of bearer tokens: how programs with an account of their own get in."""

    issuers: Annotated[tuple[Annotated[IssuerEntry, Field(title="Issuer")], ...], Field(max_length=ISSUERS_LIMIT)] = ()
    in_authorization: bool = True

    @model_validator(mode="after")
    def _each_is_given_once(self) -> BearerSettings:
        for what, values in (
            ("name", [entry.name for entry in self.issuers]),
            ("issuer", [entry.issuer for entry in self.issuers]),
        ):
            if any(values.count(value) > 1 for value in values):
                raise ValueError(f"two issuers have the same {what}")
        return self


Action = Literal["allow", "authenticate", "deny"]


class AccessRule(Section):
    """Who may do what below some paths; the first rule that covers a request decides."""

    name: RuleName
    path: PathPattern | None = None
    paths: Annotated[tuple[PathPattern, ...], Listed] = ()
    methods: Annotated[tuple[Method, ...], Listed, Field(min_length=1)] | None = None
    action: Action = "authenticate"
    require_any_group: GroupList | None = None
    require_all_groups: GroupList | None = None
    require_any_role: GroupList | None = None
    require_attribute: dict[AttributeName, AttributeValues] = Field(default_factory=dict)
    networks: Annotated[tuple[Network, ...], Listed, Field(alias="from")] = ()
    report_only: bool = False

    @property
    def patterns(self) -> tuple[str, ...]:
        return self.paths if self.path is None else (self.path,)

    @model_validator(mode="after")
    def _has_paths(self) -> AccessRule:
        if (self.path is None) == (not self.paths):
            raise ValueError("needs exactly one of path and paths")
        return self

    @model_validator(mode="after")
    def _requires_only_of_somebody(self) -> AccessRule:
        required = (self.require_any_group, self.require_all_groups, self.require_any_role, self.require_attribute)
        if self.action != "authenticate" and any(required):
            raise ValueError(f"action {self.action} asks nobody who they are, so nothing can be required of them")
        if self.action == "allow" and not self.networks and any(map(is_everything, self.patterns)):
            raise ValueError("this would open the whole application; access.default is the key for that")
        return self


class AccessSettings(Section):
    """Who may use the application, and what of it."""

    default: Action = "authenticate"
    require_any_group: TextList = ()
    roles: dict[RoleName, GroupList] = Field(default_factory=dict)
    rules: Annotated[tuple[Annotated[AccessRule, Field(title="Rule")], ...], Listed, Field(max_length=RULES_LIMIT)] = ()

    @model_validator(mode="after")
    def _names_are_known_once(self) -> AccessSettings:
        names: set[str] = set()
        for rule in self.rules:
            if rule.name in names:
                raise ValueError(f"two rules are named {rule.name}")
            names.add(rule.name)
            unknown = set(rule.require_any_role or ()) - self.roles.keys()
            if unknown:
                raise ValueError(f"the rule {rule.name} requires a role that access.roles does not have")
        return self

    @model_validator(mode="after")
    def _a_group_for_all_leaves_nothing_public(self) -> AccessSettings:
        if self.default == "allow" and self.require_any_group:
            raise ValueError("default allow and require_any_group contradict each other: name the groups in rules")
        return self


class ForwardAuthSettings(Section):
    """Which web server may ask about requests that it serves itself. Off unless the section is there."""

    web_server: Literal["nginx", "caddy", "haproxy", "traefik"]


class RevocationSettings(Section):
    """Where sessions are listed that end before their time."""

    store: RevocationStore = "memory"
    password: Secret | None = None
    ca_file: Text | None = None
    when_unavailable: Literal["open", "closed"] = "open"


class CleanupSettings(Section):
    """What of the application's own session must not outlive the visitor that it was made for."""

    cookies: Annotated[tuple[CookiePattern, ...], Listed, Field(max_length=PATTERNS_LIMIT)] = ()
    storage_keys: Annotated[tuple[StorageKey, ...], Listed, Field(max_length=STORAGE_KEYS_LIMIT)] = ()
    clear_site_data: Annotated[tuple[Literal["cache", "storage"], ...], Listed] = ()
    reauth_redirect_url: ProviderUrl | None = None
    on: Annotated[tuple[Occasion, ...], Listed, Field(min_length=1)] = ("user_change", "reauth", "logout")

    @model_validator(mode="after")
    def _covers_another_user(self) -> CleanupSettings:
        if "user_change" not in self.on:
            raise ValueError("on needs user_change: what one visitor left must never reach another")
        return self

    @model_validator(mode="after")
    def _place_is_the_path_alone(self) -> CleanupSettings:
        if re.search(r"[{}]", (self.reauth_redirect_url or "").replace("{path}", "", 1)):
            raise ValueError("reauth_redirect_url knows one place, {path}, once")
        return self


class SupportSettings(Section):
    url: SupportUrl | None = None
    footer: str = ""


#: Of those that a tile of the page of applications names: one more line of it at most.
SHOWN_GROUPS_LIMIT = 6


class PortalSettings(Section):
    """How the domain appears on the page of applications. It does not, unless the section is there."""

    name: Label | None = None
    description: Description | None = None
    url: LaunchUrl | None = None
    icon: IconText | None = None
    icon_file: Text | None = None
    groups: Annotated[tuple[Label, ...], Listed, Field(max_length=SHOWN_GROUPS_LIMIT)] = ()

    @model_validator(mode="after")
    def _has_one_icon(self) -> PortalSettings:
        if self.icon is not None and self.icon_file is not None:
            raise ValueError("icon and icon_file are both given; a tile has one")
        return self


class LogSettings(Section):
    format: Literal["text", "json"] = "text"
    level: Literal["debug", "info", "warning", "error"] = "info"
    access: bool = False
    audit: Annotated[AuditTarget | None, Off] = None


class AdminSettings(Section):
    """Where metrics and health are told, apart from what visitors reach."""

    listen: ListenAddress | None = None


class Settings(Section):
    """A whole configuration: one protected domain."""

    domain: HostName
    origin: OriginUrl | None = None
    listen: ListenAddress = "127.0.0.1:8123"
    trusted_proxies: Annotated[tuple[Network, ...], Listed] = (
        "127.0.0.0/8",
        "::1",
    )
    upstream: UpstreamSettings
    saml: SamlSettings | None = None
    oidc: OidcSettings | None = None
    session: SessionSettings = SessionSettings()
    identity: IdentitySettings = IdentitySettings()
    headers: HeaderSettings = HeaderSettings()
    assertion: AssertionSettings | None = None
    passthrough: PassthroughSettings = PassthroughSettings()
    bearer: BearerSettings = BearerSettings()
    access: AccessSettings = AccessSettings()
    revocation: RevocationSettings = RevocationSettings()
    forward_auth: ForwardAuthSettings | None = None
    cleanup: CleanupSettings = CleanupSettings()
    support: SupportSettings = SupportSettings()
    portal: PortalSettings | None = None
    admin: AdminSettings = AdminSettings()
    log: LogSettings = LogSettings()
    state_dir: Text | None = None

    @model_validator(mode="after")
    def _reauthentication_stays_here(self) -> Settings:
        url, here = self.cleanup.reauth_redirect_url, f"{Origin.of(self.domain, self.origin)}"
        if url is not None and (not url.startswith(here + "/") or url.startswith((here + PREFIX, here + "//"))):
            raise ValueError("cleanup.reauth_redirect_url must be a page of the application, on this origin")
        return self

    @model_validator(mode="after")
    def _nobody_is_named_twice(self) -> Settings:
        tokens = {token.name for token in self.passthrough.tokens}
        if doubled := tokens & {issuer.name for issuer in self.bearer.issuers}:
            raise ValueError(f"a token and an issuer have the name {min(doubled)}; X-Passproxy-Token tells them apart")
        if self.upstream.basic_auth is not None and any(issuer.forward for issuer in self.bearer.issuers):
            raise ValueError("upstream.basic_auth sets Authorization, so bearer.issuers cannot forward what is there")
        return self

    @model_validator(mode="after")
    def _not_everybody_may_ask(self) -> Settings:
        if self.forward_auth is not None and any(map(_is_everybody, self.trusted_proxies)):
            raise ValueError("forward_auth answers trusted_proxies, so they cannot be everybody; name the web server")
        return self

    @model_validator(mode="after")
    def _cookies_are_marked_where_answers_pass(self) -> Settings:
        if self.forward_auth is not None and self.cleanup.cookies:
            raise ValueError(
                "cleanup.cookies needs the application's answers, which do not pass here with forward_auth"
            )
        return self

    @model_validator(mode="after")
    def _no_header_is_signed_and_said(self) -> Settings:
        said = (*PROFILES[self.headers.profile].fields, *self.headers.set)
        if self.assertion is not None:
            name = normal_form(self.assertion.header.encode())
            if name in {normal_form(each.encode()) for each in said}:
                raise ValueError("assertion.header is one of the identity headers; applications would read both as one")
        return self
