"""How values are written: what each format accepts, and what it refuses."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from passproxy.core.formats import duration_seconds, duration_text, size_bytes
from passproxy.core.settings import (
    HeaderSettings,
    OidcSettings,
    PassthroughSettings,
    SamlSettings,
    Settings,
    SupportSettings,
    UpstreamSettings,
)
from passproxy.core.urls import is_loopback

UPSTREAM = {"url": "http://127.0.0.1:3000"}


def whole(**keys):
    return Settings(**{"domain": "app.example.com", "upstream": UPSTREAM, **keys})


def refused(model, **keys) -> str:
    with pytest.raises(ValidationError) as refusal:
        model(**keys)
    return str(refusal.value)


# --- durations ---


@pytest.mark.parametrize(
    ("text", "seconds"), [("30s", 30), ("5m", 300), ("24h", 86400), ("7d", 604800), (" 1 h ", 3600), ("0s", 0)]
)
def test_a_duration_has_a_unit(text, seconds):
    assert duration_seconds(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "30",
        "1.5h",
        "-5m",
        "+5m",
        "5M",
        "5 minutes",
        "1e3s",
        "5m5s",
        "s",
        "1w",
        "0x10s",
        "9999999999s",
        "5m\n5s",
        "\u0663\u0660s",
    ],
)
def test_what_has_none_is_refused(text):
    with pytest.raises(ValueError, match="duration"):
        duration_seconds(text)


def test_whole_seconds_of_a_program_are_taken_as_they_are():
    assert duration_seconds(300) == 300


# --- names and addresses ---


@pytest.mark.parametrize(
    ("domain", "read_as"),
    [
        ("app.example.com", "app.example.com"),
        (" App.Example.COM ", "app.example.com"),
        ("localhost", "localhost"),
        ("127.0.0.1", "127.0.0.1"),
    ],
)
def test_a_domain_is_a_host_name(domain, read_as):
    assert whole(domain=domain).domain == read_as


@pytest.mark.parametrize(
    "domain",
    [
        "",
        " ",
        ".",
        "app.example.com.",
        ".example.com",
        "a..b",
        "-a.example",
        "a-.example",
        "a_b.example",
        "*.example.com",
        "https://app.example.com",
        "app.example.com:443",
        "app.example.com/",
        "a b",
        "a\nb",
        "äpp.example",
        "x" * 64 + ".example",
        ".".join(["abc"] * 70),
        "app.example.com,evil",
        "[::1]",
        None,
        5,
        [],
    ],
)
def test_and_nothing_else(domain):
    refused(Settings, domain=domain, upstream=UPSTREAM)


@pytest.mark.parametrize("host", ["localhost", "a.localhost", "127.0.0.1", "127.9.9.9", "::1", "[::1]"])
def test_this_machine_has_these_names(host):
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host", ["", "localhost.example", "127.0.0.1.example", "0.0.0.0", "10.0.0.1", "xlocalhost", "::", "127.1"]
)
def test_other_names_may_mean_another(host):
    assert not is_loopback(host)


@pytest.mark.parametrize("listen", ["127.0.0.1:8123", "[::1]:8123", "0.0.0.0:80", "unix:/run/x.sock", "localhost:0"])
def test_an_address_to_listen_on_is_written_out(listen):
    assert whole(listen=listen).listen == listen


@pytest.mark.parametrize(
    "listen",
    [
        "",
        ":8123",
        "8123",
        "127.0.0.1",
        "127.0.0.1:",
        "127.0.0.1:x",
        "127.0.0.1:65536",
        "127.0.0.1:-1",
        "unix:",
        "unix:x.sock",
    ],
)
def test_cfg_14_a_bare_port_is_none(listen):
    refused(Settings, domain="a.example", upstream=UPSTREAM, listen=listen)


@pytest.mark.parametrize("networks", [[], ["10.0.0.0/8", "::1"], "10.0.0.0/8, ::1", ["10.1.2.3/8"]])
def test_trusted_proxies_are_networks(networks):
    assert isinstance(whole(trusted_proxies=networks).trusted_proxies, tuple)


@pytest.mark.parametrize("networks", ["", [""], ["*"], ["10.0.0.0/33"], ["localhost"], [None], ["10.0.0.1-10.0.0.9"]])
def test_and_nothing_that_only_looks_like_one(networks):
    refused(Settings, domain="a.example", upstream=UPSTREAM, trusted_proxies=networks)


# --- URLs ---


@pytest.mark.parametrize(
    "url",
    [
        "https://sso.example.com/realms/main",
        "http://127.0.0.1:8080/x",
        "http://localhost",
        "http://[::1]:1/",
        "HTTPS://sso.example.com",
    ],
)
def test_a_provider_is_reached_over_https_or_on_this_machine(url):
    assert OidcSettings(issuer=url, client_id="c").issuer == url


@pytest.mark.parametrize(
    "url",
    [
        "http://sso.example.com",
        "http://10.0.0.1/",
        "http://localhost.example.com/",
        "ftp://sso.example.com/",
        "sso.example.com",
        "",
        "//sso.example.com",
        "https://",
        "https:///x",
        "https://user@sso.example.com/",
        "https://user:hunter2@sso.example.com/",
        "https://sso.example.com:99999/",
        "https://sso.example.com/a b",
        "https://sso.example.com/\n",
        "https://ßso.example.com/",
        "file:///etc/passwd",
        "https://[::1",
    ],
)
def test_and_no_other_way(url):
    assert "hunter2" not in refused(OidcSettings, issuer=url, client_id="c")
    assert "hunter2" not in refused(SamlSettings, metadata_url=url)


@pytest.mark.parametrize(
    "url", ["https://hunter2:x", "https://user:hunter2#x@sso.example.com/", "https://user:hunter2℀@sso.example.com/"]
)
def test_cfg_11_a_broken_url_is_not_quoted(url):
    """A password with `#` or `/` in it makes a broken URL, and urllib's message quotes a part of that."""
    assert "hunter2" not in refused(OidcSettings, issuer=url, client_id="c")
    assert "hunter2" not in refused(UpstreamSettings, url=url.replace("https", "http"))


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:3000", "http://app:3000/", "https://10.0.0.5", "http+unix:/run/app.sock", "http://[::1]:3000"],
)
def test_an_upstream_is_a_host_and_a_port_or_a_socket(url):
    assert UpstreamSettings(url=url).url == url


