"""Documents are read within bounds, from where they may be read."""

from __future__ import annotations

import socket
import ssl
import time
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from passproxy.trusted import fetching
from passproxy.trusted.errors import FetchFailed
from passproxy.trusted.fetching import DOCUMENT_LIMIT_BYTES, URL_LIMIT_CHARACTERS, fetched, is_fetchable, is_loopback
from tests.trusted.given import Script, body, published


@pytest.mark.parametrize(
    "url",
    [
        "https://app.example.com/.passproxy/jwks.json",
        "https://app.example.com:8443/keys?x=1",
        "http://127.0.0.1:8000/keys",
        "http://[::1]:8000/keys",
        "http://localhost/keys",
        "http://app.localhost:8000/keys",
    ],
)
def test_these_addresses_are_read(url: str) -> None:
    assert is_fetchable(url)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "http://app.example.com/keys",
        "http://127.0.0.1.example.com/keys",
        "http://localhost.example.com/keys",
        "http://2130706433/keys",
        "file:///etc/passwd",
        "ftp://127.0.0.1/keys",
        "data:application/json,{}",
        "https:///keys",
        "https://user:secret@app.example.com/keys",
        "http://127.0.0.1@app.example.com/keys",
        "https://app.example.com/keys#fragment",
        "https://app.example.com/a b",
        "https://app.example.com/a\r\nX: y",
        "https://app.example.com\\@evil.example/keys",
        "https://app.example.com:port/keys",
        "https://[::1/keys",
        "https://äpp.example.com/keys",
        "https://app.example.com/" + "a" * 2048,
        "//app.example.com/keys",
    ],
)
def test_these_addresses_are_not_read(url: str) -> None:
    assert not is_fetchable(url)
    with pytest.raises(FetchFailed):
        fetched(url)


def test_an_address_may_be_as_long_as_the_limit_and_no_longer() -> None:
    start = "https://app.example.com/"
    assert is_fetchable(start + "a" * (URL_LIMIT_CHARACTERS - len(start)))
    assert not is_fetchable(start + "a" * (URL_LIMIT_CHARACTERS - len(start) + 1))


def test_names_that_only_look_like_this_machine_are_not_it() -> None:
    assert is_loopback("127.9.9.9")
    assert not is_loopback("example.com")
    assert not is_loopback("0.0.0.0")


def test_the_largest_document_is_read_whole() -> None:
    document = b"x" * DOCUMENT_LIMIT_BYTES
    with published(body(document)) as server:
        assert fetched(server.url) == document


def test_query_and_path_arrive_as_they_are() -> None:
    with published(body(b"{}")) as server:
        fetched(server.origin + "/a%2Fb?challenge=x-_&y=%20")
        assert server.asked == ["/a%2Fb?challenge=x-_&y=%20"]


def without_length(document: bytes) -> Script:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(document)

    return answer


def cut_short(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "100")
    handler.end_headers()
    handler.wfile.write(b'{"keys": []}')
    handler.close_connection = True


def nothing(handler: BaseHTTPRequestHandler) -> None:
    handler.close_connection = True


def no_http(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"SSH-2.0-OpenSSH\r\n\r\n")


def endless_head(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000)


REFUSED: dict[str, Script] = {
    "one byte too large": body(b"x" * (DOCUMENT_LIMIT_BYTES + 1)),
    "too large, and not announced": without_length(b"x" * (DOCUMENT_LIMIT_BYTES + 1)),
    "a redirect": body(b"", 302, Location="/other"),
    "a redirect for ever": body(b"", 308, Location="/other"),
    "an error": body(b"{}", 500),
    "part of it": body(b"{}", 206),
    "compressed": body(b"\x1f\x8b", Content_Encoding="gzip"),
    "cut short": cut_short,
    "nothing": nothing,
    "something else than HTTP": no_http,
    "too many headers": endless_head,
}


@pytest.mark.parametrize("script", REFUSED.values(), ids=REFUSED)
def test_an_answer_is_refused(script: Script) -> None:
    with published(script) as server:
        with pytest.raises(FetchFailed):
            fetched(server.url)
        assert server.asked == ["/jwks.json"]


