"""
What is shipped in etc/ can be used as it is: it parses, and says the truth about the keys and their defaults.

In the example a `#` that is directly followed by a key or a list item hides
something that can be uncommented; a `#` and a space is prose. Whether nginx
accepts its part is asked of nginx itself, in e2e/test_nginx.py.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from docs.schema import HIDDEN, comment_above
from passproxy.cli.nginx import COOKIES_LIMIT_BYTES
from passproxy.core.config import settings_from, variables
from passproxy.core.cookies import COOKIE_LIMIT_BYTES
from passproxy.core.http1 import HEAD_LIMIT_BYTES
from passproxy.core.settings import AccessRule, PassthroughPath, Settings
from passproxy.web.connection import KEEP_ALIVE_SECONDS

ETC = Path(__file__).parent.parent / "etc"
EXAMPLE = ETC / "passproxy" / "example.yaml"
NGINX = ETC / "nginx" / "passproxy.conf"

_SIZE = {"k": 1024, "m": 1024**2}


def content_of(path: str) -> str:
    """Of a file that a configuration names."""
    return "tokens: []" if "tokens" in path else f"content of {path}"


def example() -> str:
    return EXAMPLE.read_text("utf-8")


@cache
def everything() -> dict[str, Any]:
    """The example with every key uncommented; not a configuration, since some exclude each other."""
    data = yaml.load(HIDDEN.sub(r"\1", example()), Loader=yaml.BaseLoader)
    assert isinstance(data, dict)
    return data


def without(data: dict[str, Any], *paths: str) -> dict[str, Any]:
    """A copy without the keys at these dotted paths."""
    left = {key: value for key, value in data.items() if key not in paths}
    for key, value in left.items():
        if isinstance(value, dict):
            below = [path.partition(".")[2] for path in paths if path.partition(".")[0] == key]
            left[key] = without(value, *below)
    return left


def settings(data: dict[str, Any]) -> Settings:
    return settings_from(yaml.safe_dump(data), "example", {}, content_of)


def key_paths(data: dict[str, Any], known: set[str], prefix: str = "") -> set[str]:
    """Dotted paths of all keys, down to those that hold a value (which may be a map)."""
    found = set()
    for key, value in data.items():
        path = prefix + key
        found |= key_paths(value, known, f"{path}.") if isinstance(value, dict) and path not in known else {path}
    return found


def defaults(model: type[BaseModel], prefix: str = "") -> dict[str, Any]:
    """Dotted path -> default, of each key that has one that says something."""
    found: dict[str, Any] = {}
    for name, info in model.model_fields.items():
        below = next((t for t in (info.annotation, *getattr(info.annotation, "__args__", ())) if _is_section(t)), None)
        if below is not None:
            found |= defaults(below, f"{prefix}{name}.")
        elif not info.is_required() and (default := info.get_default(call_default_factory=True)) not in (
            None,
            (),
            {},
            "",
        ):
            found[prefix + name] = default
    return found


def _is_section(candidate: Any) -> bool:
    return isinstance(candidate, type) and issubclass(candidate, BaseModel)


def value_at(source: Any, path: str) -> Any:
    for part in path.split("."):
        source = source[part] if isinstance(source, dict) else getattr(source, part)
    return source


#: Of these one alone can be given.
PASSWORD, PASSWORD_FILE = "upstream.basic_auth.password", "upstream.basic_auth.password_file"
REDIS, REDIS_FILE = "revocation.password", "revocation.password_file"

#: Not together with `cleanup.cookies`.
EITHER = "forward_auth"

VARIANTS = [
    pytest.param(
        (PASSWORD, REDIS_FILE, "saml", "oidc.client_secret", "oidc.private_key_file", "portal.icon"),
        id="OpenID Connect with a secret file",
    ),
    pytest.param(
        (PASSWORD, REDIS_FILE, "saml", "oidc.client_secret_file", "oidc.private_key_file", "portal.icon_file"),
        id="OpenID Connect with the secret itself",
    ),
    pytest.param(
        (PASSWORD_FILE, REDIS, "saml", "oidc.client_secret", "oidc.client_secret_file", "portal.icon"),
        id="OpenID Connect with a private key",
    ),
    pytest.param(
        (PASSWORD, REDIS_FILE, "oidc", "saml.metadata_file", "portal.icon_file"), id="SAML with a metadata address"
    ),
    pytest.param((PASSWORD_FILE, REDIS, "oidc", "saml.metadata_url", "portal.icon"), id="SAML with a metadata file"),
]


def test_the_example_is_valid_as_it_is_shipped():
    read = []
    shipped = settings_from(example(), "example", {}, lambda path: read.append(path) or content_of(path))
    assert shipped.domain == "app.example.com"
    assert shipped.oidc is not None
    assert read == ["/etc/passproxy/app.client_secret"]


@pytest.mark.parametrize("left_out", VARIANTS)
def test_the_example_is_valid_with_everything_that_can_hold_together(left_out):
    assert settings(without(everything(), EITHER, *left_out))


def test_the_example_is_valid_for_a_web_server_that_only_asks():
    (left_out,) = VARIANTS[0].values
    asked = settings(without(everything(), "cleanup.cookies", *left_out)).forward_auth
    assert asked is not None
    assert asked.web_server == "nginx"


def test_the_example_has_every_key_and_no_other():
    known = {".".join(map(str, path)) for path in variables().values()}
    assert key_paths(everything(), known) == known


def test_the_example_shows_both_forms_of_a_public_path():
    plain, detailed = set(), set()
    for entry in everything()["passthrough"]["paths"]:
        detailed |= set(entry) if isinstance(entry, dict) else set()
        plain |= {entry} if isinstance(entry, str) else set()
    assert plain
    assert detailed == set(PassthroughPath.model_fields)


def test_the_example_shows_every_key_of_an_access_rule():
    shown = {key for rule in everything()["access"]["rules"] for key in rule}
    assert shown == {info.alias or name for name, info in AccessRule.model_fields.items()}


@pytest.mark.parametrize(("path", "default"), defaults(Settings).items(), ids=defaults(Settings))
def test_a_default_that_the_example_shows_is_the_default(path, default):
    left_out = (PASSWORD, REDIS_FILE, "portal.icon", "saml", "oidc.client_secret", "oidc.private_key_file")
    if path.startswith("saml"):
        left_out = (PASSWORD, REDIS_FILE, "portal.icon", "saml.metadata_file", "oidc")
    shown = value_at(settings(without(everything(), EITHER, *left_out)), path)
    assert shown == default


@pytest.mark.parametrize("path", sorted(key_paths(everything(), {".".join(map(str, p)) for p in variables().values()})))
def test_a_key_that_the_example_hides_says_when_it_is_no_default(path):
    """Otherwise a reader would take an example for what holds anyway."""
    if path in defaults(Settings):
        return
    comment, is_hidden = _comment_above(path)
    if is_hidden and value_at(everything(), path):
        assert "(example)" in comment, f"{path}: {comment}"


@cache
def _nodes() -> yaml.Node:
    return yaml.compose(HIDDEN.sub(r"\1", example()), Loader=yaml.BaseLoader)


def _comment_above(path: str) -> tuple[str, bool]:
    """The prose above a key, and whether the key is commented out."""
    node, text = _nodes(), example().splitlines()
    line = 0
    for part in path.split("."):
        key, node = next((k, v) for k, v in node.value if k.value == part)
        line = key.start_mark.line
    return comment_above(text, line), text[line].strip().startswith("#")


def test_every_key_of_the_example_is_explained():
    unexplained = [
        path
        for path in key_paths(everything(), {".".join(map(str, p)) for p in variables().values()})
        if not _comment_above(path)[0]
    ]
    assert unexplained == []


# --- nginx


def directives() -> list[list[str]]:
    """The directives of the snippet in order, arguments split; a block is its opening words."""
    text = re.sub(r"(^|\s)#.*", "", NGINX.read_text("utf-8"))
    pieces = re.findall(r"""(?:"[^"]*"|'[^']*'|[^;{}"'])+(?=[;{])""", text)
    return [[word.strip("\"'") for word in re.findall(r"\"[^\"]*\"|'[^']*'|\S+", piece)] for piece in pieces]


