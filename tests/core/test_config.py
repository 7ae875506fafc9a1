"""Every mistake at once, each with its place and its key; and nothing that could be a secret is quoted."""

from __future__ import annotations

import contextlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passproxy.core.config import FILE_LIMIT_BYTES, settings_from, variables
from passproxy.core.errors import ConfigError
from passproxy.core.settings import Settings
from passproxy.core.urls import Origin
from tests.core.given import examples

GOOD = """\
domain: app.example.com
upstream:
  url: http://127.0.0.1:3000
oidc:
  issuer: https://sso.example.com/realms/main
  client_id: app
  client_secret_file: /run/secret
"""
FILES = {"/run/secret": "hunter2\n", "/run/empty": " \n", "/run/crlf": "hunter2\r\n", "/run/inner": "hunter2\n\n"}
ENVIRONMENT = {
    "PASSPROXY_DOMAIN": "app.example.com",
    "PASSPROXY_UPSTREAM_URL": "http://127.0.0.1:3000",
    "PASSPROXY_SAML_METADATA_FILE": "/etc/idp.xml",
}


def read_file(path: str) -> str:
    if "\0" in path:
        raise ValueError("embedded null byte")
    if path == "/run/binary":
        raise UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")
    if path not in FILES:
        raise FileNotFoundError(2, "No such file or directory", path)
    return FILES[path]


def load(text: str | None = GOOD, environment: dict[str, str] | None = None) -> Settings:
    return settings_from(text, "app.yaml", environment or {}, read_file)


