"""`passproxy nginx`: what it prints fits the configuration, and is what is shipped."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from passproxy.cli import main
from passproxy.cli.nginx import COOKIES_LIMIT_BYTES, rendered
from passproxy.core.config import settings_from
from passproxy.core.cookies import LOGIN_COOKIES_LIMIT_BYTES, CookieNames
from passproxy.core.session import TOKEN_BUDGET_BYTES

ETC = Path(__file__).parents[2] / "etc"


def printed(version: tuple[int, ...] = (1, 26), *, is_further: bool = False, **environment: str) -> str:
    """For the example that is shipped, with these variables."""
    text = (ETC / "passproxy" / "example.yaml").read_text("utf-8")
    variables = {f"PASSPROXY_{name}": value for name, value in environment.items()}
    settings = settings_from(text, "example.yaml", variables, lambda path: "a secret")
    return rendered(settings, version, is_further=is_further)


def test_the_shipped_configuration_is_what_it_prints_for_the_shipped_example():
    """Otherwise: passproxy nginx etc/passproxy/example.yaml > etc/nginx/passproxy.conf"""
    assert (ETC / "nginx" / "passproxy.conf").read_text("utf-8") == printed()


def test_it_prints_to_standard_output(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    file = tmp_path / "grafana.yaml"
    file.write_text(
        "domain: grafana.example.com\nlisten: unix:/run/passproxy/grafana.sock\n"
        "upstream: {url: 'http://127.0.0.1:3000'}\nsaml: {metadata_file: idp.xml}\n"
    )
    assert main(["nginx", str(file)]) == 0
    shown = capsys.readouterr()
    assert "server unix:/run/passproxy/grafana.sock;" in shown.out
    assert "server_name grafana.example.com;" in shown.out
    assert "/etc/ssl/certs/grafana.example.com.pem;" in shown.out
    assert "app.example.com" not in shown.out
    assert shown.err == ""


def test_each_domain_has_an_upstream_of_its_own():
    first, second = (printed(DOMAIN=name) for name in ("a-b.example.com", "a.example.com"))
    names = [re.findall(r"^upstream (\w+) \{|proxy_pass http://(\w+);", text, re.MULTILINE) for text in (first, second)]
    assert [{"".join(pair) for pair in found} for found in names] == [
        {"passproxy_a_b_example_com"},
        {"passproxy_a_example_com"},
    ]


def test_a_further_domain_has_nothing_that_a_machine_needs_once():
    text = printed(is_further=True)
    assert not re.search(r"^(map|limit_req_zone) |default_server", text, re.MULTILINE)
    assert text.count("\nserver {") == 2
    assert text.split("# --- One domain")[1] == printed().split("# --- One domain")[1]


def test_another_port_is_in_every_place_that_names_one():
    text = printed(ORIGIN="https://app.example.com:8443")
    assert "443 " not in text.replace("8443 ", "")
    assert text.count("listen 8443 ssl") == text.count("listen [::]:8443 ssl") == 2
    assert "return 308 https://app.example.com:8443$request_uri;" in text
    assert "proxy_set_header Host $host:$server_port;" in text
    assert "proxy_set_header X-Forwarded-Host $host:$server_port;" in text


@pytest.mark.parametrize(
    ("version", "is_new"), [((1, 22), False), ((1, 25, 0), False), ((1, 25, 1), True), ((1, 28), True)]
)
def test_http_2_is_switched_on_as_this_version_of_nginx_has_it(version: tuple[int, ...], is_new: bool):
    text = printed(version)
    assert text.count("http2 on;") == (2 if is_new else 0)
    assert text.count(" ssl http2") == (0 if is_new else 4)


@pytest.mark.parametrize(
    ("listen", "server"),
    [
        ("127.0.0.1:8123", "127.0.0.1:8123"),
        ("[::1]:8123", "[::1]:8123"),
        ("0.0.0.0:8123", "127.0.0.1:8123"),
        ("[::]:8123", "[::1]:8123"),
        ("unix:/run/passproxy/app.sock", "unix:/run/passproxy/app.sock"),
    ],
)
def test_nginx_is_told_an_address_to_connect_to(listen: str, server: str):
    assert f"    server {server};\n" in printed(LISTEN=listen)


@pytest.mark.parametrize(
    "path", ["/run/a b.sock", "/run/a;b.sock", "/run/{a}.sock", "/run/$host.sock", '/run/"a".sock']
)
def test_what_nginx_would_read_as_something_else_is_refused(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    file = tmp_path / "app.yaml"
    file.write_text(
        "domain: app.example.com\nupstream: {url: 'http://127.0.0.1:3000'}\nsaml: {metadata_file: idp.xml}\n"
    )
    monkeypatch.setenv("PASSPROXY_LISTEN", f"unix:{path}")
    assert main(["nginx", str(file)]) == 78
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "cannot be written in nginx's configuration" in shown.err


def test_nginx_waits_longer_than_passproxy():
    assert "proxy_read_timeout 15m;" in printed()
    assert "proxy_read_timeout 90m;" in printed(UPSTREAM_IDLE_TIMEOUT="1h")
    assert "proxy_read_timeout 180m;" in printed(UPSTREAM_RESPONSE_TIMEOUT="2h")


def test_a_trial_on_plain_http_has_no_web_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    file = tmp_path / "app.yaml"
    file.write_text(
        "domain: 127.0.0.1\norigin: http://127.0.0.1:8123\n"
        "upstream: {url: 'http://127.0.0.1:3000'}\nsaml: {metadata_file: idp.xml}\n"
    )
    assert main(["nginx", str(file)]) == 78
    assert "is for a trial" in capsys.readouterr().err


def test_the_largest_session_and_the_most_logins_fit_the_line_that_is_planned():
    names = CookieNames("__Host-passproxy", secure=True)
    session = TOKEN_BUDGET_BYTES + 4 * (len(names.session) + len("=xx-1; "))
    kept = 3584 + len(names.session) + len("-idp=; ")
    assert session + LOGIN_COOKIES_LIMIT_BYTES + kept < COOKIES_LIMIT_BYTES - 200


def test_a_version_that_is_none_is_wrong_usage(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as end:
        main(["nginx", "--nginx", "newest", "app.yaml"])
    assert end.value.code == 2
    assert "such as 1.22" in capsys.readouterr().err