def arguments(name: str) -> list[list[str]]:
    return [words[1:] for words in directives() if words[0] == name]


def size(text: str) -> int:
    return int(text[:-1]) * _SIZE[text[-1].lower()] if text[-1].lower() in _SIZE else int(text)


def test_braces_of_the_nginx_snippet_are_balanced():
    text = re.sub(r"(^|\s)#.*", "", NGINX.read_text("utf-8"))
    assert text.count("{") == text.count("}") > 0


def test_no_request_that_nginx_accepts_is_too_large_for_passproxy():
    ((count, each),) = arguments("large_client_header_buffers")
    first = size(arguments("client_header_buffer_size")[0][0])
    assert int(count) * size(each) + first < HEAD_LIMIT_BYTES
    # All of PassProxy's cookies and one of the largest that an application can set: one line.
    assert size(each) > COOKIES_LIMIT_BYTES + COOKIE_LIMIT_BYTES


def test_nginx_closes_idle_connections_before_passproxy_does():
    (idle,) = arguments("keepalive_timeout")
    assert int(idle[0].removesuffix("s")) < KEEP_ALIVE_SECONDS


@pytest.mark.parametrize(
    "name",
    [
        "Forwarded",
        "Proxy",
        "X-Forwarded-Uri",
        "X-Forwarded-Prefix",
        "X-Forwarded-Method",
        "X-Original-URL",
        "X-Rewrite-URL",
    ],
)
def test_nginx_clears_what_applications_obey(name):
    assert [name, ""] in arguments("proxy_set_header")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Host", "$host"),
        ("X-Forwarded-For", "$remote_addr"),
        ("X-Forwarded-Host", "$host"),
        ("X-Forwarded-Proto", "$scheme"),
        ("X-Forwarded-Port", "$server_port"),
        ("X-Request-Id", "$request_id"),
        ("Connection", "$passproxy_connection"),
    ],
)
def test_nginx_overwrites_what_it_knows_better(name, value):
    assert [name, value] in arguments("proxy_set_header")


def test_no_location_of_nginx_loses_the_headers_of_its_server():
    """proxy_set_header is inherited only where there is none (ngx_http_proxy_module)."""
    text = re.sub(r"(^|\s)#.*", "", NGINX.read_text("utf-8"))
    locations = re.findall(r"location[^{]*\{([^}]*)\}", text)
    assert len(locations) >= 2
    assert not any("proxy_set_header" in inside or "add_header" in inside for inside in locations)


@pytest.mark.parametrize("name", ["proxy_buffering", "proxy_request_buffering", "proxy_redirect", "proxy_cache"])
def test_nginx_stores_and_rewrites_nothing(name):
    assert arguments(name) == [["off"]]
