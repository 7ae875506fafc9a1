"""
Row CFG-16 for forward authentication: no file that is shipped for it leaves a client's word standing, or a way past it.

Here the files are read; e2e/test_forward_auth.py starts the servers with them. Of Traefik's the form is all that is tested.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from passproxy.core.cookies import SESSION_PARTS_LIMIT, cookie_names
from passproxy.core.profiles import PROFILES
from passproxy.core.urls import Origin
from passproxy.web.forward_auth import COOKIE_FIELD

ETC = Path(__file__).parents[2] / "etc"

FILES = {
    "nginx": ETC / "nginx" / "forward-auth.conf",
    "Caddy": ETC / "caddy" / "forward-auth.Caddyfile",
    "HAProxy": ETC / "haproxy" / "forward-auth.cfg",
    "Traefik": ETC / "traefik" / "forward-auth.yaml",
}

#: All that an application can be told under PassProxy's own names.
TOLD = (*PROFILES["passproxy"].fields, "X-Passproxy-Assertion", "X-Passproxy-Token")

#: The parts of a session, and what renews it.
COOKIES = SESSION_PARTS_LIMIT + 1

OBEYED = ("Forwarded", "Proxy", "X-Forwarded-User", "X-Forwarded-Uri", "X-Forwarded-Method", "X-Rewrite-URL")

CLEARED = {
    "nginx": 'proxy_set_header {} "";',
    "Caddy": "request_header -{}",
    "HAProxy": "http-request del-header {}",
    "Traefik": '{}: ""',
}


def directives(server: str) -> str:
    """Without its comments."""
    return re.sub(r"^\s*#.*$|\s#\s.*$", "", FILES[server].read_text("utf-8"), flags=re.MULTILINE)


def variable(name: str) -> str:
    return name.lower().replace("-", "_")


@pytest.mark.parametrize("name", OBEYED)
@pytest.mark.parametrize("server", FILES)
def test_cfg_16_what_applications_obey_does_not_pass(server: str, name: str):
    assert CLEARED[server].format(name) in directives(server)


@pytest.mark.parametrize("server", FILES)
def test_cfg_16_a_method_override_does_not_pass(server: str):
    assert CLEARED[server].format("X-HTTP-Method-Override") in directives(server)


@pytest.mark.parametrize("server", FILES)
def test_cfg_16_no_client_is_believed_about_itself(server: str):
    assert not re.search(
        r"insecure|trusted_proxies|0\.0\.0\.0/0|forwardfor|proxy_add_x_forwarded_for|satisfy|trustForwardHeader: true",
        directives(server),
    )


@pytest.mark.parametrize("name", TOLD)
def test_cfg_16_nginx_sets_each_name_from_the_answer_alone(name: str):
    source = variable(name).removeprefix("x_")
    assert f"auth_request_set ${source} $upstream_http_{variable(name)};" in directives("nginx")
    assert f"proxy_set_header {name} ${source};" in directives("nginx")


def test_cfg_16_nginx_knows_no_other_way_to_the_application():
    text = directives("nginx")
    assert text.count("proxy_pass http://application_app_example_com;") == 1
    (application,) = re.findall(r"location / \{(.*?)\n    \}", text, re.DOTALL)
    assert "auth_request /.passproxy/auth;" in application
    assert "proxy_pass http://application_app_example_com;" in application
    (question,) = re.findall(r"location = /\.passproxy/auth \{(.*?)\n    \}", text, re.DOTALL)
    assert "internal;" in question
    for line in ("X-Original-URI $request_uri;", "X-Original-Method $request_method;", "Host $host;"):
        assert f"proxy_set_header {line}" in question
    # What a visitor could ask with is removed where visitors reach PassProxy.
    assert 'proxy_set_header X-Original-URI "";' in text.partition("location")[0]


def test_cfg_16_caddy_deletes_every_spelling_before_it_sets_a_name():
    text = directives("Caddy")
    for deletion in ("request_header -*passproxy*", "request_header -*_*"):
        assert 0 < text.index(deletion) < text.index("import passproxy_field")
    for name in (*TOLD, "Cookie", "Authorization"):
        assert f"import passproxy_field {name}\n" in text
    assert "respond 404" in text[text.index("handle /.passproxy/auth {") :][:60]


def test_cfg_16_haproxy_leads_to_the_application_only_after_a_clear_yes():
    text = directives("HAProxy")
    assert re.findall(r"use_backend application.*", text) == [
        "use_backend application if { var(txn.passproxy_allowed) -m bool }"
    ]
    assert "default_backend passproxy_app" in text
    assert "http-request del-header _ -m sub" in text
    assert "http-request return status 404 if { path /.passproxy/auth }" in text
    lua = (ETC / "haproxy" / "forward-auth.lua").read_text("utf-8")
    assert lua.count('set_var("txn.passproxy_allowed", true)') == 1
    assert lua.index('txn.passproxy_allowed", false') < lua.index("core.httpclient()")


@pytest.mark.parametrize(
    ("server", "pattern"),
    [
        ("nginx", r"add_header Set-Cookie \$passproxy_cookie_(\d) always;"),
        ("nginx", r"auth_request_set \$passproxy_cookie_\d \$upstream_http_x_passproxy_set_cookie_(\d);"),
        ("nginx", r'proxy_set_header X-Passproxy-Set-Cookie-(\d) "";'),
        ("Caddy", r"import passproxy_cookie (\d)"),
        ("HAProxy", r"http-response add-header Set-Cookie %\[var\(txn\.passproxy_cookie_(\d)\)\]"),
    ],
)
def test_as_many_cookies_are_handed_on_as_a_session_can_have(server: str, pattern: str):
    assert re.findall(pattern, directives(server)) == [str(n) for n in range(1, COOKIES + 1)]
    assert COOKIE_FIELD == "X-Passproxy-Set-Cookie-"


# --- Traefik


def traefik() -> dict[str, Any]:
    found = yaml.safe_load(FILES["Traefik"].read_text("utf-8"))["http"]
    assert isinstance(found, dict)
    return found


def test_everything_that_traefiks_routers_name_is_there():
    http = traefik()
    for router in http["routers"].values():
        assert set(router.get("middlewares", [])) <= http["middlewares"].keys()
        assert router["service"] in {*http["services"], "noop@internal"}
    by_priority = sorted(http["routers"], key=lambda name: -http["routers"][name]["priority"])
    assert by_priority == ["question", "passproxy", "app"]


def test_cfg_16_traefik_asks_before_it_leads_to_the_application():
    http = traefik()
    leading = [router for router in http["routers"].values() if router["service"] == "app"]
    assert [router["middlewares"] for router in leading] == [["secure", "claims", "passproxy-auth", "afterwards"]]
    asking = http["middlewares"]["passproxy-auth"]["forwardAuth"]
    assert asking["trustForwardHeader"] is False
    assert asking["authResponseHeaders"] == ["Cookie", "Authorization", "X-Request-Id"]
    finds = re.compile(asking["authResponseHeadersRegex"])
    for name in TOLD:
        for spelling in (name, name.lower(), name.replace("-", "_"), name.replace("-", ".")):
            assert finds.match(spelling), spelling


def test_traefik_hands_on_each_cookie_of_a_session():
    names = cookie_names(None, Origin.of("app.example.com", None))
    parts = [names.session, *(f"{names.session}-{n}" for n in range(2, SESSION_PARTS_LIMIT + 1))]
    assert traefik()["middlewares"]["passproxy-auth"]["forwardAuth"]["addAuthCookiesToResponse"] == [*parts, names.kept]
