"""
Where lines of the log go: to a descriptor, by a thread of its own, and never more than can be written.

Whoever reads the log may stop reading, and a stranger may cause lines faster than any disk takes
them. Neither may hold up a request, so lines wait in a bounded queue, and what is left out is counted.
"""

from __future__ import annotations

import atexit
import logging
import os
import time
from collections.abc import Callable
from contextvars import ContextVar
from logging.handlers import QueueHandler, QueueListener
from queue import Full, Queue

#: Lines that wait for a slow reader, some 4 MB at most.
WAITING_LIMIT = 4096

#: Of one kind of refusal in one window: enough to see what goes on, and a few GB a day at the very most.
REPEATS_LIMIT = 100
WINDOW_SECONDS = 10.0

#: How long the end of the process waits for its last lines to be read.
DRAIN_SECONDS = 2.0


#: The request that the current task works for. Its id is in all that is logged meanwhile, by whomever.
request_id: ContextVar[str | None] = ContextVar("request_id", default=None)


class Writer(QueueHandler):
    """Hands each record to a thread that writes it to `descriptor`. Refusals that repeat are counted instead."""

    def __init__(
        self, descriptor: int, formatter: logging.Formatter, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._waiting: Queue[logging.LogRecord] = Queue(WAITING_LIMIT)
        super().__init__(self._waiting)
        self._lost = 0
        self.lost = 0  # in all
        self.repeats = Repeats(self.emit, clock)
        self.addFilter(self.repeats)
        self._lines = _Lines(descriptor)
        self._lines.setFormatter(formatter)
        # A daemon thread: a reader that has stopped does not keep the process from ending.
        QueueListener(self._waiting, self._lines).start()
        atexit.register(self.drain)

    def write_as(self, formatter: logging.Formatter) -> None:
        """Write the next lines in another format."""
        self._lines.setFormatter(formatter)

    def write_into(self, descriptor: int) -> None:
        """Write the next lines to where another descriptor leads; it is still the caller's."""
        os.dup2(descriptor, self._lines.descriptor, inheritable=False)

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        """As it is, since it goes to a thread and not to another process, with what only this thread knows."""
        if not hasattr(record, "request_id"):
            record.request_id = request_id.get()
        return record

    def enqueue(self, record: logging.LogRecord) -> None:
        try:
            if self._lost:
                self._waiting.put_nowait(counted("log.lost", count=self._lost))
                self._lost = 0
            self._waiting.put_nowait(record)
        except Full:
            self._lost += 1
            self.lost += 1

    def drain(self) -> None:
        """Wait until what waits has been written, for a short while."""
        end = time.monotonic() + DRAIN_SECONDS
        while self._waiting.unfinished_tasks and time.monotonic() < end:
            time.sleep(0.01)


class Repeats(logging.Filter):
    """
    Lets so many records of one kind through in each window, and says how many more there were.

    The kind is the event and its code; what has no code is ours and not a stranger's, and passes.
    """

    def __init__(self, emit: Callable[[logging.LogRecord], None], clock: Callable[[], float]) -> None:
        super().__init__()
        self._emit = emit
        self._clock = clock
        self._ends_at = 0.0
        self._seen: dict[tuple[str, object], int] = {}
        self.dropped = 0

    def filter(self, record: logging.LogRecord) -> bool:
        now = self._clock()
        if now >= self._ends_at:
            seen, self._seen, self._ends_at = self._seen, {}, now + WINDOW_SECONDS
            for (event, code), count in seen.items():
                if count > REPEATS_LIMIT:
                    self._emit(counted("log.repeated", event=event, code=code, count=count - REPEATS_LIMIT))
        code = getattr(record, "fields", {}).get("code")
        if code is None:
            return True
        kind = (record.getMessage(), code)
        self._seen[kind] = self._seen.get(kind, 0) + 1
        if self._seen[kind] <= REPEATS_LIMIT:
            return True
        self.dropped += 1
        return False


class _Lines(logging.Handler):
    """Writes to a descriptor, without Python's buffers, whose locks a stuck thread would keep at the end."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self.descriptor = descriptor

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record).encode("utf-8", "backslashreplace") + b"\n"
            while line:
                line = line[os.write(self.descriptor, line) :]
        except OSError:
            pass  # The reader is gone; there is nobody to tell.


def counted(name: str, **fields: object) -> logging.LogRecord:
    record = logging.LogRecord("passproxy", logging.WARNING, "", 0, name, (), None)
    record.fields = fields
    record.request_id = None  # of no request in particular
    return record
