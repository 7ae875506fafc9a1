"""
Row CFG-16: no configuration that is shipped for a web server opens what PassProxy closes.

Here the files are read; e2e/test_front_ends.py starts the servers with them.
Traefik is not in Debian, so of its files the form is all that is tested.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from passproxy.cli.nginx import COOKIES_LIMIT_BYTES, LINE_KIB
from passproxy.core.cookies import COOKIE_LIMIT_BYTES
from passproxy.core.http1 import HEAD_LIMIT_BYTES
from passproxy.core.settings import UpstreamSettings
from passproxy.web.connection import KEEP_ALIVE_SECONDS

ETC = Path(__file__).parents[2] / "etc"

FILES = {
    "nginx": ETC / "nginx" / "passproxy.conf",
    "Apache": ETC / "apache" / "passproxy.conf",
    "Caddy": ETC / "caddy" / "Caddyfile",
    "HAProxy": ETC / "haproxy" / "passproxy.cfg",
    "Traefik": ETC / "traefik" / "passproxy.yaml",
}

#: How each server is told to send no field of this name to PassProxy.
CLEARED = {
    "nginx": 'proxy_set_header {} "";',
    "Apache": "RequestHeader unset {} early",
    "Caddy": "header_up -{}",
    "HAProxy": "http-request del-header {}",
    "Traefik": '{}: ""',
}

#: What applications obey, and no web server says by itself.
OBEYED = (
    "Forwarded",
    "Proxy",
    "Remote-User",
    "X-Forwarded-Method",
    "X-Forwarded-Prefix",
    "X-Forwarded-Uri",
    "X-Forwarded-User",
    "X-Original-Method",
    "X-Original-URL",
    "X-Rewrite-URL",
)


def directives(server: str) -> str:
    """Without its comments."""
    return re.sub(r"^\s*#.*$|\s#\s.*$", "", FILES[server].read_text("utf-8"), flags=re.MULTILINE)


def number(server: str, pattern: str) -> int:
    found = {int(each) for each in re.findall(pattern, directives(server))}
    assert len(found) == 1, f"{server}: {pattern} finds {found}"
    return found.pop()


@pytest.mark.parametrize("name", OBEYED)
@pytest.mark.parametrize("server", FILES)
def test_cfg_16_no_web_server_passes_on_what_applications_obey(server: str, name: str):
    assert CLEARED[server].format(name) in directives(server)


@pytest.mark.parametrize("server", FILES)
def test_cfg_16_no_web_server_believes_a_client_about_itself(server: str):
    assert not re.search(
        r"insecure|trusted_proxies|0\.0\.0\.0/0|forwardfor|proxy_add_x_forwarded_for", directives(server)
    )


@pytest.mark.parametrize("server", FILES)
def test_cfg_16_no_web_server_judges_paths_or_lets_anybody_past(server: str):
    """The one destination is PassProxy; a second would be a way past it."""
    assert set(re.findall(r"127\.0\.0\.1:\d+", directives(server))) == {"127.0.0.1:8123"}
    assert not re.search(r"auth_request|forward_auth|Satisfy|basicauth", directives(server), re.IGNORECASE)


@pytest.mark.parametrize(
    "directive",
    [
        "underscores_in_headers off;",
        "ignore_invalid_headers on;",
        "merge_slashes off;",
        "proxy_request_buffering off;",
        "proxy_buffering off;",
        "proxy_http_version 1.1;",
        "http2 on;",
        "proxy_set_header Host $host;",
        "proxy_set_header X-Forwarded-For $remote_addr;",
        "proxy_set_header X-Forwarded-Host $host;",
        "proxy_set_header X-Forwarded-Proto $scheme;",
        "proxy_set_header Connection $passproxy_connection;",
        "map $http_upgrade $passproxy_connection {",
        "listen 443 ssl default_server;",
        "ssl_reject_handshake on;",
        "return 421;",
        "return 444;",
        "client_header_timeout 15s;",
        "limit_req zone=passproxy_login burst=200 nodelay;",
    ],
)
def test_cfg_16_nginx_has_what_the_catalogue_asks_for(directive: str):
    assert directive in directives("nginx")


def test_cfg_16_no_web_server_speaks_http_3_whose_bodies_it_would_have_to_store():
    assert not re.search(r"quic|http3|h3\b", "".join(map(directives, FILES)))


@pytest.mark.parametrize(
    ("server", "pattern"),
    [
        ("nginx", r"keepalive_timeout (\d+)s"),
        ("Apache", r"\bttl=(\d+)"),
        ("Caddy", r"keepalive (\d+)s"),
        ("HAProxy", r"pool-purge-delay (\d+)s"),
        ("Traefik", r"idleConnTimeout: (\d+)s"),
    ],
)
def test_an_idle_connection_is_closed_by_the_web_server_first(server: str, pattern: str):
    assert number(server, pattern) < KEEP_ALIVE_SECONDS


@pytest.mark.parametrize(
    ("server", "pattern", "unit"),
    [
        ("nginx", r"proxy_read_timeout (\d+)m", 60),
        ("Apache", r"\btimeout=(\d+)", 1),
        ("HAProxy", r"timeout (?:server|tunnel|client) +(\d+)m", 60),
    ],
)
def test_a_web_server_waits_longer_than_passproxy(server: str, pattern: str, unit: int):
    fields = UpstreamSettings.model_fields
    longest = max(fields["response_timeout"].default, fields["idle_timeout"].default)
    assert number(server, pattern) * unit > longest


@pytest.mark.parametrize(
    ("server", "pattern", "unit", "reserve"),
    [
        ("nginx", r"large_client_header_buffers 1 (\d+)k", 1024, 0),
        ("Apache", r"LimitRequestFieldSize (\d+)", 1, 0),
        ("HAProxy", r"tune\.bufsize (\d+)", 1, 1024),
    ],
)
def test_the_largest_cookies_fit(server: str, pattern: str, unit: int, reserve: int):
    """Of Caddy and Traefik the default is a mebibyte."""
    line = number(server, pattern) * unit - reserve
    assert COOKIES_LIMIT_BYTES + COOKIE_LIMIT_BYTES < line < HEAD_LIMIT_BYTES
    if server != "HAProxy":  # there it is the whole head
        assert line == LINE_KIB * 1024


# --- Traefik


def traefik() -> tuple[dict[str, Any], dict[str, Any]]:
    """What it reads at its start, and the domain."""
    folder = ETC / "traefik"
    both = [yaml.safe_load((folder / name).read_text("utf-8")) for name in ("traefik.yaml", "passproxy.yaml")]
    return both[0], both[1]


def test_everything_that_traefiks_router_names_is_there():
    static, dynamic = traefik()
    http, (router,) = dynamic["http"], dynamic["http"]["routers"].values()
    assert router["rule"] == "Host(`app.example.com`)"
    assert set(router["entryPoints"]) <= static["entryPoints"].keys()
    assert set(router["middlewares"]) == http["middlewares"].keys()
    balancer = http["services"][router["service"]]["loadBalancer"]
    assert balancer["serversTransport"] in http["serversTransports"]
    assert balancer["passHostHeader"] is True
    assert router["tls"] == {}


def test_traefik_leaves_paths_and_long_uploads_alone():
    static, _ = traefik()
    tls = static["entryPoints"]["tls"]
    assert tls["http"]["sanitizePath"] is False
    assert set(tls["http"]["encodedCharacters"].values()) == {True}
    assert tls["transport"]["respondingTimeouts"]["readTimeout"] == "0s"
    assert "forwardedHeaders" not in tls
    plain = static["entryPoints"]["plain"]["http"]["redirections"]["entryPoint"]
    assert (plain["to"], plain["scheme"]) == ("tls", "https")
