"""
The log: one line an event, for people or for machines.

An event has a name, and fields that are plain values. What a client or an
identity provider wrote is escaped and cut, so that no line can be forged and
no terminal commanded. Secrets never get here: callers log codes, names and
reasons, and no cookie, token, assertion or query.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any, Literal

from passproxy.web import log_writer
from passproxy.web.log_writer import Writer

#: Longest text of one field; a longer one was made long on purpose.
FIELD_LIMIT_CHARACTERS = 256

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}

_logger = logging.getLogger("passproxy")


def event(level: Literal["debug", "info", "warning", "error"], name: str, **fields: object) -> None:
    """Log one event. Fields that are None are left out."""
    number = _LEVELS[level]
    if _logger.isEnabledFor(number):
        _logger.log(number, name, extra={"fields": plain_fields(fields)})


def plain_fields(fields: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in fields.items() if value is not None}


def failure(name: str, error: BaseException, **fields: object) -> None:
    """Log an exception that nobody expected: its type and place, since its text may quote what it met."""
    _logger.error(name, exc_info=error, extra={"fields": fields})


def concerns(request: bytes) -> None:
    """From here on the current task works for the request of this id, and so do the tasks that it makes."""
    log_writer.request_id.set(request.decode())


def shown(raw: bytes) -> str:
    """Bytes of a request as text for a field."""
    return raw.decode("ascii", "backslashreplace")


def _plain(value: object) -> object:
    if isinstance(value, (bool, int, float)):
        return value
    text = str(value)
    if len(text) > FIELD_LIMIT_CHARACTERS:
        text = text[:FIELD_LIMIT_CHARACTERS] + "..."
    return text if text.isprintable() else text.encode("ascii", "backslashreplace").decode().translate(_CONTROLS)


_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(32), 127)}


class _Formatter(logging.Formatter):
    def named(self, record: logging.LogRecord) -> tuple[object, dict[str, object]]:
        """The name of the event and its fields, safe to show."""
        name, fields = record.getMessage(), getattr(record, "fields", None)
        if fields is None:
            # What has no fields writes sentences that begin with the name.
            name, _, detail = name.partition(" ")
            fields = {"detail": detail} if detail else {}
        fields = dict(fields)
        if (request_id := getattr(record, "request_id", None)) is not None:
            fields.setdefault("request_id", request_id)
        if record.name not in ("passproxy", "passproxy.audit"):
            fields["source"] = record.name.removeprefix("passproxy.")
        if record.exc_info:
            # The type and the place, not the text: that may quote what it failed on.
            kind, _, trace = record.exc_info
            while trace is not None and trace.tb_next is not None:
                trace = trace.tb_next
            where = "" if trace is None else f" in {trace.tb_frame.f_code.co_qualname}:{trace.tb_lineno}"
            fields["exception"] = f"{kind.__name__ if kind else 'unknown'}{where}"
        return _plain(name), {field: _plain(value) for field, value in fields.items()}


class TextFormatter(_Formatter):
    """`12:03:44 warning auth.rejected code=PP-SAML-AUDIENCE ...`; what is for the audit is JSON in any case."""

    def format(self, record: logging.LogRecord) -> str:
        if record.name == "passproxy.audit":
            return _JSON.format(record)
        name, fields = self.named(record)
        time = datetime.fromtimestamp(record.created, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        text = " ".join(f"{name}={_quoted(value)}" for name, value in fields.items())
        return f"{time} {record.levelname.lower():7} {name} {text}".rstrip()


class JsonFormatter(_Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        name, fields = self.named(record)
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": name,
            **fields,
        }
        return json.dumps(line)


_JSON = JsonFormatter()


def _quoted(value: object) -> str:
    text = str(value)
    return json.dumps(text) if any(c in text for c in ' "=') or not text else text


def set_up(style: Literal["text", "json"], level: Literal["debug", "info", "warning", "error"]) -> None:
    """Send our own events to standard error, and nothing of anybody else's below a warning. May be called again."""
    formatter = JsonFormatter() if style == "json" else TextFormatter()
    before = _logger.handlers[0] if _logger.handlers else None
    if isinstance(before, Writer):
        before.write_as(formatter)
    else:
        _logger.handlers[:] = [Writer(sys.stderr.fileno(), formatter)]
    _logger.setLevel(_LEVELS[level])
    _logger.propagate = False
    # Authlib writes the code verifier at debug level, aiohttp whole URLs.
    for name in ("authlib", "aiohttp", "asyncio"):
        logging.getLogger(name).setLevel(logging.WARNING)


def lines_dropped() -> tuple[int, int]:
    """Of the log and the audit log so far: what no reader took in time, and what only repeated."""
    writers = {
        handler
        for name in ("passproxy", "passproxy.audit")
        for handler in logging.getLogger(name).handlers
        if isinstance(handler, Writer)
    }
    return sum(writer.lost for writer in writers), sum(writer.repeats.dropped for writer in writers)
