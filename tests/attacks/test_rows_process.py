"""
`passproxy serve` as a process of its own: what it writes at debug level, what others on the machine see, and foreign clocks.

Rows LOG-03, INFO-07 and CLK-08 of the attack catalogue.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
import yaml

from passproxy.core.config import settings_from
from tests.attacks.acs import FORM, AcsSite
from tests.attacks.edge import Edge
from tests.fakes import gateway
from tests.fakes import idp_saml as idp
from tests.fakes.browser import Browser
from tests.fakes.commands import free_port, running, wait_for
from tests.fakes.gateway import HOST, ORIGIN, PassProxy, get, request
from tests.fakes.idp_oidc import FakeOp, signed
from tests.fakes.upstream import Upstream

SECRET = "s3cret-of-the-client-that-nobody-sees"

AUDIT = "audit.jsonl"
ADMIN = "admin.sock"

#: Large and small, with a dot and without one.
DOTS = "\u0130I\u0131i@example.com"


@contextlib.asynccontextmanager
async def serving(folder: Path, upstream: Upstream, **sections: Any) -> AsyncIterator[tuple[Any, PassProxy]]:
    port = free_port()
    configuration = {
        "domain": HOST,
        "listen": f"127.0.0.1:{port}",
        "state_dir": str(folder),
        "upstream": {"url": upstream.url},
        "log": {"level": "debug", "format": "json", "access": True, "audit": f"file:{folder}/{AUDIT}"},
        "admin": {"listen": f"unix:{folder}/{ADMIN}"},
        **sections,
    }
    text = yaml.safe_dump(configuration)
    (folder / "app.yaml").write_text(text)
    settings = settings_from(text, "app.yaml", {}, lambda path: Path(path).read_text("utf-8"))
    with running("serve", str(folder / "app.yaml"), cwd=folder) as process:
        await asyncio.to_thread(wait_for, port)
        yield process, gateway.described(f"127.0.0.1:{port}", settings)


async def told_to_monitoring(folder: Path) -> dict[str, Any]:
    """All that the admin listener says, as if it were a line of the log."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    told: dict[str, Any] = {"time": now, "event": "what the admin listener says"}
    for path in ("/metrics", "/ready", "/live"):
        reader, writer = await asyncio.open_unix_connection(folder / ADMIN)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        told[path] = (await reader.read()).decode()
        writer.close()
    assert "passproxy_requests_total" in told["/metrics"]
    return told


async def written(process: Any, folder: Path) -> list[dict[str, Any]]:
    """
    Everything that it wrote, once it was told to stop: lines of JSON, all of them.

    In the log, with the access log, in the audit log, and what it told its monitoring before.
    """
    told = await told_to_monitoring(folder)
    process.send_signal(signal.SIGTERM)
    out, error = await asyncio.to_thread(process.communicate, timeout=30)
    assert out == ""
    assert process.returncode == 0
    audit = (folder / AUDIT).read_text("utf-8")
    return [told, *(json.loads(line) for line in (*error.splitlines(), *audit.splitlines()))]


def check_silent(lines: list[dict[str, Any]], secrets: dict[str, str]) -> None:
    text = json.dumps(lines, ensure_ascii=False)
    for what, secret in secrets.items():
        assert len(secret) >= 12, what
        assert secret not in text, what
        assert secret[:24] not in text, what