def problems(text: str | None = GOOD, environment: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(ConfigError) as refusal:
        load(text, environment)
    return list(refusal.value.problems)


def test_a_good_file_is_read():
    settings = load()
    assert settings.domain == "app.example.com"
    assert settings.oidc is not None
    assert settings.oidc.client_secret is not None
    assert settings.oidc.client_secret.get_secret_value() == "hunter2"


def test_five_mistakes_are_told_at_once_each_with_its_line():
    text = """\
domain: https://app.example.com
upstream:
  url: http://127.0.0.1:3000/app
  conect_timeout: 5s
session:
  lifetime: 45
saml:
  metadata_url: http://sso.example.com/metadata
"""
    assert problems(text) == [
        "app.yaml:1: domain: expected a host name such as app.example.com, without scheme, port or path",
        "app.yaml:3: upstream.url: must end after host and port: the path of each request is passed on as it is",
        "app.yaml:4: upstream.conect_timeout: unknown key; did you mean connect_timeout?",
        "app.yaml:6: session.lifetime: expected a duration such as 30s, 5m, 24h or 7d",
        "app.yaml:8: saml.metadata_url: must be https; plain http is accepted only toward a loopback address",
    ]


def test_mistakes_in_lists_and_maps_have_their_place():
    text = GOOD + "passthrough:\n  paths:\n    - /ok\n    - path: bad\n    - /ok\n    - {path: /x, metods: [GET]}\nidentity:\n  attributes:\n    mail: [x]\n"  # fmt: skip
    found = problems(text)
    assert "app.yaml:11: passthrough.paths[1].path: a path pattern starts with /" in found
    assert "app.yaml:13: passthrough.paths[3].metods: unknown key; did you mean methods?" in found
    assert any(line.startswith("app.yaml:16: identity.attributes.mail") for line in found)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param("", "expected one YAML mapping", id="an empty file"),
        pytest.param("# nothing\n", "expected one YAML mapping", id="a comment"),
        pytest.param("- a\n", "expected one YAML mapping", id="a list"),
        pytest.param("text", "expected one YAML mapping", id="a text"),
        pytest.param(GOOD + "---\n" + GOOD, "expected one YAML mapping", id="two documents"),
        pytest.param("a: [", "app.yaml:1: not valid YAML", id="half a list"),
        pytest.param("a:\n\tb: c\n", "app.yaml:2: not valid YAML", id="a tab"),
        pytest.param("a: b: c", "app.yaml:1: not valid YAML", id="two colons"),
        pytest.param("a: \x01", "app.yaml: not valid YAML", id="a control character"),
        pytest.param("x" * (FILE_LIMIT_BYTES + 1), "larger than", id="too large"),
        pytest.param("a: &x b\nc: *x\n", "app.yaml:1: anchors, aliases and tags", id="an alias"),
        pytest.param("a: b\nc: *x\n", "app.yaml:2: anchors, aliases and tags", id="an alias of nothing"),
        pytest.param("a: &x b\n", "app.yaml:1: anchors, aliases and tags", id="an anchor"),
        pytest.param("a: !!str b\n", "app.yaml:1: anchors, aliases and tags", id="a harmless tag"),
        pytest.param("a: ! b\n", "app.yaml:1: anchors, aliases and tags", id="no tag in particular"),
        pytest.param("<<: {domain: x}\n", "keys must be plain names", id="a merge key"),
        pytest.param("? [a]\n: b\n", "keys must be plain names", id="a list as a key"),
        pytest.param(GOOD + "domain: b.example.com\n", "app.yaml:8: domain: given twice", id="a key twice"),
        pytest.param(GOOD + "upstream: {url: http://127.0.0.1:1}\n", "app.yaml:8: upstream: given twice", id="a section twice"),
        pytest.param(GOOD.replace("  issuer", "  client_id: b\n  issuer"), "oidc.client_id: given twice", id="a key twice below"),
        pytest.param(GOOD + "1: 2\n", "app.yaml:8: 1: unknown key", id="a number as a key"),
        pytest.param(GOOD + "~: 2\n", "app.yaml:8: ~: unknown key", id="null as a key"),
        pytest.param(GOOD.replace("domain: app.example.com\n", ""), "domain: missing", id="no domain"),
        pytest.param(GOOD.replace("domain: app.example.com", "domain:"), "app.yaml:1: domain:", id="an empty domain"),
        pytest.param(GOOD.replace("upstream:\n  url: http://127.0.0.1:3000\n", ""), "upstream: missing", id="no upstream"),
        pytest.param(GOOD.replace("upstream:\n  url: http://127.0.0.1:3000", "upstream: http://a"), "app.yaml:2: upstream: must be a section", id="a text for a section"),
        pytest.param(GOOD.replace("  url: http://127.0.0.1:3000", "  url: [a]"), "app.yaml:3: upstream.url: must be", id="a list for a text"),
        pytest.param(GOOD + "passthroughPath: /x\n", "passthroughPath: unknown key; did you mean passthrough?", id="a key of another product"),
        pytest.param(GOOD + "session: {lifetime: 99999999}\n", "session.lifetime: expected a duration", id="a number without a unit"),
        pytest.param(GOOD + "session: {lifetime: 0s}\n", "session.lifetime: must be greater than or equal to 60", id="no lifetime"),
        pytest.param(GOOD + "session: {lifetime: 99d}\n", "session.lifetime: must be less than or equal to", id="a long lifetime"),
        pytest.param(GOOD + "session: {lifetime: true}\n", "session.lifetime:", id="a truth for a duration"),
        pytest.param(GOOD + "saml: {metadata_file: /x}\n", "oidc: given together with saml", id="two providers"),
        pytest.param(GOOD.partition("oidc")[0], "neither saml nor oidc", id="no provider"),
        pytest.param(GOOD.partition("oidc")[0] + "saml:\noidc:\n", "neither saml nor oidc", id="two providers that are empty"),
        pytest.param(GOOD.partition("oidc")[0] + "saml: {}\n", "saml: needs exactly one of", id="SAML without metadata"),
        pytest.param(GOOD.partition("oidc")[0] + "saml: {metadata_file: /x, metadata_url: https://x}\n", "saml: needs exactly one of", id="SAML with two"),
        pytest.param(GOOD.replace("client_secret_file: /run/secret", "client_secret: a\n  client_secret_file: /run/secret"), "oidc.client_secret_file: given together with client_secret", id="a secret and its file"),
        pytest.param(GOOD.replace("/run/secret", "/run/nothing"), "app.yaml:7: oidc.client_secret_file: cannot be read: No such file", id="no such file"),
        pytest.param(GOOD.replace("/run/secret", "/run/binary"), "app.yaml:7: oidc.client_secret_file: cannot be read: UnicodeDecodeError", id="a file that is no text"),
        pytest.param(GOOD.replace("/run/secret", '"/run\\0x"'), "app.yaml:7: oidc.client_secret_file: cannot be read", id="a path that is none"),
        pytest.param(GOOD.replace("/run/secret", "/run/empty"), "app.yaml:7: oidc.client_secret_file: the file is empty", id="an empty file of a secret"),
        pytest.param(GOOD + "origin: https://other.example.com:8443\n", "app.yaml:8: origin: its host is not the domain", id="another origin"),
        pytest.param(GOOD.replace("http://127.0.0.1:3000", "https://app.example.com"), "upstream.url: names the protected domain itself", id="a circle"),
        pytest.param(GOOD.replace("http://127.0.0.1:3000", "http://127.0.0.1:8123/"), "upstream.url: is the address that PassProxy listens on", id="itself"),
        pytest.param(GOOD + "passthrough: {paths: [/.passproxy/login]}\n", "passthrough.paths[0]: /.passproxy/ is PassProxy's own", id="our own pages"),
        pytest.param(GOOD + "passthrough: {paths: [/a, {path: /.passproxy/**}]}\n", "passthrough.paths[1].path: /.passproxy/ is PassProxy's own", id="our own pages, in long form"),
    ],
)  # fmt: skip
def test_a_mistake_is_told(text, problem):
    found = problems(text)
    assert any(problem in line for line in found), found
    assert all(re.match(r"app\.yaml(:\d+)?: ", line) for line in found)


