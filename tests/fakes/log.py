"""What was logged: our own events, by name and fields, and whether a secret is among them."""

from __future__ import annotations

import pytest


class Log:
    """Our own events: names, and fields."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self._caplog = caplog

    @property
    def events(self) -> list[tuple[str, dict[str, object]]]:
        records = [record for record in self._caplog.records if record.name == "passproxy"]
        return [(record.getMessage(), getattr(record, "fields", {})) for record in records]

    def named(self, name: str) -> list[dict[str, object]]:
        return [fields for event, fields in self.events if event == name]

    def one(self, name: str) -> dict[str, object]:
        """The fields of the only event there is."""
        assert [event for event, _ in self.events] == [name], self.events
        return self.events[0][1]

    def tells(self, secret: str) -> bool:
        return any(secret in str(event) for event in self.events) or secret in self._caplog.text

    def forget(self) -> None:
        self._caplog.clear()
