"""Rows CFG of the catalogue: whatever could let somebody in by a slip of the pen is no configuration."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from passproxy.core.config import settings_from
from passproxy.core.errors import ConfigError
from passproxy.core.settings import Settings

GOOD = "domain: app.example.com\nupstream:\n  url: http://127.0.0.1:3000\nsaml:\n  metadata_file: /etc/idp.xml\n"


def load(text: str | None, environment: dict[str, str] | None = None) -> Settings:
    return settings_from(text, "app.yaml", environment or {}, lambda path: Path(path).read_text())


def refusals(text: str | None, environment: dict[str, str] | None = None) -> str:
    with pytest.raises(ConfigError) as refusal:
        load(text, environment)
    return "\n".join(refusal.value.problems)


def test_the_good_one_is_one():
    assert load(GOOD).passthrough.paths == ()


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("passthroughPath: [/x]\n", "app.yaml:6: passthroughPath: unknown key; did you mean passthrough?"),
        ("passthrough: {path: [/x]}\n", "passthrough.path: unknown key; did you mean paths?"),
        ("passthrough: [/x]\n", "passthrough: must be a section"),
        ("session: 24h\n", "session: must be a section"),
        ("listen: [127.0.0.1:8123]\n", "listen: must be"),
        ("---\ndomain: b.example.com\n", "expected one YAML mapping"),
        ("\tsession: {}\n", "not valid YAML"),
        ("domain: b.example.com\n", "domain: given twice"),
    ],
)
def test_cfg_01_a_slip_is_refused_with_its_place(text, names):
    assert names in refusals(GOOD + text)


@pytest.mark.parametrize("text", ["", "\n", "{}", "[]", "null", "domain: app.example.com\n"])
def test_cfg_01_too_little_is_refused(text):
    assert refusals(text)


@pytest.mark.parametrize(
    "payload",
    [
        '!!python/object/apply:os.system ["touch {marker}"]',
        "!!python/object/new:os.system [touch {marker}]",
        '!!python/object/apply:subprocess.check_output [["touch", "{marker}"]]',
        "!!python/name:os.system",
        "!!python/module:os",
    ],
)
def test_cfg_02_no_object_is_made_of_a_text(tmp_path, payload):
    marker = tmp_path / "marker"
    assert refusals(GOOD + "support: " + payload.format(marker=marker) + "\n")
    assert refusals(payload.format(marker=marker))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "lifetime",
    ["0", "-1", "99999999", '"1440"', "1.5", "true", "1440", "0s", "59s", "32d", "", "[]", "~", "1e9h", ".inf"],
)
def test_cfg_04_a_lifetime_out_of_bounds_is_refused(lifetime):
    assert "session.lifetime" in refusals(GOOD + f"session: {{lifetime: {lifetime}}}\n")


@pytest.mark.parametrize(
    "text",
    [
        'identity: {groups: {include: [""]}}\n',
        "identity: {groups: {include: [~]}}\n",
        'identity: {groups: {include: " "}}\n',
        'passthrough: {paths: [""]}\n',
        "passthrough: {paths: [~]}\n",
        "passthrough: {paths: ~}\n",
        'trusted_proxies: [""]\n',
        'trusted_proxies: ["*"]\n',
        "trusted_proxies: ~\n",
    ],
)
def test_cfg_05_nothing_does_not_mean_everything(text):
    assert refusals(GOOD + text)


def test_cfg_05_an_empty_list_is_empty():
    settings = load(GOOD + "trusted_proxies: []\npassthrough: {paths: []}\n")
    assert settings.trusted_proxies == ()
    assert settings.passthrough.paths == ()


@pytest.mark.parametrize(
    "path",
    [
        "",
        "*",
        ".*",
        "/public/.*/x?",
        "/public/[^/]+",
        "/public ",
        "/pub%6cic",
        "/public%2f",
        "/*",
        "/**",
        "/*/**",
        "/**/*",
        "/**/**",
    ],
)
def test_path_21_a_pattern_that_opens_too_much_or_never_matches_is_refused(path):
    assert "passthrough.paths[0]" in refusals(GOOD + f'passthrough: {{paths: ["{path}"]}}\n')


@pytest.mark.parametrize(
    "text",
    [
        "strict: false\n",
        "debug: true\n",
        "log: {level: trace}\n",
        "oidc: {verify: false}\n",
        "saml: {want_assertions_signed: false}\n",
        "session: {secret: x}\n",
        "skip_auth_regex: .*\n",
    ],
)
def test_cfg_10_the_dangerous_switches_of_other_products_do_not_exist(text):
    assert refusals(
        (GOOD + text)
        if not text.startswith("saml")
        else GOOD.replace("saml:\n", "saml:\n  want_assertions_signed: false\n")
    )


@pytest.mark.parametrize(
    "url",
    ["http://sso.example.com/metadata", "http://10.0.0.1/metadata", "ftp://sso.example.com/", "file:///etc/passwd"],
)
def test_cfg_10_who_decides_about_trust_is_not_asked_over_plain_http(url):
    assert "metadata_url" in refusals(GOOD.replace("metadata_file: /etc/idp.xml", f"metadata_url: {url}"))


@pytest.mark.parametrize(
    "entry",
    [
        "/.passproxy",
        "/.passproxy/",
        "/.passproxy/**",
        "/.passproxy/saml/acs",
        "{path: /.passproxy/login, methods: [GET]}",
    ],
)
def test_cfg_13_our_own_pages_cannot_be_made_public(entry):
    assert "PassProxy's own" in refusals(GOOD + f"passthrough: {{paths: [{entry}]}}\n")


@pytest.mark.parametrize(
    "value", ["/.passproxy/**", "/ok, /.passproxy/login", '["/.passproxy/x"]', '[{"path": "/.passproxy/x"}]']
)
def test_cfg_13_nor_by_the_environment(value):
    assert "PassProxy's own" in refusals(GOOD, {"PASSPROXY_PASSTHROUGH_PATHS": value})


@pytest.mark.parametrize("listen", [":8123", "8123", "*:8123", ""])
def test_cfg_14_every_interface_is_written_out(listen):
    assert "listen" in refusals(GOOD + f'listen: "{listen}"\n')
    assert load(GOOD).listen.startswith("127.0.0.1:")


@pytest.mark.parametrize("domain", ["../../etc/x", "a/b", "..", "a%b", "a\\0b", "grafana.example.com/../x"])
def test_cfg_15_a_domain_is_no_path(domain):
    """It names the folder of the state."""
    assert "domain" in refusals(GOOD.replace("app.example.com", f'"{domain}"'))