@pytest.mark.parametrize("text", ["a: " + "[" * 600 + "]" * 600, "{a: " * 600 + "}" * 600, "a: " + "[" * 600])
def test_a_file_that_nests_beyond_measure_is_refused(text):
    assert problems(text)


@pytest.mark.parametrize(
    "tag", ["!!python/object/apply:os.system", "!!python/name:os.system", "!!python/module:os", "!x", "!<tag:x>"]
)
def test_cfg_02_a_tag_is_refused_before_anything_is_made_of_it(tag):
    found = problems(GOOD + f"support: {tag} [id]\n")
    assert any("anchors, aliases and tags" in line or "not valid YAML" in line for line in found)


def test_a_bomb_of_aliases_is_refused_at_once():
    bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12)
    )
    assert "anchors, aliases and tags" in problems(bomb)[0]


@pytest.mark.parametrize(
    ("value", "read_as"),
    [
        ("no", "no"),
        ("0644", "0644"),
        ("12:30:45", "12:30:45"),
        ("1e3", "1e3"),
        ("0x10", "0x10"),
        ("2024-01-01", "2024-01-01"),
        ('"~"', "~"),
    ],
)
def test_cfg_03_what_is_written_is_a_text(value, read_as):
    settings = load(GOOD.replace("client_id: app", f"client_id: {value}"))
    assert settings.oidc is not None
    assert settings.oidc.client_id == read_as


def test_a_byte_order_mark_and_windows_line_ends_are_overlooked():
    assert load("\ufeff" + GOOD.replace("\n", "\r\n")) == load()


def test_a_switch_is_written_in_words():
    for word, value in (("no", False), ("false", False), ("off", False), ("yes", True), ("true", True)):
        assert load(GOOD.replace("3000", f"3000\n  verify_tls: {word}")).upstream.verify_tls is value
    assert "upstream.verify_tls" in problems(GOOD.replace("3000", "3000\n  verify_tls: maybe"))[0]


# --- secrets ---


@pytest.mark.parametrize(
    ("path", "secret"), [("/run/secret", "hunter2"), ("/run/crlf", "hunter2"), ("/run/inner", "hunter2\n")]
)
def test_the_last_line_end_of_a_secrets_file_is_no_part_of_it(path, secret):
    settings = load(GOOD.replace("/run/secret", path))
    assert settings.oidc is not None
    assert settings.oidc.client_secret is not None
    assert settings.oidc.client_secret.get_secret_value() == secret


