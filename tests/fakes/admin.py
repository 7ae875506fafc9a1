"""What a Prometheus does: asks the admin listener, and reads the numbers."""

from __future__ import annotations

from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from tests.fakes.log import Log
from tests.fakes.raw import Answer, Raw

#: The section that turns it on, on a free port.
ADMIN: dict[str, Any] = {"admin": {"listen": "127.0.0.1:0"}}


class Admin:
    """The admin listener of the PassProxy that was started last. `log` tells its port."""

    def __init__(self, log: Log) -> None:
        self.address = str(log.named("admin.ready")[-1]["listen"])

    async def get(self, path: str, *lines: str, method: str = "GET") -> Answer:
        async with Raw(self.address) as raw:
            wire = "\r\n".join((f"{method} {path} HTTP/1.1", f"Host: {self.address}", *lines, "", ""))
            answer = await raw.ask(wire.encode())
            assert await raw.is_closed()
            return answer

    async def text(self) -> str:
        answer = await self.get("/metrics")
        assert answer.status == 200
        return answer.body.decode()

    async def value(self, name: str, **labels: str) -> float | None:
        """One sample, None where there is none."""
        for family in text_string_to_metric_families(await self.text()):
            for sample in family.samples:
                if sample.name == name and sample.labels == labels:
                    return sample.value
        return None
