"""
What can be configured: one frozen model for each section, with its defaults and bounds.

This is the only list of keys. The reading of files and environment variables,
and the checks that involve several keys, are in config.py. Nothing here reads
a file; a `..._file` twin is resolved before these models see it.
"""

from __future__ import annotations

import ipaddress
import re
from datetime import datetime
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, model_validator

from passproxy.core.urls import is_loopback

_DURATION = re.compile(r"([0-9]{1,9})\s*(s|m|h|d)\Z")
_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_LABEL = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)\Z")

#: Below a minute a session ends while its page still loads; above a month nobody
#: remembers having logged in (and a stolen cookie lives as long).
SESSION_LIFETIME_BOUNDS_SECONDS = (60, 31 * 86400)

#: SAML2int asks for three to five minutes of tolerance at most (SDP-G01).
CLOCK_SKEW_LIMIT_SECONDS = 300


def duration_seconds(value: Any) -> Any:
    """`30s`, `5m`, `24h` or `7d` as seconds. Whole numbers without a unit are refused: of what?"""
    if isinstance(value, str):
        if match := _DURATION.match(value.strip()):
            return int(match[1]) * _UNIT_SECONDS[match[2]]
        raise ValueError("expected a duration such as 30s, 5m, 24h or 7d")
    return value


def _off(value: Any) -> Any:
    """`off` as None."""
    return None if isinstance(value, str) and value.strip() == "off" else value


def _instant(value: Any) -> Any:
    """A date and time with its zone, as seconds since the epoch."""
    if not isinstance(value, str):
        return value
    try:
        instant = datetime.fromisoformat(value.strip())
    except ValueError:
        raise ValueError("expected a date and time such as 2026-03-01T08:00:00Z") from None
    if instant.tzinfo is None:
        raise ValueError("expected a date and time with its zone, such as 2026-03-01T08:00:00Z")
    return int(instant.timestamp())


def _revocation_store(value: str) -> str:
    if value not in ("none", "memory") and not re.match(r"file:/[^\x00]", value):
        raise ValueError("expected none, memory or file:/path/to/file")
    return value


def _host_name(value: str) -> str:
    value = value.strip().lower()
    try:
        ipaddress.ip_address(value)
    except ValueError:
        if not all(_LABEL.match(label) for label in value.split(".")) or len(value) > 253:
            raise ValueError("expected a host name such as app.example.com, without scheme, port or path") from None
    return value


def _provider_url(value: str) -> str:
    """An https URL, or plain http toward this machine: what it serves decides who gets in."""
    parts = _url(value)
    if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
        raise ValueError("must be https; plain http is accepted only toward a loopback address")
    if parts.scheme not in ("http", "https"):
        raise ValueError("must be an https URL")
    return value


def _issuer(value: str) -> str:
    """OpenID Connect Core, 2: no query and no fragment; it is compared as it is written."""
    if "?" in value or "#" in value:
        raise ValueError("an issuer has no query and no fragment")
    return _provider_url(value)


def _secret(value: SecretStr) -> SecretStr:
    _not_blank(value.get_secret_value())
    return value


def _url(value: str) -> Any:
    try:
        parts = urlsplit(value)
        parts.port  # noqa: B018 - raises for a port out of range
    except ValueError:
        # The parser's own words may quote what is a password to whoever wrote it.
        raise ValueError("not a URL") from None
    if re.search(r"[\x00-\x20\x7f-\uffff]", value) or not parts.scheme:
        raise ValueError("not a URL")
    if parts.username is not None or parts.password is not None:
        raise ValueError("must not contain a user name or password")
    if parts.scheme in ("http", "https") and not parts.hostname:
        raise ValueError("the URL has no host")
    return parts


def _upstream_url(value: str) -> str:
    parts = _url(value)
    if parts.scheme == "http+unix":
        if not parts.path.startswith("/") or parts.netloc:
            raise ValueError("a unix socket is written http+unix:/path/to.sock")
        return value
    if parts.scheme not in ("http", "https"):
        raise ValueError("must be http://host:port, https://host:port or http+unix:/path/to.sock")
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ValueError("must end after host and port: the path of each request is passed on as it is")
    return value


