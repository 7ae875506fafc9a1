"""A configuration of PassBeyond goes on with PassProxy: whole, checked, and served against a real provider."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from passproxy.cli.importers.draft import Draft
from passproxy.cli.importers.passbeyond import translated
from tests.fakes.browser import Browser
from tests.fakes.gateway import HOST, ORIGIN, demo_idp, get, protecting
from tests.fakes.raw import Raw
from tests.fakes.upstream import Upstream

GRAFANA = """\
domain: grafana.example.com
idpMetadataURL: https://adfs.example.com/FederationMetadata/2007-06/FederationMetadata.xml
proxy:
  listenAddress: ":8123"
  targetURL: http://127.0.0.1:3000
sessionTimeout: 1440
passthroughPaths: [/api/health, /public/*]
"""


def draft(more: str = "", without: str = "\0") -> Draft:
    kept = "".join(line for line in GRAFANA.splitlines(True) if without not in line)
    return translated([kept + more], None, "/etc/passproxy")


def kinds(made: Draft, option: str) -> list[str]:
    return [note.kind for note in made.notes if note.option == option]


def test_the_example_of_an_article_is_translated_whole() -> None:
    made = draft()
    assert made.problems(str) == []
    data = yaml.safe_load(made.text())
    assert data.pop("headers") == {"profile": "passbeyond"}
    assert data == {
        "domain": "grafana.example.com",
        "listen": "127.0.0.1:8123",
        "upstream": {"url": "http://127.0.0.1:3000"},
        "saml": {"metadata_url": "https://adfs.example.com/FederationMetadata/2007-06/FederationMetadata.xml"},
        "session": {"lifetime": "24h"},
        "passthrough": {"paths": ["/api/health", "/public/*"]},
    }
    assert kinds(made, "proxy.listenAddress") == ["changed"]
    assert kinds(made, "identity provider") == ["changed"]


async def test_it_serves_with_a_real_saml_provider(upstream: Upstream, tmp_path: Path) -> None:
    async with demo_idp() as idp:
        text = GRAFANA.replace("grafana.example.com", HOST)
        text = text.replace(
            "https://adfs.example.com/FederationMetadata/2007-06/FederationMetadata.xml", idp.metadata_url
        )
        sections: dict[str, Any] = yaml.safe_load(translated([text], None, str(tmp_path)).text())
        for given_by_the_test in ("domain", "listen"):
            del sections[given_by_the_test]
        del sections["upstream"]["url"]
        async with protecting(upstream.url, tmp_path, **sections) as passproxy, Browser(passproxy.front) as browser:
            page = await browser.sign_in(await browser.open(f"{ORIGIN}/d/dashboard?x=1"), "alice", "alice")
            assert (page.status, page.url) == (200, f"{ORIGIN}/d/dashboard?x=1")
            seen = upstream.requests[-1]
            assert seen.one(b"x-passbeyond-email") == b"alice@example.com"
            assert seen.all(b"x-passproxy-email") == []
            async with Raw(passproxy.address) as raw:
                for target, status in (("/api/health", 200), ("/public/app.js", 200), ("/public/a/b", 401)):
                    assert (await raw.ask(get(target))).status == status


@pytest.mark.parametrize(
    ("more", "key", "value"),
    [
        ("samlRequestSigning: true\n", "saml.sign_requests", True),
        ("supportURL: https://help.example.com\n", "support.url", "https://help.example.com"),
        ("footer: Example Corp\n", "support.footer", "Example Corp"),
    ],
)
def test_what_has_an_equal_is_kept(more: str, key: str, value: Any) -> None:
    made = draft(more)
    assert made.values[key] == value
    assert made.problems(str) == []


@pytest.mark.parametrize(
    ("below_proxy", "key", "value"),
    [
        ("  stripVersionHeaders: false\n", "upstream.strip_version_headers", False),
        ("  targetDisableSSLVerify: true\n", "upstream.verify_tls", False),
    ],
)
def test_what_has_an_equal_below_proxy_is_kept(below_proxy: str, key: str, value: Any) -> None:
    made = translated([GRAFANA.replace("proxy:\n", "proxy:\n" + below_proxy)], None, "/etc")
    assert made.values[key] == value
    assert made.problems(str) == []


def test_unverified_tls_is_kept_and_not_quietly() -> None:
    made = translated([GRAFANA.replace("proxy:\n", "proxy:\n  targetDisableSSLVerify: true\n")], None, "/etc")
    assert kinds(made, "proxy.targetDisableSSLVerify") == ["decide"]


@pytest.mark.parametrize(
    ("minutes", "lifetime"), [("60", "1h"), ("0", "24h"), ("x", "24h"), ("99999999", "31d"), ("-5", "24h")]
)
def test_a_timeout_in_minutes_becomes_a_duration_within_bounds(minutes: str, lifetime: str) -> None:
    made = draft(f"sessionTimeout: {minutes}\n", without="sessionTimeout")
    assert made.values["session.lifetime"] == lifetime
    assert bool(kinds(made, "sessionTimeout")) == (minutes != "60")


def test_tokens_are_counted_and_never_shown() -> None:
    made = draft("passthroughTokens: [s3cr3t-one, s3cr3t-two]\nsomethingElse: s3cr3t-three\n")
    assert kinds(made, "passthroughTokens") == ["decide"]
    assert kinds(made, "somethingElse") == ["no equal"]
    assert "s3cr3t" not in made.text() + repr(made)


def test_metadata_over_plain_http_is_not_trusted() -> None:
    made = draft("idpMetadataURL: http://adfs.example.com/metadata.xml\n", without="idpMetadataURL")
    assert made.values["saml.metadata_file"] == "/etc/passproxy/grafana.idp.xml"
    assert kinds(made, "idpMetadataURL") == ["decide"]
    assert made.problems(str) == []


def test_paths_that_are_no_patterns_are_left_out_and_said() -> None:
    made = draft('passthroughPaths: [/ok, "^/x.*$", "/**"]\n', without="passthroughPaths")
    assert made.values["passthrough.paths"] == ["/ok"]
    assert kinds(made, "passthroughPaths[1]") == kinds(made, "passthroughPaths[2]") == ["no equal"]


@pytest.mark.parametrize("text", ["{}", "domain: a.example.com\n", "proxy: {targetURL: http://127.0.0.1:3000/app/}\n"])
def test_what_is_missing_is_to_be_decided_and_the_rest_is_a_configuration(text: str) -> None:
    made = translated([text], None, "/etc/passproxy")
    assert made.problems(str) == []
    assert any(note.kind == "decide" for note in made.notes)


@pytest.mark.parametrize("text", ["", "- a\n", "text"])
def test_what_is_no_mapping_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a YAML mapping"):
        translated([text], None, "/etc")