async def test_log_03_a_whole_life_with_openid_connect_tells_no_secret(tmp_path: Path) -> None:
    secrets: dict[str, str] = {
        "client secret": SECRET,
        "private query": "very-private-query",
        "basic": "dXNlcjpodW50ZXIy",
    }
    async with FakeOp(client_secret=SECRET) as op, Upstream() as upstream:
        op.rotates = True

        def noted(head: dict[str, Any], claims: dict[str, Any]) -> str:
            token = signed(head, claims, op.signing_key)
            secrets[f"ID token {len(secrets)}"] = token
            secrets["payload"] = token.split(".")[1]
            return token

        op.forge = noted
        (tmp_path / "secret").write_text(SECRET)
        client = {"issuer": op.issuer, "client_id": "app", "client_secret_file": str(tmp_path / "secret")}
        async with serving(tmp_path, upstream, oidc={**client, "use_userinfo": "always"}) as (process, passproxy):
            async with Browser(passproxy.front) as browser:
                store = browser.cookies.store

                def noting(url: str, line: str, *rest: Any) -> bool:
                    if value := line.partition("=")[2].partition(";")[0]:
                        secrets[f"cookie {len(secrets)}"] = value
                    return store(url, line, *rest)

                browser.cookies.store = noting  # type: ignore[method-assign]
                page = await browser.open(f"{ORIGIN}/x?token=very-private-query")
                assert page.status == 200
                for hop in page.hops:
                    for name, (value, *_) in parse_qs(urlsplit(hop.location).query).items():
                        if name in ("code", "state", "nonce", "code_challenge"):
                            secrets[f"{name} {len(secrets)}"] = value
                await browser.open(f"{ORIGIN}/.passproxy/oidc/callback?state={'s' * 22}&code=code-of-a-stranger")
                secrets["stranger's code"] = "code-of-a-stranger"
                op.token_response = {"error": "invalid_grant", "error_description": "description-of-a-failure"}
                assert (await browser.open(f"{ORIGIN}/.passproxy/login")).status == 403
                op.token_response = {}
                await browser.open(f"{ORIGIN}/.passproxy/logout")
            site = Edge(upstream, passproxy)
            token = op.logout_token()
            secrets["logout token"] = token
            body = urlencode({"logout_token": token}).encode()
            await site.asked(request("POST", "/.passproxy/oidc/backchannel-logout", FORM, body=body))
            for cookie in (f"{passproxy.names.session}=forged-session-of-a-stranger", site.cookie):
                secrets[f"cookie {len(secrets)}"] = cookie.partition("=")[2]
                await site.asked(
                    get("/y?token=very-private-query", "Authorization: Basic dXNlcjpodW50ZXIy", cookie=cookie)
                )
                await site.asked(get("/y z?token=very-private-query", cookie=cookie))
                await upstream.stop()
                await site.asked(get("/y?token=very-private-query", cookie=cookie))
            lines = await written(process, tmp_path)
        secrets.update({f"access token {n}": h["Authorization"].split()[1] for n, h in enumerate(op.userinfo_headers)})
        secrets.update({f"refresh token {n}": token for n, token in enumerate(op._refresh)})
        for number, (form, headers) in enumerate(op.token_requests):
            secrets[f"verifier {number}"] = form["code_verifier"]
            secrets[f"credentials {number}"] = headers["Authorization"].split()[1]
    for number, key in enumerate(json.loads((tmp_path / "keys.json").read_text())["keys"]):
        secrets[f"key {number}"] = key["secret"]
    assert {line["event"] for line in lines} >= {
        "auth.login",
        "auth.reject",
        "auth.logout",
        "http.reject",
        "upstream.error",
        "http.access",
        "audit.login",
        "audit.refusal",
        "audit.logout",
        "audit.revocation",
    }
    assert len(secrets) > 25
    check_silent(lines, secrets)


async def test_log_03_a_whole_life_with_saml_tells_no_secret(tmp_path: Path) -> None:
    idp.place_own_key(tmp_path)
    (tmp_path / "idp.xml").write_bytes(idp.idp_metadata(edit=idp.logout_service()))
    saml = {"metadata_file": str(tmp_path / "idp.xml"), "sign_requests": True}
    async with Upstream() as upstream, serving(tmp_path, upstream, saml=saml) as (process, passproxy):
        site = AcsSite(upstream, passproxy)
        begun = await site.begun("/x?token=very-private-query")
        good = idp.answer(begun.facts(attributes={"mail": ("address-of-somebody@example.com",)}))
        forged = idp.answer(begun.facts(), pair=idp.keys("stranger"))
        answer = await site.asked(site.posted(begun, good))
        assert answer.status == 303
        session = site.session_of(answer)
        assert (await site.asked(site.posted(begun, good))).status == 403
        other = await site.begun()
        assert (await site.asked(site.posted(other, forged))).status == 403
        assert (await site.asked(site.posted(await site.begun(), "not base64"))).status == 400
        query = idp.by_redirect(idp.logout()).decode()
        await site.asked(get(f"/.passproxy/saml/slo?{query}", cookie=session))
        await site.asked(get(f"/.passproxy/saml/slo?{query}x", cookie=session))
        lines = await written(process, tmp_path)
    secrets = {
        "session": session.partition("=")[2],
        "login cookie": begun.cookie.partition("=")[2],
        "other login cookie": other.cookie.partition("=")[2],
        "relay state": begun.relay_state,
        "request id": begun.request_id,
        "response": "PD94bWwgdmVyc2lvbj0",
        "markup": "<saml:Assertion",
        "attribute": "address-of-somebody",
        "query": "very-private-query",
        "logout message": parse_qs(query)["SAMLRequest"][0],
        "private key": idp.keys("sp").key_pem.decode().split("\n")[1],
    }  # fmt: skip
    assert {line["event"] for line in lines} >= {
        "auth.login",
        "auth.reject",
        "http.access",
        "audit.login",
        "audit.revocation",
    }
    check_silent(lines, secrets)


