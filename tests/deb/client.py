"""
What visitors do, run inside the machine with Debian's Python.

    client.py login ORIGIN            signs alice in; prints the Cookie field and what userinfo says
    client.py load FILE COOKIE ADDRESS...   asks until FILE exists; prints how often, and each failure

An address of `load` is an https URL, or unix:/path@host for PassProxy's own
socket, to which each request opens a connection of its own.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from pathlib import Path

import aiohttp

from tests.fakes.browser import Browser

#: For each address.
WORKERS = 4

#: When whoever ends the load never comes.
LONGEST_SECONDS = 180


async def login(origin: str) -> None:
    async with Browser() as browser:
        page = await browser.open(f"{origin}/whoami?first=1")
        page = await browser.sign_in(page, "alice", "alice")
        assert page.url == f"{origin}/whoami?first=1", page.url
        assert page.status == 200, page.text
        who = await browser.open(f"{origin}/.passproxy/userinfo")
        session = "; ".join(f"{each.name}={each.value}" for each in browser.cookies if "login" not in each.name)
        print(json.dumps({"cookie": session, "user": who.json()}))


async def load(ending: Path, cookie: str, addresses: list[str]) -> None:
    end = time.monotonic() + LONGEST_SECONDS
    failures: Counter[str] = Counter()
    answered: Counter[str] = Counter()

    async def work(address: str) -> None:
        url, connector = address, aiohttp.TCPConnector()
        if address.startswith("unix:"):
            host = address.partition("@")[2]
            url, connector = (
                f"http://{host}/whoami",
                aiohttp.UnixConnector(path=address.removeprefix("unix:").partition("@")[0], force_close=True),
            )
        timeout = aiohttp.ClientTimeout(total=30)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as http:
            while not ending.exists() and time.monotonic() < end:  # noqa: ASYNC240 - a look at /tmp
                try:
                    async with http.get(url, headers={"Cookie": cookie}, allow_redirects=False) as response:
                        body = await response.text()
                        if response.status == 200 and "alice" in body:
                            answered[address] += 1
                        else:
                            failures[f"{address}: status {response.status}"] += 1
                except (aiohttp.ClientError, OSError, TimeoutError) as error:
                    failures[f"{address}: {type(error).__name__} {error}"] += 1
                await asyncio.sleep(0.005)

    async with asyncio.TaskGroup() as tasks:
        for address in addresses:
            for _ in range(WORKERS):
                tasks.create_task(work(address))
    print(json.dumps({"answered": answered, "failures": failures}))


if __name__ == "__main__":
    if sys.argv[1] == "login":
        asyncio.run(login(sys.argv[2]))
    else:
        asyncio.run(load(Path(sys.argv[2]), sys.argv[3], sys.argv[4:]))