def test_nobody_there_is_a_failure_like_any_other() -> None:
    with published(body(b"{}")) as server:
        url = server.url
    with pytest.raises(FetchFailed, match="ConnectionRefusedError"):
        fetched(url)


def slow_head(handler: BaseHTTPRequestHandler) -> None:
    while True:
        handler.wfile.write(b"H")
        time.sleep(0.02)


def slow_body(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "100000")
    handler.end_headers()
    while True:
        handler.wfile.write(b" ")
        time.sleep(0.02)


def slow_headers(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
    while True:
        handler.wfile.write(b"y")
        time.sleep(0.02)


def silent(handler: BaseHTTPRequestHandler) -> None:
    time.sleep(2)


@pytest.mark.parametrize("script", [slow_head, slow_headers, slow_body, silent])
def test_a_server_that_takes_its_time_is_cut_off(monkeypatch: pytest.MonkeyPatch, script: Script) -> None:
    """Also one that sends a byte now and then, for ever; without the limit the test would not end."""
    monkeypatch.setattr(fetching, "FETCH_SECONDS", 0.2)

    with published(script) as server, pytest.raises(FetchFailed):
        fetched(server.url)


def test_a_proxy_of_the_environment_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    with published(body(b"{}")) as proxy, published(body(b'{"keys": []}')) as server:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.origin)
        assert fetched(server.url) == b'{"keys": []}'
        assert proxy.asked == []


class Authority:
    """A certificate authority, and a server that it vouches for under one name."""

    def __init__(self, where: Path, host: str) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "An authority of this test")])
        start = datetime.now(UTC) - timedelta(hours=1)
        certificate = (
            x509.CertificateBuilder(name, name, key.public_key(), 7, start, start + timedelta(days=2))
            .add_extension(x509.SubjectAlternativeName([general_name(host)]), critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(key, hashes.SHA256())
        )
        self.file = where / "authority.pem"
        self.file.write_bytes(certificate.public_bytes(Encoding.PEM))
        private = where / "key.pem"
        private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.tls.load_cert_chain(self.file, private)


def general_name(host: str) -> x509.GeneralName:
    return x509.IPAddress(ip_address(host)) if host[-1].isdigit() else x509.DNSName(host)


def test_an_authority_of_ones_own_is_named_in_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = Authority(tmp_path, "127.0.0.1")
    with published(body(b"{}"), authority.tls) as server:
        with pytest.raises(FetchFailed, match="SSLCertVerificationError"):
            fetched(server.url)
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
        assert fetched(server.url) == b"{}"
        assert server.asked == ["/jwks.json"]


def test_a_certificate_for_another_name_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = Authority(tmp_path, "app.example.com")
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    with published(body(b"{}"), authority.tls) as server:
        with pytest.raises(FetchFailed, match="SSLCertVerificationError"):
            fetched(server.url)
        assert server.asked == []


@pytest.mark.parametrize("script", [slow_headers, slow_body])
def test_slowness_behind_tls_is_cut_off_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: Script) -> None:
    authority = Authority(tmp_path, "127.0.0.1")
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    monkeypatch.setattr(fetching, "FETCH_SECONDS", 1.5)
    with published(script, authority.tls) as server:
        with pytest.raises(FetchFailed):
            fetched(server.url)
        assert server.asked == ["/jwks.json"]


def test_a_server_that_speaks_no_tls_is_not_spoken_to_in_the_clear() -> None:
    with published(body(b"{}")) as server:
        with pytest.raises(FetchFailed, match="SSLError"):
            fetched(server.url.replace("http://", "https://"))
        assert server.asked == []


@pytest.mark.parametrize("is_tls", [False, True], ids=["plain", "TLS"])
def test_a_server_that_never_says_anything_is_given_up(is_tls: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "FETCH_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        with pytest.raises(FetchFailed):
            fetched(f"{'https' if is_tls else 'http'}://127.0.0.1:{port}/keys")
