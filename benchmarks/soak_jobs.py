"""
What is asked for, agreed between the clients and the application, and what became of it.

Both are in one process and share the `Ledger`, so each side knows what the other one sent. Content
is cut from one block of random bytes: it costs nothing to make, and a mistake anywhere changes its hash.
"""

from __future__ import annotations

import hashlib
import random
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

MEBIBYTE = 1024 * 1024
LARGEST = 4 * MEBIBYTE

_BLOCK = memoryview(random.Random(1).randbytes(2 * LARGEST))

#: What the application does wrong, and how PassProxy has to answer; 0 is an answer that was cut.
BEFORE_THE_HEAD = {
    "reset before the head": {502},
    "closed before the head": {502},
    "garbage": {502},
    "silent, then closed": {502},
    "silent": {504},
}
WITHIN_THE_BODY = {
    # What was sent before a reset may be lost with it, the head included.
    "reset within the body": {0, 502},
    "stalled within the body": {0},
    "broken chunk": {0},
}
WITHIN_THE_UPLOAD = {"reset within the upload": {502}, "deaf to the upload": {504}}
OUTCOMES = {**BEFORE_THE_HEAD, **WITHIN_THE_BODY, **WITHIN_THE_UPLOAD}

KINDS = ("page", "download", "upload", "echo", "events", "socket")

#: After a restart of the application: until every reset of an idle connection has arrived.
AFTERMATH_SECONDS = 1.0

#: A request may meet the closing of its connection when PassProxy stops: those that begin shortly before.
_ON_ITS_WAY_SECONDS = 1.0


_SHOWN_VIOLATIONS = 20


@dataclass(frozen=True, slots=True)
class Content:
    offset: int
    size: int

    def digest(self, size: int) -> str:
        """Of the beginning."""
        return hashlib.sha256(_BLOCK[self.offset : self.offset + size]).hexdigest()

    def pieces(self, largest: int, choice: random.Random) -> Iterator[bytes]:
        """All of it, in pieces of random sizes."""
        done = 0
        while done < self.size:
            size = min(choice.randint(1, largest), self.size - done)
            yield bytes(_BLOCK[self.offset + done : self.offset + done + size])
            done += size


class Tally:
    """Counts and hashes what arrives."""

    def __init__(self) -> None:
        self.size = 0
        self._hash = hashlib.sha256()

    def add(self, data: bytes) -> None:
        self.size += len(data)
        self._hash.update(data)

    def is_of(self, content: Content) -> bool:
        """Whether this is the whole content."""
        return self.size == content.size and self.is_beginning_of(content)

    def is_beginning_of(self, content: Content) -> bool:
        return self.size <= content.size and self._hash.hexdigest() == content.digest(self.size)


@dataclass(slots=True)
class Job:
    """One request: what goes up, what comes down, and who does what wrong."""

    number: int
    kind: str
    up: Content | None = None
    down: Content | None = None
    up_chunked: bool = False
    framing: str = "length"
    fault: str = ""
    leaves: str = ""
    resets: bool = False
    client_is_slow: bool = False
    application_is_slow: bool = False
    arrivals: int = 0
    received: Tally = field(default_factory=Tally)
    is_whole: bool = False  # the application saw the end of the body

    @property
    def target(self) -> str:
        return f"/job/{self.number}"

    @property
    def method(self) -> str:
        return "GET" if self.up is None or self.kind == "socket" else "PUT"


class Jobs:
    """Makes jobs, by chance but the same ones for the same seed."""

    def __init__(self, seed: int, fault_share: float) -> None:
        self.choice = random.Random(seed)
        self._fault_share = fault_share
        self._count = 0

    def make(self) -> Job:
        choice = self.choice
        self._count += 1
        (kind,) = choice.choices(KINDS, (40, 20, 20, 10, 5, 5))
        job = Job(self._count, kind)
        if kind in ("upload", "echo", "socket"):
            job.up = self._content(LARGEST)
            job.up_chunked = choice.random() < 0.5
        if kind in ("echo", "socket"):
            job.down = job.up
        else:
            job.down = self._content({"page": 4000, "events": 8000, "upload": 100}.get(kind, LARGEST))
        job.framing = choice.choice(("length", "chunked", "close"))
        if kind in ("echo", "events"):
            job.framing = "chunked"
        job.client_is_slow, job.application_is_slow = choice.random() < 0.1, choice.random() < 0.1
        if choice.random() < self._fault_share:
            self._fail(job)
        elif choice.random() < 0.08:
            places = ["before the head", *(["within the upload"] if job.up else []), "within the download"]
            job.leaves, job.resets = choice.choice(places), choice.random() < 0.5
        return job

    def _fail(self, job: Job) -> None:
        faults = [*BEFORE_THE_HEAD]
        if job.kind in ("page", "download", "events", "upload") and job.down is not None and job.down.size > 1:
            faults += WITHIN_THE_BODY
        if job.up is not None and job.kind != "socket":
            faults += WITHIN_THE_UPLOAD
        job.fault = self.choice.choice(faults)
        if job.fault == "broken chunk":
            job.framing = "chunked"

    def _content(self, largest: int) -> Content:
        """Sizes of every order of magnitude."""
        return Content(self.choice.randrange(LARGEST), int(largest ** self.choice.random()))


class Ledger:
    """What both sides know, and every violation that either of them saw."""

    def __init__(self) -> None:
        self.jobs: dict[int, Job] = {}
        self.violations: list[str] = []
        self.counts: Counter[tuple[str, str]] = Counter()
        self.restarts: list[tuple[float, float]] = []  # of the application; the last one may have no end yet
        self.stopped_at = float("inf")  # PassProxy

    def violation(self, job: Job | None, what: str) -> None:
        about = "" if job is None else f"{job.kind} {job.number} ({job.fault or job.leaves or 'nothing special'}): "
        self.violations.append(about + what)
        if len(self.violations) <= _SHOWN_VIOLATIONS:
            print(f"soak: {self.violations[-1]}", file=sys.stderr, flush=True)

    def count(self, job: Job, what: str, by: int = 1) -> None:
        self.counts[job.kind, what] += by

    def expected(self, job: Job, start: float, end: float) -> set[int]:
        """How it may end, between these times; 0 is a cut."""
        expected = OUTCOMES[job.fault] if job.fault else {101 if job.kind == "socket" else 200}
        if any(begun < end and start < over + AFTERMATH_SECONDS for begun, over in self.restarts):
            # A connection that is idle for the application may hold the end of an answer, which is lost then.
            expected = expected | {0, 502}
        # What is under way is finished, but sockets have no end that could be waited for.
        if end > self.stopped_at and (job.kind == "socket" or start > self.stopped_at - _ON_ITS_WAY_SECONDS):
            expected = expected | {0}
        return expected