@pytest.mark.parametrize(
    "text",
    [
        GOOD.replace("client_secret_file: /run/secret", "client_secret: [hunter2]"),
        GOOD.replace("client_secret_file: /run/secret", "client_secret: {a: hunter2}"),
        GOOD.replace("client_secret_file: /run/secret", "client_secret: hunter2: x"),
        GOOD.replace("client_secret_file: /run/secret", "client_secret: *hunter2"),
        GOOD.replace("client_secret_file: /run/secret", "client_secret: &hunter2 x"),
        GOOD.replace("client_secret_file: /run/secret", "client_secret: !hunter2 x"),
        GOOD.replace("client_secret_file: /run/secret", "client_secret: !hunter2!x y"),
        GOOD.replace("client_secret_file: /run/secret", "client_secret: @hunter2"),
        GOOD.replace("client_secret_file: /run/secret", 'client_secret: "hunter2\\q"'),
        GOOD.replace("client_secret_file: /run/secret", "client_secret: 'hunter2"),
        GOOD.replace("client_secret_file: /run/secret", "client_secret: hunter2\n  client_secret: hunter2"),
        GOOD.replace("client_secret_file: /run/secret", "client_secret: hunter2\n  client_secret_file: /run/secret"),
        GOOD.replace("client_secret_file: /run/secret", "client_secret: hunter2\n  nonsense: hunter2"),
        GOOD.replace("upstream:", "upstream:\n  basic_auth: {username: u, password: [hunter2]}"),
        GOOD.replace("upstream:", "upstream:\n  basic_auth: {username: hunter2:x, password: hunter2}"),
        GOOD.replace("upstream:", 'upstream:\n  basic_auth: {username: "{hunter2}", password: "hunter2\\r"}'),
        GOOD + 'headers: {set: {X-A: "{hunter2}"}}\n',
        GOOD.replace("https://sso", "https://user:hunter2@sso"),
        GOOD.replace("https://sso", "https://user:hunter2#@sso"),
        GOOD.replace("https://sso", "https://user:hunter2/@sso"),
        GOOD.replace("https://sso", "https://user:hunter2\u2100@sso"),
        GOOD.replace("http://127.0.0.1:3000", "http://user:hunter2@127.0.0.1:3000"),
        GOOD.replace("http://127.0.0.1:3000", "http://user:hunter2?@127.0.0.1:3000"),
    ],
)
def test_cfg_11_no_problem_quotes_a_value_that_could_be_a_secret(text):
    assert not any("hunter2" in line for line in problems(text + "mistake: x\n"))


def test_nor_does_one_of_the_environment():
    environment = {
        "PASSPROXY_OIDC_CLIENT_SECRET": "[hunter2",
        "PASSPROXY_OIDC_ISSUER": "https://user:hunter2#@sso",
        "PASSPROXY_LISTEN": "hunter2",
        "PASSPROXY_NONSENSE": "hunter2",
        "PASSPROXY_PASSTHROUGH_PATHS": '{"hunter2": 1}',
    }
    assert not any("hunter2" in line for line in problems(None, environment))


# --- environment ---


def test_with_a_complete_environment_no_file_is_needed():
    settings = load(None, ENVIRONMENT)
    assert settings.saml is not None
    assert settings.saml.metadata_file == "/etc/idp.xml"


def test_the_environment_beats_the_file():
    settings = load(
        GOOD + "listen: 127.0.0.1:1\nlog: {level: debug}\n", {"PASSPROXY_LISTEN": "127.0.0.1:2", "PATH": "/bin"}
    )
    assert settings.listen == "127.0.0.1:2"
    assert settings.log.level == "debug"


def test_a_section_of_the_file_is_completed_by_the_environment():
    settings = load(GOOD, {"PASSPROXY_UPSTREAM_VERIFY_TLS": "false", "PASSPROXY_SESSION_LIFETIME": "1h"})
    assert (settings.upstream.url, settings.upstream.verify_tls, settings.session.lifetime) == (
        "http://127.0.0.1:3000",
        False,
        3600,
    )


