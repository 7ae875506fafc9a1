"""
How values are written in a configuration: durations, names, addresses, patterns; each with its check.

Types for the models in settings.py. A problem's text says what is expected and
never quotes the value, which may be a secret in the wrong place.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from passproxy.core.bearer import TOKEN_LENGTH_LIMITS
from passproxy.core.cleanup import STORAGE_KEY_LIMIT_CHARACTERS, checked_pattern
from passproxy.core.headers import PREFIX
from passproxy.core.identity import has_unsafe
from passproxy.core.identity_headers import name_problem, template
from passproxy.core.urls import REDIS_SCHEMES, is_loopback, provider_url, url_parts

_DURATION = re.compile(r"([0-9]{1,9})\s*(s|m|h|d)\Z")
_SIZE = re.compile(r"([0-9]{1,6})\s*(KiB|MiB)\Z")
_UNIT_BYTES = {"KiB": 1024, "MiB": 1024 * 1024}
_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_LABEL = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)\Z")

#: SAML2int asks for three to five minutes of tolerance at most (SDP-G01).
CLOCK_SKEW_LIMIT_SECONDS = 300

#: Of a rule or a role. Names are read on pages and in log lines.
NAME_LIMIT_CHARACTERS = 64

#: Of a name on the page of applications: it fits two lines of a tile on a phone.
LABEL_LIMIT_CHARACTERS = 60

#: Of a description there: two or three lines of a tile.
DESCRIPTION_LIMIT_CHARACTERS = 160

#: Of the letters of an icon; more are not read at its size. Emoji count as none, and are sequences: of people up to ten.
ICON_LIMIT_LETTERS, ICON_LIMIT_CHARACTERS = 3, 12

#: Of what is said around attributes in a header; those have a limit of their own.
TEMPLATE_LIMIT_CHARACTERS = 512


@dataclass(frozen=True, slots=True)
class Written:
    """How people write a value, for those who list the keys: in words, and as a pattern that editors check with."""

    words: str
    pattern: str | None = None


def duration_seconds(value: Any) -> Any:
    """`30s`, `5m`, `24h` or `7d` as seconds. Whole numbers without a unit are refused: of what?"""
    if isinstance(value, str):
        if match := _DURATION.match(value.strip()):
            return int(match[1]) * _UNIT_SECONDS[match[2]]
        raise ValueError("expected a duration such as 30s, 5m, 24h or 7d")
    return value


def duration_text(seconds: int) -> str:
    """Seconds as people write them, in the largest unit that divides them."""
    unit = next(unit for unit in ("d", "h", "m", "s") if seconds % _UNIT_SECONDS[unit] == 0)
    if unit == "d" and seconds < 3 * _UNIT_SECONDS["d"]:
        unit = "h" if seconds else "s"
    return f"{seconds // _UNIT_SECONDS[unit]}{unit}"


def size_bytes(value: Any) -> Any:
    """`64KiB` or `10MiB` as bytes. Whole numbers without a unit are refused: of what?"""
    if isinstance(value, str):
        if match := _SIZE.match(value.strip()):
            return int(match[1]) * _UNIT_BYTES[match[2]]
        raise ValueError("expected a size such as 64KiB or 10MiB")
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
    if value.startswith(REDIS_SCHEMES):
        return _redis_url(value)
    if value not in ("none", "memory") and not re.match(r"file:/[^\x00]", value):
        raise ValueError("expected none, memory, file:/path/to/file or redis://host:6379/0")
    return value


def _redis_url(value: str) -> str:
    wanted = "expected redis://host:6379/0, rediss://host:6379/0 or unix:///path, without ? and #"
    try:
        parts = urlsplit(value)
        is_sound = parts.port != 0 and not parts.query and not parts.fragment
    except ValueError:
        raise ValueError(wanted) from None
    if parts.scheme == "unix":
        is_sound = is_sound and not parts.netloc and len(parts.path) > 1
    else:
        is_sound = is_sound and bool(parts.hostname) and re.fullmatch(r"(/\d{0,4})?", parts.path) is not None
    if not is_sound:
        raise ValueError(wanted)
    if parts.password is not None:
        raise ValueError("a password does not belong here: use revocation.password_file")
    return value


def _audit_target(value: str) -> str:
    if value != "stderr" and not re.match(r"file:/[^\x00]", value):
        raise ValueError("expected off, stderr or file:/path/to/file")
    return value


def _host_name(value: str) -> str:
    value = value.strip().lower()
    try:
        ipaddress.ip_address(value)
    except ValueError:
        if not all(_LABEL.match(label) for label in value.split(".")) or len(value) > 253:
            raise ValueError("expected a host name such as app.example.com, without scheme, port or path") from None
    return value


def _issuer(value: str) -> str:
    """OpenID Connect Core, 2: no query and no fragment; it is compared as it is written."""
    if "?" in value or "#" in value:
        raise ValueError("an issuer has no query and no fragment")
    return provider_url(value)


def _secret(value: SecretStr) -> SecretStr:
    _not_blank(value.get_secret_value())
    return value


def _upstream_url(value: str) -> str:
    parts = url_parts(value)
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
    parts = url_parts(value)
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


def _launch_url(value: str) -> str:
    if url_parts(value).scheme not in ("https", "http"):
        raise ValueError("must be an https or http URL")
    return value


def _label(value: str) -> str:
    # Also nothing that turns the direction of what is written: a name must look like what it is.
    if not value.isprintable() or len(value) > LABEL_LIMIT_CHARACTERS:
        raise ValueError(f"printable characters on one line only, {LABEL_LIMIT_CHARACTERS} at most")
    return value.strip()


def _description(value: str) -> str:
    if not value.isprintable() or len(value) > DESCRIPTION_LIMIT_CHARACTERS:
        raise ValueError(f"printable characters on one line only, {DESCRIPTION_LIMIT_CHARACTERS} at most")
    return value.strip()


def _icon(value: str) -> str:
    # The joiner of emoji is the one invisible character that means something here.
    if len(value) > ICON_LIMIT_CHARACTERS or not value.replace("\u200d", "").isprintable() or " " in value:
        raise ValueError("expected one emoji, or one to three letters")
    if sum(character.isascii() or character.isalnum() for character in value) > ICON_LIMIT_LETTERS:
        raise ValueError("expected one emoji, or one to three letters")
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
    return value


def is_everything(pattern: str) -> bool:
    """Whether a path pattern has no literal part."""
    return pattern != "/" and not re.search(r"[^/*]", pattern)


def _public_pattern(value: str) -> str:
    value = _path_pattern(value)
    if is_everything(value):
        raise ValueError("this would open the whole application; use a web server without PassProxy for that")
    return value


def _rule_name(value: str) -> str:
    if not value.isprintable() or len(value) > NAME_LIMIT_CHARACTERS:
        raise ValueError(f"printable characters only, {NAME_LIMIT_CHARACTERS} at most")
    if value.startswith(("access.", "passthrough.")):
        raise ValueError("names that begin like keys of the configuration are used for what has no name")
    return value


def _role_name(value: str) -> str:
    if not value.isprintable() or re.search("[,;|]", value) or value != value.strip():
        raise ValueError("a role is named without , ; | and spaces at its ends: it is written into a list")
    if len(value) > NAME_LIMIT_CHARACTERS:
        raise ValueError(f"{NAME_LIMIT_CHARACTERS} characters at most")
    return value


def _attribute_value(value: str) -> str:
    if "*" in value and not re.fullmatch(r"\*@[^*@]+", value):
        raise ValueError("* is possible in one form alone, *@example.com: any address of exactly that domain")
    return value


def _token(value: str) -> str:
    if not re.fullmatch(r"[A-Z][A-Z-]{0,19}", value):
        raise ValueError("expected a request method such as GET")
    return value


def _cookie_name(value: str) -> str:
    if not re.fullmatch(r"(?:__Host-)?[A-Za-z0-9_-]{1,64}", value) or value == "__Host-":
        raise ValueError("letters, digits, - and _ only, 64 characters at most")
    return value


def _token_hash(value: str) -> str:
    if not re.fullmatch(r"sha256:[0-9a-f]{64}", value):
        raise ValueError("expected sha256: and 64 hexadecimal digits, as `passproxy token new` prints it")
    return value


def token_entry(value: Any) -> Any:
    """A token written alone, hashed or in plain text, as an entry with a name made of its hash."""
    if not isinstance(value, str):
        return value
    if not value.startswith("sha256:"):
        shortest, longest = TOKEN_LENGTH_LIMITS
        if not shortest <= len(value) <= longest or not re.fullmatch(r"[A-Za-z0-9._~+/-]+=*", value):
            raise ValueError(
                f"a token has {shortest} to {longest} letters, digits and -._~+/; `passproxy token new` makes one"
            )
        value = f"sha256:{hashlib.sha256(value.encode()).hexdigest()}"
    return {"name": f"token-{value[7:15]}", "hash": value}


def _header_name(value: str) -> str:
    if problem := name_problem(value):
        raise ValueError(problem)
    return value


def _unquoted_template(value: Any) -> Any:
    """YAML reads {email} as a map, and {{ as two."""
    if isinstance(value, dict):
        raise ValueError('a template that begins with a brace is written in quotes: "{email}"')
    return value


def _template(value: str) -> str:
    if len(value) > TEMPLATE_LIMIT_CHARACTERS:
        raise ValueError(f"{TEMPLATE_LIMIT_CHARACTERS} characters at most")
    template(value)
    return value


def _user_name(value: str) -> str:
    if ":" in value:
        raise ValueError("a user name has no colon (RFC 7617)")
    return value


def _password(value: SecretStr) -> SecretStr:
    if has_unsafe(value.get_secret_value()):
        raise ValueError("a password has no control characters and no line ends (RFC 7617)")
    return value


def _assertion_name(value: str) -> str:
    if not re.fullmatch(r"X-[A-Za-z0-9-]{1,62}", value):
        raise ValueError("expected a header name such as X-Passproxy-Assertion")
    if not value.lower().startswith(PREFIX) and (problem := name_problem(value)):
        raise ValueError(problem)
    return value


def _audience(value: str) -> str:
    if not re.fullmatch(r"[!-+.-~-]{1,200}", value):
        raise ValueError("expected 200 visible ASCII characters at most, and no comma")
    return value


def _not_blank(value: str) -> str:
    if not value.strip():
        raise ValueError("must not be empty")
    if "\0" in value:
        raise ValueError("must not contain a null character")
    return value


def _split(value: Any) -> Any:
    """A list written as one string (environment variables): comma-separated."""
    return tuple(item.strip() for item in value.split(",")) if isinstance(value, str) else value


_PATH_PATTERN = Written("path pattern", r'^/[^\s%\\?#;\[\]{}()|^$+"<>]*$')

Seconds = Annotated[int, BeforeValidator(duration_seconds), Written("duration", r"^\s*[0-9]{1,9}\s*[smhd]\s*$")]
Bytes = Annotated[int, BeforeValidator(size_bytes), Written("size", r"^\s*[0-9]{1,6}\s*(KiB|MiB)\s*$")]
Text = Annotated[str, AfterValidator(_not_blank), Written("text", r"\S")]
ProviderUrl = Annotated[str, AfterValidator(provider_url), Written("https URL", r"^https?://[^\s]+$")]
TextList = Annotated[tuple[Text, ...], BeforeValidator(_split)]
Skew = Annotated[Seconds, Field(ge=0, le=CLOCK_SKEW_LIMIT_SECONDS)]
Off = BeforeValidator(_off)
Instant = Annotated[
    int,
    BeforeValidator(_instant),
    Written(
        "date and time with its zone",
        r"^\s*[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9:.]+(Z|[+-][0-9]{2}:?[0-9]{2})\s*$",
    ),
]
Listed = BeforeValidator(_split)
Secret = Annotated[SecretStr, AfterValidator(_secret), Written("secret", r"\S")]
Password = Annotated[Secret, AfterValidator(_password)]
HeaderName = Annotated[str, AfterValidator(_header_name), Written("header name", r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]
Template = Annotated[Text, BeforeValidator(_unquoted_template), AfterValidator(_template), Written("template", r"\S")]
UserName = Annotated[Template, AfterValidator(_user_name), Written("template", r"^[^:]*[^:\s][^:]*$")]
HostName = Annotated[str, AfterValidator(_host_name), Written("host name", r"^\s*[A-Za-z0-9.:-]+\s*$")]
Issuer = Annotated[str, AfterValidator(_issuer), Written("https URL", r"^https?://[^\s?#]+$")]
UpstreamUrl = Annotated[
    str,
    AfterValidator(_upstream_url),
    Written("http, https or http+unix URL", r"^(https?://[^\s/?#]+/?|http\+unix:/[^\s]+)$"),
]
OriginUrl = Annotated[str, AfterValidator(_origin_url), Written("origin", r"^https?://[^\s/?#]+/?$")]
SupportUrl = Annotated[
    str, AfterValidator(_support_url), Written("https, http or mailto URL", r"^(https?|mailto):[^\s]+$")
]
LaunchUrl = Annotated[str, AfterValidator(_launch_url), Written("https or http URL", r"^https?://[^\s]+$")]
Label = Annotated[Text, AfterValidator(_label), Written("text", r"\S")]
Description = Annotated[Text, AfterValidator(_description), Written("text", r"\S")]
IconText = Annotated[Text, AfterValidator(_icon), Written("an emoji or letters", r"\S")]
ListenAddress = Annotated[
    str, AfterValidator(_listen_address), Written("address:port or unix:/path", r"^(unix:/.*|[^*]+:[0-9]+)$")
]
Network = Annotated[str, AfterValidator(_network), Written("address or network", r"^[0-9A-Fa-f.:]+(/[0-9.]+)?$")]
Pattern = Annotated[Text, AfterValidator(_pattern), Written("regular expression", r"\S")]
PathPattern = Annotated[str, AfterValidator(_path_pattern), _PATH_PATTERN]
PublicPattern = Annotated[str, AfterValidator(_public_pattern), _PATH_PATTERN]
CookiePattern = Annotated[str, AfterValidator(checked_pattern), Written("regular expression", r"\S")]
StorageKey = Annotated[Text, Field(max_length=STORAGE_KEY_LIMIT_CHARACTERS), Written("text", r"\S")]
RuleName = Annotated[Text, AfterValidator(_rule_name), Written("text", r"\S")]
RoleName = Annotated[Text, AfterValidator(_role_name), Written("text", r"^[^,;|]+$")]
AttributeValue = Annotated[Text, AfterValidator(_attribute_value), Written("text or *@domain", r"\S")]
AttributeValues = Annotated[tuple[AttributeValue, ...], BeforeValidator(_split), Field(min_length=1)]
GroupList = Annotated[TextList, Field(min_length=1)]
Method = Annotated[str, AfterValidator(_token), Written("request method", r"^[A-Z][A-Z-]{0,19}$")]
CookieName = Annotated[str, AfterValidator(_cookie_name), Written("cookie name", r"^(__Host-)?[A-Za-z0-9_-]{1,64}$")]
AuditTarget = Annotated[
    str, AfterValidator(_audit_target), Written("off, stderr or file:/path", r"^(off|stderr|file:/.+)$")
]
RevocationStore = Annotated[
    str,
    AfterValidator(_revocation_store),
    Written("none, memory, file:/path or redis://host:6379/0", r"^(none|memory|file:/.+|rediss?://.+|unix:///.+)$"),
]
AssertionName = Annotated[str, AfterValidator(_assertion_name), Written("header name", r"^X-[A-Za-z0-9-]{1,62}$")]
Audience = Annotated[str, AfterValidator(_audience), Written("text", r"^[!-+.-~-]{1,200}$")]
TokenHash = Annotated[str, AfterValidator(_token_hash), Written("sha256: and 64 digits", r"^sha256:[0-9a-f]{64}$")]
