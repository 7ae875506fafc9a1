"""
The demo's identity provider and application, without PassProxy, as a process of their own.

The argument is the origin that the provider shall know. Their addresses and the
client's secret are written as one line of JSON; SIGTERM ends both. `passproxy
demo` starts them together with PassProxy on plain loopback, which is not enough
here: the origin is another, and PassProxy's memory is to be measured alone.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys

from passproxy.demo.application import DemoApplication
from passproxy.demo.idp import DemoIdentityProvider


async def run(origin: str) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with DemoIdentityProvider(origin) as idp, DemoApplication() as application:
        facts = {
            "issuer": idp.issuer,
            "metadata_url": idp.metadata_url,
            "client_id": idp.client_id,
            "client_secret": idp.client_secret,
            "application": application.base_url,
        }
        print(json.dumps(facts), flush=True)
        await stop.wait()


if __name__ == "__main__":
    asyncio.run(run(sys.argv[1]))