def test_a_secret_of_the_environment_may_be_a_file():
    environment = {"PASSPROXY_OIDC_CLIENT_SECRET_FILE": "/run/secret"}
    text = GOOD.replace("  client_secret_file: /run/secret\n", "")
    settings = load(text, environment)
    assert settings.oidc is not None
    assert settings.oidc.client_secret is not None
    assert settings.oidc.client_secret.get_secret_value() == "hunter2"
    assert (
        "PASSPROXY_OIDC_CLIENT_SECRET_FILE: oidc.client_secret_file: cannot be read"
        in problems(text, {"PASSPROXY_OIDC_CLIENT_SECRET_FILE": "/run/nothing"})[0]
    )


@pytest.mark.parametrize(
    ("name", "value", "paths"),
    [
        ("commas", "/a, /b/**", [("/a", ("GET", "HEAD")), ("/b/**", ("GET", "HEAD"))]),
        ("JSON", '["/a", {"path": "/b", "methods": ["POST"]}]', [("/a", ("GET", "HEAD")), ("/b", ("POST",))]),
    ],
)
def test_lists_of_the_environment_are_written_with(name, value, paths):
    settings = load(GOOD, {"PASSPROXY_PASSTHROUGH_PATHS": value})
    assert [(entry.path, entry.methods) for entry in settings.passthrough.paths] == paths


@pytest.mark.parametrize("address", ["[::]:8123", "[::1]:8123", "[2001:db8::192.0.2.1]:8123"])
def test_an_ipv6_address_of_the_environment_is_no_json(address):
    assert load(GOOD, {"PASSPROXY_LISTEN": address}).listen == address


def test_maps_of_the_environment_are_json():
    settings = load(GOOD, {"PASSPROXY_IDENTITY_ATTRIBUTES": '{"email": ["work_mail"]}'})
    assert settings.identity.attributes == {"email": ("work_mail",)}


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("PASSPROXY_DOMIAN", "x", "PASSPROXY_DOMIAN: unknown variable; did you mean PASSPROXY_DOMAIN?"),
        ("PASSPROXY_", "x", "PASSPROXY_: unknown variable"),
        ("PASSPROXY_PORT", "tcp://10.0.0.1:8123", "set enableServiceLinks: false in the pod"),
        ("PASSPROXY_PORT_8123_TCP_ADDR", "10.0.0.1", "set enableServiceLinks: false in the pod"),
        ("PASSPROXY_SERVICE_HOST", "10.0.0.1", "set enableServiceLinks: false in the pod"),
        ("PASSPROXY_SERVICE_PORT_HTTP", "8123", "set enableServiceLinks: false in the pod"),
        ("PASSPROXY_upstream_url", "x", "unknown variable"),
        ("PASSPROXY_UPSTREAM", '{"url": "http://127.0.0.1"}', "PASSPROXY_UPSTREAM: unknown variable"),
        ("PASSPROXY_DOMAIN", "", "PASSPROXY_DOMAIN: domain: expected a host name"),
        ("PASSPROXY_DOMAIN", "a b", "PASSPROXY_DOMAIN: domain: expected a host name"),
        ("PASSPROXY_STATE_DIR", "", "PASSPROXY_STATE_DIR: state_dir: must not be empty"),
        ("PASSPROXY_OIDC_CLIENT_SECRET", "", "must not be empty"),
        ("PASSPROXY_PASSTHROUGH_PATHS", "", "PASSPROXY_PASSTHROUGH_PATHS: passthrough.paths"),
        (
            "PASSPROXY_PASSTHROUGH_PATHS",
            "[/a",
            "PASSPROXY_PASSTHROUGH_PATHS: passthrough.paths: starts like JSON but is none",
        ),
        ("PASSPROXY_SESSION_LIFETIME", "60", "PASSPROXY_SESSION_LIFETIME: session.lifetime: expected a duration"),
        ("PASSPROXY_TRUSTED_PROXIES", "10.0.0.0/8,", "PASSPROXY_TRUSTED_PROXIES: trusted_proxies: not an address"),
    ],
)
def test_cfg_06_a_mistake_of_the_environment_is_told_by_its_name(name, value, problem):
    text = GOOD.replace("  client_secret_file: /run/secret\n", "")
    assert any(problem in line for line in problems(text, {name: value}))


