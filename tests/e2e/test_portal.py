"""The page of applications in a real browser: on a phone and a laptop, light and dark, with nothing from elsewhere."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

import pytest
from playwright.async_api import expect

from tests.e2e.processes import PASSPROXY
from tests.e2e.window import Window, screenshots

pytestmark = pytest.mark.asyncio(loop_scope="session")

HOSTILE = "\"><img src=x onerror='document.title=1'>"

DOMAINS = {
    "grafana": "name: Grafana\n  description: Dashboards and alerts of everything that runs\n  groups: [Operations, Staff]",
    "wiki": "name: Wiki\n  icon_file: wiki.svg\n  groups: [Everybody]",
    "prometheus": "name: Prometheus\n  url: https://prometheus.monitoring.internal.example.com:9443/graph",
    "mail": "name: Mail\n  icon: ✉️\n  description: Web mail and calendars",
    "payroll": f"name: {'Zeitwirtschaftundlohnabrechnung' * 2:.60}\n  icon: ZLA",
    "hostile": f"name: '{HOSTILE.replace(chr(39), chr(39) * 2)}'\n  url: 'https://hostile.example.com/\"><b>'",
}

WIKI = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32">'
    '<path fill="#2f6fdd" d="M5 5h9a4 4 0 0 1 2 1 4 4 0 0 1 2-1h9v21H5z"/></svg>'
)


async def test_the_page_of_applications(tmp_path: Path, window: Window):
    for name, section in DOMAINS.items():
        (tmp_path / f"{name}.yaml").write_text(
            f"domain: {name}.example.com\nupstream: {{url: 'http://127.0.0.1:3000'}}\n"
            f"oidc: {{issuer: 'https://id.example.com', client_id: x, client_secret: hush}}\nportal:\n  {section}\n"
        )
    (tmp_path / "wiki.svg").write_text(WIKI)
    made = tmp_path / "index.html"
    command = [PASSPROXY, "portal", str(tmp_path), "-o", str(made)]
    await asyncio.to_thread(subprocess.run, command, check=True, timeout=30)

    page = await window.page()
    await page.goto(made.as_uri())
    await expect(page.get_by_role("heading", level=1)).to_have_text("Applications")
    await expect(page.get_by_role("main").get_by_role("link")).to_have_count(len(DOMAINS))
    await expect(page.get_by_role("link", name=HOSTILE)).to_have_attribute("href", 'https://hostile.example.com/"><b>')
    assert await page.title() == "Applications"
    shown = await page.evaluate("[...document.images].map(image => image.naturalWidth > 0 && image.width === 32)")
    assert shown == [True]
    # The whole tile leads there.
    box = await page.get_by_role("listitem").filter(has_text="Grafana").bounding_box()
    assert box is not None
    for x, y in ((box["x"] + 8, box["y"] + 8), (box["x"] + box["width"] - 8, box["y"] + box["height"] - 8)):
        found = await page.evaluate("([x, y]) => document.elementFromPoint(x, y).closest('a')?.href", [x, y])
        assert found == "https://grafana.example.com/"
    await screenshots(page, "oidc", "portal")
    window.check()
