"""What `passproxy doctor` finds out about a provider that others wrote, of a good configuration and of wrong ones."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import yaml

from passproxy.cli.doctor.provider import provider
from passproxy.core.config import settings_from
from passproxy.core.urls import Origin
from tests.interop.visit import Visit


async def examined(visit: Visit) -> None:
    """Nothing is wrong with the installation, and each mistake is found."""
    good = yaml.safe_load(visit.file.read_text("utf-8"))
    found = await _results(good)
    assert found["login"] == "ok", found
    assert "failed" not in found.values(), found
    for name, wrong, check in _mistakes(visit, good):
        found = await _results(wrong)
        assert found[check] == "failed", f"{name}: {found}"


def _mistakes(visit: Visit, good: dict[str, Any]) -> list[tuple[str, dict[str, Any], str]]:
    protocol, section = visit.case.protocol, good[visit.case.protocol]
    moved = {**good, "domain": "elsewhere.example.com"}
    moved.pop("origin", None)
    if protocol == "saml":
        named = {**section, "entity_id": section.get("entity_id", visit.case.stand.url("saml/metadata"))}
        return [
            ("another entity id", {**good, "saml": {**section, "entity_id": "urn:nobody"}}, "login"),
            ("another address", {**moved, "saml": named}, "login"),
        ]
    mistakes = [
        ("another client", {**good, "oidc": {**section, "client_id": "nobody"}}, "login"),
        ("another address", moved, "login"),
    ]
    if "client_secret" in section:
        wrong = {**section, "client_secret": "not-the-secret-of-this-client"}
        mistakes.append(("another secret", {**good, "oidc": wrong}, "client"))
    return mistakes


async def _results(configuration: dict[str, Any]) -> dict[str, str]:
    text = yaml.safe_dump(configuration)
    settings = settings_from(text, "interop", {}, lambda path: Path(path).read_text("utf-8"))
    found = await provider(settings, Origin.of(settings.domain, settings.origin), time.time)
    return {finding.check: finding.result for finding in found}