def test_a_mistake_in_a_list_of_the_environment_is_not_looked_for_in_the_file():
    text = GOOD + "passthrough:\n  paths: [/ok]\n"
    found = problems(text, {"PASSPROXY_PASSTHROUGH_PATHS": '["bad"]'})
    assert found == ["PASSPROXY_PASSTHROUGH_PATHS: passthrough.paths[0]: a path pattern starts with /"]


def test_cfg_13_our_own_pages_cannot_be_made_public_by_the_environment_either():
    found = problems(GOOD, {"PASSPROXY_PASSTHROUGH_PATHS": "/ok, /.passproxy/**"})
    assert any("is PassProxy's own" in line for line in found)


def test_a_secret_of_the_environment_loses_its_last_line_end():
    text = GOOD.replace("  client_secret_file: /run/secret\n", "")
    settings = load(text, {"PASSPROXY_OIDC_CLIENT_SECRET": "hunter2\n"})
    assert settings.oidc is not None
    assert settings.oidc.client_secret is not None
    assert settings.oidc.client_secret.get_secret_value() == "hunter2"


def test_a_template_of_the_environment_is_no_json():
    settings = load(
        GOOD,
        {
            "PASSPROXY_UPSTREAM_BASIC_AUTH_USERNAME": "{user}",
            "PASSPROXY_UPSTREAM_BASIC_AUTH_PASSWORD_FILE": "/run/secret",
            "PASSPROXY_HEADERS_SET": '{"X-WEBAUTH-USER": "{email}", "X-Braces": "{{"}',
        },
    )
    assert settings.upstream.basic_auth is not None
    assert settings.upstream.basic_auth.username == "{user}"
    assert settings.upstream.basic_auth.password is not None
    assert settings.upstream.basic_auth.password.get_secret_value() == "hunter2"
    assert settings.headers.set == {"X-WEBAUTH-USER": "{email}", "X-Braces": "{{"}
    assert load(GOOD, {"PASSPROXY_HEADERS_SET": " {} "}).headers.set == {}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "headers: {set: {X-A: {email}}}\n",
            "headers.set.X-A: a template that begins with a brace is written in quotes",
        ),
        ('headers: {set: {X-A: "{emial}"}}\n', "headers.set.X-A: an unknown placeholder; did you mean {email}?"),
        ('headers: {set: {Host: "{email}"}}\n', "headers.set.Host: this header has a meaning of its own"),
        ('headers: {set: {X-Passproxy-Me: "a"}}\n', "headers.set.X-Passproxy-Me: names that begin with X-Passproxy-"),
        ('headers: {set: {X-A: "1", x_a: "2"}}\n', "headers: x_a is said by X-A as well"),
        (
            'headers: {profile: vouch, set: {x-vouch-user: "1"}}\n',
            "headers: x-vouch-user is said by the profile vouch as well",
        ),
        (
            "headers: {profile: x-auth}\nassertion: {header: X-Auth-Name}\n",
            "assertion.header is one of the identity headers",
        ),
        ('headers: {set: {X-A: "1"}}\nassertion: {header: X-a}\n', "assertion.header is one of the identity headers"),
        ("assertion: {header: X-Forwarded-For}\n", "assertion.header: this header has a meaning of its own"),
    ],
)
def test_hdr_25_a_header_that_cannot_be_is_told_by_its_key(text, problem):
    assert any(problem in line for line in problems(GOOD + text)), problems(GOOD + text)


def test_every_variable_stands_for_one_key():
    known = variables()
    assert known["PASSPROXY_UPSTREAM_URL"] == ("upstream", "url")
    assert known["PASSPROXY_OIDC_CLIENT_SECRET_FILE"] == ("oidc", "client_secret_file")
    assert known["PASSPROXY_IDENTITY_GROUPS_STRIP_PREFIX"] == ("identity", "groups", "strip_prefix")
    assert len(set(known.values())) == len(known)
    assert not any(name.endswith("_FILE_FILE") for name in known)


# --- origins ---