@pytest.mark.parametrize(
    "url",
    [
        "",
        "127.0.0.1:3000",
        "http://127.0.0.1:3000/app",
        "http://127.0.0.1:3000/?a",
        "http://127.0.0.1:3000/#a",
        "ftp://127.0.0.1",
        "http://:3000",
        "http+unix:app.sock",
        "http+unix://run/app.sock",
        "unix:/run/app.sock",
        "http://user:x@127.0.0.1:3000",
        "http://127.0.0.1:99999",
    ],
)
def test_and_no_path_because_each_request_has_its_own(url):
    refused(UpstreamSettings, url=url)


@pytest.mark.parametrize(
    "origin",
    ["https://app.example.com:8443", "https://app.example.com", "https://app.example.com/", "http://localhost:8080"],
)
def test_an_origin_is_https_or_on_this_machine(origin):
    assert whole(origin=origin).origin == origin.rstrip("/")


@pytest.mark.parametrize(
    "origin",
    [
        "http://app.example.com",
        "app.example.com",
        "https://app.example.com/x",
        "https://app.example.com/?x",
        "wss://app.example.com",
        "",
    ],
)
def test_and_has_no_path(origin):
    refused(Settings, domain="app.example.com", upstream=UPSTREAM, origin=origin)


@pytest.mark.parametrize("url", ["https://help.example.com/x", "mailto:help@example.com"])
def test_a_support_link_is_a_link(url):
    assert SupportSettings(url=url).url == url


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        "data:text/html,x",
        "help.example.com",
        'https://x/"onclick=',
        "https://x/<",
        "https://x/ y",
        "",
    ],
)
def test_and_no_script(url):
    refused(SupportSettings, url=url)


