"""The largest cookies and headers, as `check` computes them: no real ones are larger."""

from __future__ import annotations

import json
import string
import time
from typing import Any

from passproxy.cli.sizes import advice, sizes
from passproxy.core import rescue
from passproxy.core.config import settings_from
from passproxy.core.cookies import LOGIN_COOKIES_LIMIT_BYTES, VALUE_LIMIT_BYTES, CookieNames, cookie_names
from passproxy.core.http1 import HEAD_LIMIT_BYTES
from passproxy.core.identity import ALIASES, VALUE_LIMIT_CHARACTERS, Identity
from passproxy.core.identity_headers import IdentityHeaders
from passproxy.core.session import TOKEN_BUDGET_BYTES
from passproxy.core.settings import Settings
from passproxy.core.urls import Origin
from tests.core.given import ALICE, RING

ORIGIN = Origin.of("app.example.com", None)


def settings(**sections: Any) -> Settings:
    provider = {"oidc": {"issuer": "https://sso.example.com", "client_id": "app"}}
    whole = {"domain": "app.example.com", "upstream": {"url": "http://127.0.0.1:3000"}, **provider, **sections}
    return settings_from(json.dumps(whole), "app.yaml", {}, str)


def names(cookie_name: str | None = None) -> CookieNames:
    return cookie_names(cookie_name, ORIGIN)


def test_no_cookies_are_longer_than_the_worst_case() -> None:
    token = (string.ascii_letters * 300)[:TOKEN_BUDGET_BYTES]
    cookies = names().parts(token) | {
        names().kept: "k" * VALUE_LIMIT_BYTES,
        names().who: rescue.who(RING, ALICE),
        names().loop: "l" * 200,
    }
    line = "Cookie: " + "; ".join(f"{name}={value}" for name, value in cookies.items()) + "; "
    worst = sizes(settings(), names()).cookie_line
    assert len(line) + LOGIN_COOKIES_LIMIT_BYTES <= worst <= len(line) + LOGIN_COOKIES_LIMIT_BYTES + 500


def test_everything_of_ours_fits_one_head() -> None:
    assert sizes(settings(), names()).cookie_line < HEAD_LIMIT_BYTES
    assert sizes(settings(), names("x" * 64)).cookie_line < HEAD_LIMIT_BYTES


def test_headers_are_bounded_where_the_configuration_names_the_groups() -> None:
    bounded = settings(access={"require_any_group": ["staff", "ops"]}, headers={"size_limit": "64KiB"})
    attributes = {name: "x" * VALUE_LIMIT_CHARACTERS for name in [*ALIASES, "user"] if name not in ("groups", "login")}
    identity = Identity("https://idp", "s" * VALUE_LIMIT_CHARACTERS, attributes, ("staff", "ops"), 0)
    found = sizes(bounded, names())
    lines = len(IdentityHeaders().lines(identity, int(time.time())))
    assert lines <= found.identity <= lines + 500
    assert found.groups_are_bounded


def test_headers_are_no_larger_than_whoever_has_more_is_let_in() -> None:
    assert sizes(settings(), names()).identity == 8192
    assert sizes(settings(headers={"size_limit": "2KiB"}), names()).identity == 2048


def test_advice_names_what_to_set_in_front_and_here() -> None:
    said = "\n".join(advice(sizes(settings(), names())))
    assert "large_client_header_buffers 1 30k;" in said
    assert "LimitRequestFieldSize 30720" in said
    assert "identity.groups.include" in said
    bounded = settings(access={"require_any_group": ["staff"]})
    assert "identity.groups.include" not in "\n".join(advice(sizes(bounded, names())))
