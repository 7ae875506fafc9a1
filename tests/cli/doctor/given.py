"""What the tests of the doctor start from: settings of a whole configuration, and findings by their name."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from passproxy.cli.doctor.report import Finding
from passproxy.core.config import settings_from
from passproxy.core.settings import Settings
from passproxy.core.urls import Origin
from tests.fakes.gateway import HOST, NO_IDP


def settings(**sections: Any) -> Settings:
    provider = {} if {"oidc", "saml"} & sections.keys() else NO_IDP
    facts = {"domain": HOST, "upstream": {"url": "http://127.0.0.1:9"}, **provider, **sections}
    return settings_from(json.dumps(facts), "test.yaml", {}, lambda path: Path(path).read_text("utf-8"))


def origin_at(configured: Settings) -> Origin:
    return Origin.of(configured.domain, configured.origin)


def results(findings: Iterable[Finding]) -> dict[str, str]:
    return {finding.check: finding.result for finding in findings}


def text_of(findings: Iterable[Finding], check: str) -> str:
    """Sentences and hints of one check."""
    return " ".join(f"{each.text} {each.hint}" for each in findings if each.check == check)