def _origin_url(value: str) -> str:
    parts = _url(value)
    if parts.scheme not in ("http", "https") or parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ValueError("must be an origin such as https://app.example.com:8443")
    if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
        raise ValueError("must be https; plain http is accepted only for loopback names and addresses (trials)")
    if parts.netloc.endswith(":") or parts.port == 0:
        raise ValueError("has no usable port")
    return f"{parts.scheme}://{parts.netloc.lower()}"


def _support_url(value: str) -> str:
    if urlsplit(value).scheme not in ("https", "http", "mailto") or re.search(r"[\x00-\x20\x7f\"<>]", value):
        raise ValueError("must be an https, http or mailto URL")
    return value


def _listen_address(value: str) -> str:
    if value.startswith("unix:"):
        if not value.removeprefix("unix:").startswith("/"):
            raise ValueError("a unix socket is written unix:/path/to.sock")
        return value
    host, separator, port = value.rpartition(":")
    if not separator or not port.isdecimal() or not 0 <= int(port) <= 65535:
        raise ValueError("expected address:port, [address]:port or unix:/path/to.sock")
    if not host or host == "*":
        raise ValueError("write the address out: 127.0.0.1:PORT, or 0.0.0.0:PORT for every interface")
    _host_name(host.removeprefix("[").removesuffix("]"))
    return value


def _network(value: str) -> str:
    try:
        ipaddress.ip_network(value, strict=False)
    except ValueError as error:
        raise ValueError(f"not an address or network: {error}") from None
    return value


def _pattern(value: str) -> str:
    try:
        re.compile(value)
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from None
    return value


def _path_pattern(value: str) -> str:
    if not value.startswith("/"):
        raise ValueError("a path pattern starts with /")
    if re.search(r"[^!-~]", value) or re.search(r"[%\\?#;\[\]{}()|^$+\"<>]", value):
        raise ValueError(
            "only literal characters, * and ** are possible in a path pattern: no escapes, queries or regular expressions"
        )
    if "//" in value or "/./" in value + "/" or "/../" in value + "/":
        raise ValueError("a path pattern has no empty and no dot segments")
    if "***" in value or re.search(r"[^/]\*\*|\*\*[^/]", value):
        raise ValueError("** stands alone between slashes")
    if value.startswith("/.passproxy"):
        raise ValueError("/.passproxy/ is PassProxy's own")
    if value != "/" and not re.search(r"[^/*]", value):
        raise ValueError("this would open the whole application; use a web server without PassProxy for that")
    return value


def _token(value: str) -> str:
    if not re.fullmatch(r"[A-Z][A-Z-]{0,19}", value):
        raise ValueError("expected a request method such as GET")
    return value


def _cookie_name(value: str) -> str:
    if not re.fullmatch(r"(?:__Host-)?[A-Za-z0-9_-]{1,64}", value) or value == "__Host-":
        raise ValueError("letters, digits, - and _ only, 64 characters at most")
    return value


def _not_blank(value: str) -> str:
    if not value.strip():
        raise ValueError("must not be empty")
    return value


def _split(value: Any) -> Any:
    """A list written as one string (environment variables): comma-separated."""
    return tuple(item.strip() for item in value.split(",")) if isinstance(value, str) else value


Seconds = Annotated[int, BeforeValidator(duration_seconds)]
Text = Annotated[str, AfterValidator(_not_blank)]
ProviderUrl = Annotated[str, AfterValidator(_provider_url)]
TextList = Annotated[tuple[Text, ...], BeforeValidator(_split)]
Skew = Annotated[Seconds, Field(ge=0, le=CLOCK_SKEW_LIMIT_SECONDS)]