def children_of(process_id: int) -> list[int]:
    return [
        int(child) for file in Path(f"/proc/{process_id}/task").glob("*/children") for child in file.read_text().split()
    ]


def told_by_kernel(process_id: int, what: str) -> bytes:
    return Path(f"/proc/{process_id}/{what}").read_bytes()


async def test_info_07_neither_arguments_nor_the_reader_of_xml_have_a_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The environment of the process itself is as its starter made it; that of its child is ours to make."""
    monkeypatch.setenv("PASSPROXY_SUPPORT_FOOTER", SECRET)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    idp.place_own_key(tmp_path)
    (tmp_path / "idp.xml").write_bytes(idp.idp_metadata())
    async with (
        Upstream() as upstream,
        serving(tmp_path, upstream, saml={"metadata_file": str(tmp_path / "idp.xml")}) as (process, passproxy),
    ):
        await AcsSite(upstream, passproxy).signed_in()
        (child,) = children_of(process.pid)
        for number in (process.pid, child):
            arguments = told_by_kernel(number, "cmdline")
            assert b"passproxy" in arguments
            assert SECRET.encode() not in arguments
        environment = told_by_kernel(child, "environ")
        assert b"PASSPROXY_" not in environment
        assert SECRET.encode() not in environment
        limits = told_by_kernel(child, "limits").decode()
        (core,) = [line.split()[4:6] for line in limits.splitlines() if line.startswith("Max core file size")]
        assert core == ["0", "0"]
        assert (tmp_path / "keys.json").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    "environment",
    [
        {"TZ": "Asia/Kathmandu", "LC_ALL": "tr_TR.UTF-8"},
        {"TZ": "Pacific/Kiritimati", "LC_ALL": "C", "PYTHONUTF8": "0"},
        {"TZ": "nonsense/zone+99", "LC_ALL": "ar_EG.UTF-8"},
    ],
    ids=["CLK-08 Kathmandu", "CLK-08 Kiritimati", "CLK-08 nowhere"],
)
async def test_the_hour_and_the_letters_of_a_place_change_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    idp.place_own_key(tmp_path)
    (tmp_path / "idp.xml").write_bytes(idp.idp_metadata())
    saml = {"metadata_file": str(tmp_path / "idp.xml")}
    before = time.time()
    async with Upstream() as upstream, serving(tmp_path, upstream, saml=saml) as (process, passproxy):
        site = AcsSite(upstream, passproxy)
        # Dotless and dotted: names are compared as ASCII.
        session = await site.signed_in(name_id=DOTS, session_not_on_or_after=time.time() + 120)
        seen = await site.seen(session)
        assert seen.one(b"x-passproxy-user") == DOTS.encode()
        site.upstream.forget()
        lines = ("X-PASSPROXY-GIVEN-NAME: evil", "X_PASSPROXY_COMPANY: evil", "TRANSFER-ENCODING: CHUNKED")
        wire = request("POST", "/x", *lines, cookie=session, host=HOST.upper()) + b"4\r\nIiIi\r\n0\r\n\r\n"
        assert (await site.asked(wire)).status == 200
        assert (site.upstream.requests[-1].body, b"evil" in site.upstream.requests[-1].head) == (b"IiIi", False)
        for hours in (-14, -5.75, 5.75, 14):
            begun = await site.begun()
            shifted = idp.answer(begun.facts(issued_at=time.time() + hours * 3600))
            answer = await site.asked(site.posted(begun, shifted))
            assert (answer.status, b"PP-SAML-TIME" in answer.body) == (403, True)
        lines_written = await written(process, tmp_path)
    for line in lines_written:
        assert line["time"].endswith("+00:00")
        told = idp.instant(before), idp.instant(time.time() + 1)
        assert told[0][:19] <= line["time"][:19] <= told[1][:19]
