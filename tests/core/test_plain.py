"""Settings that went through a pipe are the same to whoever reads them, and show no secret."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, SecretStr

from passproxy.core.config import settings_from
from passproxy.core.plain import Secret, Section, settings_from_plain, written
from passproxy.core.settings import Settings

EXAMPLE = Path(__file__).resolve().parents[2] / "etc" / "passproxy" / "example.yaml"

FULL = """\
domain: app.example.com
upstream:
  url: "http://127.0.0.1:3000"
  idle_timeout: 3m
  basic_auth: {username: "{user}", password: correct-horse-battery}
headers: {set: {X-WEBAUTH-USER: "{email}", X-Secret: "x"}}
oidc:
  issuer: https://sso.example.com
  client_id: app
  client_secret: correct-horse-battery
  scopes: [openid]
session: {refresh: off, not_before: 2026-03-01T08:00:00Z}
identity: {attributes: {email: [mail, "urn:oid:1"], groups: [memberOf]}}
passthrough: {paths: [/health, {path: /hook, methods: [POST]}]}
"""


def same(model: Any, plain: Any) -> bool:
    """Whether each value that the model has is what the plain one has under the same name."""
    if isinstance(model, BaseModel):
        names = type(model).model_fields
        return plain.model_fields_set == model.model_fields_set and all(
            same(getattr(model, name), getattr(plain, name)) for name in names
        )
    if isinstance(model, SecretStr):
        return bool(plain.get_secret_value() == model.get_secret_value())
    if isinstance(model, tuple):
        return len(model) == len(plain) and all(map(same, model, plain))
    return bool(model == plain and type(model) is type(plain))


def given(text: str) -> Settings:
    return settings_from(text, "app.yaml", {}, lambda path: "from-a-file")


@pytest.mark.parametrize("text", [FULL, EXAMPLE.read_text("utf-8")], ids=["every kind of value", "the example"])
def test_every_value_arrives(text):
    settings = given(text)
    assert same(settings, settings_from_plain(written(settings)))


def test_the_document_is_json_and_nothing_is_executed_from_it():
    assert json.loads(written(given(FULL)))["section"]["domain"] == "app.example.com"


def test_no_representation_shows_a_secret():
    plain = settings_from_plain(written(given(FULL)))
    assert "correct-horse-battery" not in repr(plain) + str(plain)
    assert "correct-horse-battery" not in repr(Secret("correct-horse-battery"))


def test_a_section_does_not_change_and_has_no_other_names():
    section = Section({"url": "x"}, frozenset())
    with pytest.raises(AttributeError):
        section.url = "y"
    with pytest.raises(AttributeError):
        _ = section.ulr