class Section(BaseModel):
    """Frozen, and closed to keys that are not listed."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class UpstreamSettings(Section):
    """The one application behind this domain."""

    url: Annotated[str, AfterValidator(_upstream_url)]
    ca_file: Text | None = None
    server_name: Annotated[str, AfterValidator(_host_name)] | None = None
    verify_tls: bool = True
    preserve_host: bool = True
    strip_version_headers: bool = True
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

    issuer: Annotated[str, AfterValidator(_issuer)]
    client_id: Text
    client_secret: Annotated[SecretStr, AfterValidator(_secret)] | None = None
    private_key_file: Text | None = None
    token_endpoint_auth_method: Literal[
        "auto", "client_secret_basic", "client_secret_post", "private_key_jwt", "none"
    ] = "auto"  # noqa: S105 - the name of a method
    response_mode: Literal["query", "form_post"] = "query"
    pushed_authorization_requests: Literal["auto", "always", "never"] = "auto"
    scopes: TextList = ("openid", "profile", "email", "groups")
    use_userinfo: Literal["auto", "always", "never"] = "auto"
    audiences: TextList = ()
    group_overage_endpoints: Annotated[tuple[ProviderUrl, ...], BeforeValidator(_split)] = ()
    allow_unverified_email: bool = False
    acr_values: TextList = ()
    max_age: Annotated[Seconds | None, Field(ge=0, le=31 * 86400)] = None
    signing_algorithms: Annotated[
        tuple[Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"], ...],
        BeforeValidator(_split),
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
    refresh: Annotated[Seconds | None, BeforeValidator(_off), Field(ge=5, le=86400)] = 300
    not_before: Annotated[int | None, BeforeValidator(_instant)] = None
    keys_file: Text | None = None
    cookie_name: Annotated[str, AfterValidator(_cookie_name)] | None = None


class GroupSettings(Section):
    include: Annotated[tuple[Annotated[Text, AfterValidator(_pattern)], ...], BeforeValidator(_split)] = ()
    strip_prefix: str = ""


class IdentitySettings(Section):
    attributes: dict[
        Literal[
            "login",
            "account",
            "upn",
            "email",
            "name",
            "given_name",
            "surname",
            "dn",
            "company",
            "department",
            "phone",
            "groups",
        ],
        TextList,
    ] = Field(default_factory=dict)
    groups: GroupSettings = GroupSettings()


class HeaderSettings(Section):
    profile: Literal["passproxy"] = "passproxy"
    list_separator: Literal[",", ";", "|"] = ","


class PassthroughPath(Section):
    path: Annotated[str, AfterValidator(_path_pattern)]
    methods: Annotated[
        tuple[Annotated[str, AfterValidator(_token)], ...], BeforeValidator(_split), Field(min_length=1)
    ] = ("GET", "HEAD")


def _path_entry(value: Any) -> Any:
    return {"path": value} if isinstance(value, str) else value


class PassthroughSettings(Section):
    """What is public. A path given alone is public for GET and HEAD."""

    paths: Annotated[tuple[Annotated[PassthroughPath, BeforeValidator(_path_entry)], ...], BeforeValidator(_split)] = ()


class AccessSettings(Section):
    """Who may use the application, beyond having a session."""

    require_any_group: TextList = ()


class RevocationSettings(Section):
    """Where sessions are listed that end before their time."""

    store: Annotated[str, AfterValidator(_revocation_store)] = "memory"


class SupportSettings(Section):
    url: Annotated[str, AfterValidator(_support_url)] | None = None
    footer: str = ""


class LogSettings(Section):
    format: Literal["text", "json"] = "text"
    level: Literal["debug", "info", "warning", "error"] = "info"


class Settings(Section):
    """A whole configuration: one protected domain."""

    domain: Annotated[str, AfterValidator(_host_name)]
    origin: Annotated[str, AfterValidator(_origin_url)] | None = None
    listen: Annotated[str, AfterValidator(_listen_address)] = "127.0.0.1:8123"
    trusted_proxies: Annotated[tuple[Annotated[str, AfterValidator(_network)], ...], BeforeValidator(_split)] = (
        "127.0.0.0/8",
        "::1",
    )
    upstream: UpstreamSettings
    saml: SamlSettings | None = None
    oidc: OidcSettings | None = None
    session: SessionSettings = SessionSettings()
    identity: IdentitySettings = IdentitySettings()
    headers: HeaderSettings = HeaderSettings()
    passthrough: PassthroughSettings = PassthroughSettings()
    access: AccessSettings = AccessSettings()
    revocation: RevocationSettings = RevocationSettings()
    support: SupportSettings = SupportSettings()
    log: LogSettings = LogSettings()
    state_dir: Text | None = None

    @property
    def identity_provider(self) -> SamlSettings | OidcSettings:
        """The one that is configured. Raises `ValueError` where config.py did not check that there is one."""
        provider = self.saml or self.oidc
        if provider is None:
            raise ValueError("no identity provider")
        return provider