# --- public paths ---


@pytest.mark.parametrize(
    "path",
    ["/", "/health", "/public/", "/public/**", "/a/*/b", "/a/*.css", "/a/**/b", "/.well-known/*", "/a-b_c~d/e.f"],
)
def test_a_path_pattern_is_literal_but_for_stars(path):
    (entry,) = PassthroughSettings(paths=[path]).paths
    assert (entry.path, entry.methods) == (path, ("GET", "HEAD"))


@pytest.mark.parametrize(
    "path",
    [
        "",
        "*",
        ".*",
        "public",
        "/public/.*?/x",
        "/public/[a-z]",
        "/(a|b)",
        "^/a",
        "/a$",
        "/a+",
        "/a?",
        "/a?x=1",
        "/a#b",
        "/a;b",
        "/a%2fb",
        "/a\\b",
        "/a b",
        "/a ",
        " /a",
        "/ä",
        "/a\n",
        "//a",
        "/a//b",
        "/a/../b",
        "/a/..",
        "/a/./b",
        "/.",
        "/a/***",
        "/a**",
        "/**b",
        "/{a}",
    ],
)
def test_path_21_and_no_regular_expression_escape_or_dot_segment(path):
    refused(PassthroughSettings, paths=[path])


@pytest.mark.parametrize("path", ["/*", "/**", "/**/**", "/*/**", "/**/*", "/**/", "/*/*/**", "/**/*/**"])
def test_path_21_a_pattern_without_a_literal_part_would_open_everything(path):
    refused(PassthroughSettings, paths=[path])


def test_a_public_path_may_name_its_methods():
    settings = PassthroughSettings(
        paths=[{"path": "/hook", "methods": ["POST"]}, {"path": "/a", "methods": "GET, PUT"}]
    )
    assert [entry.methods for entry in settings.paths] == [("POST",), ("GET", "PUT")]
    assert [entry.path for entry in PassthroughSettings(paths="/a, /b/**").paths] == ["/a", "/b/**"]


@pytest.mark.parametrize("methods", [[], "", ["get"], ["G T"], [""], ["GET "], ["*"], None, [None]])
def test_and_none_but_real_ones(methods):
    refused(PassthroughSettings, paths=[{"path": "/hook", "methods": methods}])


@pytest.mark.parametrize(
    "paths", [None, [None], [5], [[]], [{}], [{"methods": ["GET"]}], [{"path": "/a", "extra": 1}], ""]
)
def test_cfg_05_nothing_is_not_everything(paths):
    refused(PassthroughSettings, paths=paths)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (5, "5s"), (60, "1m"), (90, "90s"), (3600, "1h"), (86400, "24h"), (172800, "48h"), (604800, "7d")],
)
def test_a_duration_is_written_as_people_write_it(seconds, text):
    assert duration_text(seconds) == text
    assert duration_seconds(text) == seconds


# --- sizes ---


@pytest.mark.parametrize(("text", "size"), [("1KiB", 1024), ("64 KiB", 65536), ("10MiB", 10485760), (" 8KiB ", 8192)])
def test_a_size_has_a_unit(text, size):
    assert size_bytes(text) == size


@pytest.mark.parametrize(
    "text", ["", "8", "8K", "8kib", "8KB", "-8KiB", "1.5KiB", "8KiB\n9", "1000000KiB", "\u0668KiB"]
)
def test_what_has_no_unit_is_no_size(text):
    with pytest.raises(ValueError, match="size"):
        size_bytes(text)


@pytest.mark.parametrize("limit", ["1023", "1MiB", "0KiB", "65KiB"])
def test_hdr_18_headers_take_between_one_and_sixty_four_kibibytes(limit):
    refused(HeaderSettings, size_limit=limit)
    assert HeaderSettings(size_limit="64KiB").size_limit == 65536
