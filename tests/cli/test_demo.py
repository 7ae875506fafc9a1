"""`passproxy demo` as a process of its own."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest

from tests.fakes.browser import Browser
from tests.fakes.commands import WAIT_SECONDS, free_port, running, wait_for


@pytest.mark.parametrize("protocol", ["oidc", "saml"])
async def test_the_demo_prints_one_url_that_works(tmp_path: Path, protocol: str) -> None:
    port = free_port()
    with running("demo", "--protocol", protocol, "--port", str(port), cwd=tmp_path) as process:
        wait_for(port)
        assert process.stdout is not None
        printed = "".join(
            iter(process.stdout.readline, "  Everything listens on this machine only and is gone after Ctrl-C.\n")
        )
        assert re.findall(r"Open +(\S+)", printed) == [f"http://127.0.0.1:{port}/"]
        async with Browser() as browser:
            page = await browser.open(f"http://127.0.0.1:{port}/whoami?deep=%2Flink")
            landed = await browser.sign_in(page, "alice", "alice")
        assert landed.url == f"http://127.0.0.1:{port}/whoami?deep=%2Flink"
        headers = dict(landed.json()["headers"])
        assert headers["X-Passproxy-Email"] == "alice@example.com"
        assert headers["X-Passproxy-Groups"] == "engineering,ops"
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=WAIT_SECONDS)
    assert process.returncode == 0
    assert "Traceback" not in error
