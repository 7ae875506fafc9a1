"""One event is one line, in both forms, whatever a client or a provider wrote."""

from __future__ import annotations

import json
import logging

import pytest

from passproxy.web import log
from passproxy.web.log import FIELD_LIMIT_CHARACTERS, JsonFormatter, TextFormatter
from passproxy.web.log_writer import Writer

HOSTILE = [
    "a\nb",
    "a\r\nlevel=error",
    "\x1b[2Jgone",
    "a\u2028b",
    "\u202eevil",
    "x" * 10_000,
    "\x00",
    "\x85",
    "\ud800",
    '"}\n{',
    "a b=c",
]


def record(name: str = "auth.reject", **fields: object) -> logging.LogRecord:
    made = logging.LogRecord("passproxy", logging.WARNING, "", 0, name, (), None)
    made.fields = fields
    return made


@pytest.mark.parametrize("value", HOSTILE)
@pytest.mark.parametrize("formatter", [TextFormatter(), JsonFormatter()])
def test_no_value_makes_a_second_line_or_commands_a_terminal(formatter, value):
    for line in (formatter.format(record(user=value)), formatter.format(record(value))):
        assert len(line.splitlines()) == 1
        assert line.isprintable()
        line.encode()
    assert len(formatter.format(record(user=value))) < 2000


@pytest.mark.parametrize("value", HOSTILE)
def test_a_json_line_can_be_read_back(value):
    read = json.loads(JsonFormatter().format(record(user=value, status=403, known=True)))
    assert (read["event"], read["level"], read["status"], read["known"]) == ("auth.reject", "warning", 403, True)
    assert len(read["user"]) <= 6 * FIELD_LIMIT_CHARACTERS + 3


def test_text_quotes_what_could_be_read_as_another_field():
    assert 'user="alice status=200"' in TextFormatter().format(record(user="alice status=200"))
    assert 'user=""' in TextFormatter().format(record(user=""))


def test_fields_that_are_none_are_left_out(caplog):
    caplog.set_level(logging.DEBUG, "passproxy")
    log.event("info", "x", a=None, b=0)
    assert caplog.records[-1].fields == {"b": 0}


def test_an_exception_is_told_by_its_type_and_place_and_not_by_its_text(caplog):
    try:
        raise ValueError("the secret that it failed on")
    except ValueError as error:
        log.failure("request.failed", error)
    for formatter in (TextFormatter(), JsonFormatter()):
        line = formatter.format(caplog.records[-1])
        assert "secret" not in line
        assert "ValueError" in line
        assert len(line.splitlines()) == 1


def test_bytes_are_shown_escaped():
    assert log.shown(b"/\xff\n") == "/\\xff\n"


@pytest.mark.parametrize(
    ("message", "event", "detail"),
    [
        ("idp.refresh_failed code=PP-X attempt=2 no route", "idp.refresh_failed", "code=PP-X attempt=2 no route"),
        ("idp.refresh_failed", "idp.refresh_failed", None),
    ],
)
def test_a_sentence_of_an_adapter_has_its_event_in_front(message, event, detail):
    made = logging.LogRecord("passproxy.idp.oidc", logging.WARNING, "", 0, message, (), None)
    read = json.loads(JsonFormatter().format(made))
    assert (read["event"], read.get("detail"), read["source"]) == (event, detail, "idp.oidc")


def test_what_was_dropped_adds_up_over_the_writers_of_both_logs(monkeypatch):
    assert log.lines_dropped() == (0, 0)
    writer = Writer(2, JsonFormatter())
    writer.lost, writer.repeats.dropped = 3, 4
    for name in ("passproxy", "passproxy.audit"):
        monkeypatch.setattr(logging.getLogger(name), "handlers", [writer])
    assert log.lines_dropped() == (3, 4), "one that both share counts once"
