"""The doctor against a real nginx: fine with the shipped snippet, and each thing found that is taken from it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e import nginx as nginx_module
from tests.e2e.nginx import nginx
from tests.e2e.processes import free_port
from tests.e2e.site import site
from tests.fakes.tls import Certified, certified

DOMAIN = "localhost"


@dataclass(frozen=True, slots=True)
class Asked:
    code: int
    results: dict[str, str]
    texts: dict[str, str]


async def asked(file: Path, certificate: Path) -> Asked:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PASSPROXY_")}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "passproxy", "doctor", "--format", "json", str(file)),
        env=environment | {"SSL_CERT_FILE": str(certificate)},
        stdout=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        output, _ = await process.communicate()
    checks = json.loads(output)["checks"]
    return Asked(
        int(process.returncode or 0),
        {each["check"]: each["result"] for each in checks},
        {each["check"]: f"{each['text']} {each['hint']}" for each in checks},
    )


@contextlib.asynccontextmanager
async def front(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *changes: tuple[str, str], days: float = 60
) -> AsyncIterator[Asked]:
    """What the doctor finds behind nginx with what `passproxy nginx` prints, after these replacements."""
    made: list[Certified] = []
    monkeypatch.setattr(
        nginx_module, "make_certificate", lambda domain, where: made.append(certified(where, days, since=-9))
    )
    printed = nginx_module.printed

    def changed(*given: str) -> str:
        text = printed(*given)
        for pattern, replacement in changes:
            text, count = re.subn(pattern, replacement, text)
            assert count, pattern
        return text

    monkeypatch.setattr(nginx_module, "printed", changed)
    port = free_port()
    async with (
        site("oidc", folder, origin=f"https://{DOMAIN}:{port}") as running,
        nginx(DOMAIN, port, running.port, folder),
    ):
        yield await asked(folder / "site.yaml", made[0].certificate)


async def test_behind_the_shipped_snippet_everything_is_fine(tmp_path, monkeypatch):
    async with front(tmp_path, monkeypatch) as found:
        assert set(found.results.values()) == {"ok"}, found.texts
        assert {"public TLS", "public URL", "large cookies", "large answers", "forwarding"} <= found.results.keys()
        assert found.code == 0


async def test_small_buffers_for_requests_are_found(tmp_path, monkeypatch):
    # nginx's own default.
    async with front(tmp_path, monkeypatch, (r"large_client_header_buffers [^;]*;", "")) as found:
        assert found.results["large cookies"] == "failed", found.texts
        assert "large_client_header_buffers" in found.texts["large cookies"]
        assert found.code == 1


async def test_small_buffers_for_answers_are_found(tmp_path, monkeypatch):
    small = ("proxy_buffer_size 32k", "proxy_buffer_size 4k"), ("proxy_buffers 8 32k", "proxy_buffers 8 4k")
    async with front(tmp_path, monkeypatch, *small, ("proxy_busy_buffers_size 64k;", "")) as found:
        assert found.results["large answers"] == "failed", found.texts
        assert "status 502" in found.texts["large answers"]
        assert found.results["large cookies"] == "ok"


async def test_a_host_that_is_not_passed_on_is_found(tmp_path, monkeypatch):
    change = (r"proxy_set_header +Host [^;]*;", "proxy_set_header Host backend;")
    async with front(tmp_path, monkeypatch, change) as found:
        assert found.results["public URL"] == "failed", found.texts
        assert "proxy_set_header Host" in found.texts["public URL"]


async def test_a_client_address_that_is_not_passed_on_is_found(tmp_path, monkeypatch):
    async with front(
        tmp_path, monkeypatch, (r"(proxy_set_header +X-Forwarded-For +)\$remote_addr;", r'\1"";')
    ) as found:
        assert found.results["forwarding"] == "warning", found.texts
        assert "X-Forwarded-For" in found.texts["forwarding"]
        assert found.code == 0


async def test_a_certificate_near_its_end_is_found(tmp_path, monkeypatch):
    async with front(tmp_path, monkeypatch, days=5) as found:
        assert found.results["public TLS"] == "warning", found.texts


async def test_an_expired_certificate_is_found(tmp_path, monkeypatch):
    async with front(tmp_path, monkeypatch, days=-1) as found:
        assert (found.results["public TLS"], found.results["public URL"]) == ("failed", "failed"), found.texts
        assert "certificate has expired" in found.texts["public TLS"]