@pytest.mark.parametrize(
    ("domain", "origin", "text"),
    [
        ("app.example.com", None, "https://app.example.com"),
        ("app.example.com", "https://app.example.com", "https://app.example.com"),
        ("app.example.com", "https://app.example.com:443/", "https://app.example.com"),
        ("app.example.com", "https://app.example.com:8443", "https://app.example.com:8443"),
        ("app.example.com", "https://APP.example.com", "https://app.example.com"),
        ("app.example.com", "HTTPS://app.example.com", "https://app.example.com"),
        ("app.example.com", "HTTPS://app.example.com:8443", "https://app.example.com:8443"),
        ("localhost", "http://localhost:8080", "http://localhost:8080"),
        ("127.0.0.1", "http://127.0.0.1", "http://127.0.0.1"),
        ("::1", "http://[::1]:8080", "http://[::1]:8080"),
        ("::1", "http://[::1]", "http://[::1]"),
        ("::1", None, "https://[::1]"),
    ],
)
def test_the_origin_of_a_configuration_is(domain, origin, text):
    settings = load(GOOD.replace("app.example.com", f'"{domain}"') + (f'origin: "{origin}"\n' if origin else ""))
    found = Origin.of(settings.domain, settings.origin)
    assert str(found) == text
    assert found.is_secure is text.startswith("https:")


@pytest.mark.parametrize(
    "origin",
    ["https://app.example.com:", "https://app.example.com:0", "https://app.example.com?", "https://app.example.com#"],
)
def test_an_origin_that_no_browser_has_is_refused(origin):
    assert any("origin" in line for line in problems(GOOD + f'origin: "{origin}"\n'))


# --- anything at all ---

_SCALARS = st.sampled_from(
    ["", "x", "5m", "no", "[]", "{}", "[a, b]", "{a: b}", "~", "'", '"', "- a", "https://x", "\u2028", "&a b", "!t"]
)
_KEYS = st.sampled_from(
    [*Settings.model_fields, "url", "issuer", "client_secret_file", "paths", "nonsense", "1", "? a"]
)


@examples(150)
@given(st.lists(st.tuples(st.integers(0, 2), _KEYS, _SCALARS), max_size=6))
def test_any_text_is_settings_or_a_list_of_problems(lines):
    text = "".join(f"{'  ' * depth}{key}: {value}\n" for depth, key, value in lines)
    try:
        load(text)
    except ConfigError as error:
        found = error.problems
    else:
        return
    assert found
    assert all(line.startswith("app.yaml") for line in found)


#: What people write where they mean none, or something else.
ODD_VALUES = ("~", "off", "on", "''", "[]", "{}", "[~]", "{a: b}", "-1", "0", "99999999999999999999", "1e400", "x")


@pytest.mark.parametrize("name", sorted(variables()))
@pytest.mark.parametrize("value", ODD_VALUES)
def test_cfg_03_whatever_a_key_is_given_is_a_setting_or_a_problem(name, value):
    *sections, key = (str(part) for part in variables()[name])
    text = "".join(f"{'  ' * depth}{part}:\n" for depth, part in enumerate(sections))
    with contextlib.suppress(ConfigError):  # and nothing else
        load(f"{text}{'  ' * len(sections)}{key}: {value}\n", ENVIRONMENT)


def test_a_check_may_be_turned_off():
    assert load(GOOD + "session: {refresh: off}\n").session.refresh is None
    assert load(GOOD + "session: {refresh: 5s}\n").session.refresh == 5


@pytest.mark.parametrize(
    ("written", "target"), [("off", None), ("stderr", "stderr"), ("file:/var/log/a.jsonl", "file:/var/log/a.jsonl")]
)
def test_where_the_audit_log_goes(written, target):
    assert load(GOOD + f"log: {{audit: '{written}'}}\n").log.audit == target


@pytest.mark.parametrize("written", ["on", "/var/log/a.jsonl", "file:a.jsonl", "stdout", "file:", ""])
def test_an_audit_log_that_is_nowhere_is_refused(written):
    assert any("log.audit" in problem for problem in problems(GOOD + f"log: {{audit: '{written}'}}\n"))


@pytest.mark.parametrize("listen", ["9123", ":9123", "*:9123", "unix:admin.sock"])
def test_an_admin_listener_is_written_out(listen):
    assert any("admin.listen" in problem for problem in problems(GOOD + f"admin: {{listen: '{listen}'}}\n"))
