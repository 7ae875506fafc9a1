"""The table of tests/data/policy_cases.yaml: configurations, requests, and who may make them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from passproxy.core.config import settings_from
from passproxy.core.settings import Settings

TABLE = Path(__file__).resolve().parents[1] / "data" / "policy_cases.yaml"

BASIS = {
    "domain": "app.example.com",
    "upstream": {"url": "http://127.0.0.1:3000"},
    "oidc": {"issuer": "https://sso.example.com", "client_id": "app", "client_secret": "s3cret"},
}


@dataclass(frozen=True)
class Case:
    """`peer` is the address of the client, "" when none is known; `rule` may be the code of an error."""

    configuration: str
    is_signed_in: bool
    groups: tuple[str, ...]
    attributes: dict[str, str] = field(hash=False)
    peer: str
    method: str
    target: str
    verdict: str
    rule: str

    def __str__(self) -> str:
        who = "+".join((*self.groups, *map("=".join, self.attributes.items()))) if self.is_signed_in else "nobody"
        return f"{self.configuration}: {who} {self.method} {self.target} {self.peer}"


@cache
def _table() -> dict[str, Any]:
    return dict(yaml.safe_load(TABLE.read_text("utf-8")))


def configurations() -> dict[str, dict[str, Any]]:
    return dict(_table()["configurations"])


@cache
def settings_of(configuration: str) -> Settings:
    data = {**BASIS, **configurations()[configuration]}
    return settings_from(json.dumps(data), "test.yaml", {}, lambda path: "")


def cases() -> list[Case]:
    return [_case(configuration, line) for configuration, lines in _table()["cases"].items() for line in lines]


def _case(configuration: str, line: str) -> Case:
    asked, _, expected = line.partition(" -> ")
    verdict, _, rule = expected.partition(" ")
    who, *words = asked.split(" ")
    peer = words.pop(1) if words[0] == "from" else "198.51.100.1"
    method, target = words[-2:]
    named = [] if who in ("nobody", "plain") else who.replace("_", " ").split("+")
    attributes = dict(each.split("=") for each in named if "=" in each)
    groups = tuple(each for each in named if "=" not in each)
    peer = "" if peer == "nowhere" else peer
    return Case(configuration, who != "nobody", groups, attributes, peer, method, target, verdict, rule)
