"""
What hostile XML costs: `python -m benchmarks.hostile_xml`, or `make hostile`.

PassProxy as it is served, and a stranger who brings every document of tests/attacks to the address
where SAML answers arrive, one after the other and then many at once, while others work behind their
sessions. Ends with an error when a document is not refused, when none of its tries is answered
within the limit, or when the XML process had to be replaced. Memory and the waits of the others
are printed, since they say as much about the machine: compare them with those beside two processes
that only keep cores busy.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

from benchmarks import subject
from benchmarks.processes import Failed, Pinned, free_port
from benchmarks.stranger import Answer, bring, configuration, kept_waiting, occupied, processes
from benchmarks.visitors import CONNECTIONS, INTERVAL_SECONDS, Waits, application, bustle, visitors, waits
from tests.attacks import hostile_documents
from tests.fakes import idp_saml

#: Of the best try of each document.
LIMIT_MILLISECONDS = 100

AT_ONCE = 8

Build = Callable[[str], bytes]


@dataclass(slots=True)
class Row:
    """A document, the codes of which one must be its refusal, and how it was answered."""

    name: str
    build: Build
    codes: tuple[str, ...]
    is_escaped: bool = False
    answers: list[Answer] = field(default_factory=list)
    size: int = 0

    def ask(self, port: int) -> None:
        def build(request_id: str) -> bytes:
            document = self.build(request_id)
            self.size = len(document)
            return document

        self.answers.append(bring(port, build, is_escaped=self.is_escaped))

    @property
    def best(self) -> float:
        return min(answer.milliseconds for answer in self.answers)

    def faults(self) -> Iterator[str]:
        for answer in self.answers:
            if answer.gives_a_session or not 400 <= answer.status < 500 or answer.code not in self.codes:
                yield f"{self.name}: answered with {answer.status} {answer.code}, not with {' or '.join(self.codes)}"
                return
        if self.best > LIMIT_MILLISECONDS:
            yield f"{self.name}: took {self.best:.0f} ms at best"


@dataclass(frozen=True, slots=True)
class Period:
    """How others fared in the meantime; `without_core` is the share of time that PassProxy waited for a core."""

    name: str
    waits: Waits
    without_core: float


def genuine(request_id: str, *, encrypted: bool = False) -> bytes:
    said = idp_saml.facts(in_response_to=request_id)
    return idp_saml.answer(said, encrypt=idp_saml.encrypted_for() if encrypted else None)


def rows(*, encrypted: bool) -> list[Row]:
    # A form is not read beyond its limit, which some of the documents exceed.
    too_large = "PP-REQUEST-BODY-SIZE"
    if encrypted:
        return [Row(name, build, (refusal.code, too_large)) for name, build, refusal in hostile_documents.SEALED]

    def unasked(build: Callable[[], bytes]) -> Build:
        return lambda request_id: build()

    name, build, refusal = hostile_documents.SLOW[1]
    return [
        *(Row(name, unasked(build), (refusal.code, too_large)) for name, build, refusal in hostile_documents.REFUSED),
        *(Row(name, build, (refusal.code, too_large)) for name, build, refusal in hostile_documents.SLOW),
        Row(f"escaped: {name}", build, (refusal.code,), is_escaped=True),
    ]


def _attack(port: int, documents: list[Row], tries: int) -> None:
    for _ in range(tries):
        for row in documents:
            row.ask(port)


def _attack_at_once(port: int, encrypted: bool, slowest: list[str], seconds: float) -> int:
    """The slowest documents, over and over, each by somebody; how many there were."""
    # In a process of its own, that lets others go first: what it costs to make and sign the
    # documents is not what is measured.
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), os.nice, (15,)) as executor:
        return executor.submit(_bring_all, port, encrypted, slowest, seconds).result()


def _bring_all(port: int, encrypted: bool, names: list[str], seconds: float) -> int:
    end = time.monotonic() + seconds

    def bring_one(row: Row) -> int:
        count = 0
        while time.monotonic() < end:
            row.ask(port)
            count += 1
        return count

    with ThreadPoolExecutor(len(names)) as strangers:
        return sum(strangers.map(bring_one, [row for row in rows(encrypted=encrypted) if row.name in names]))


@contextlib.contextmanager
def _site(encrypted: bool) -> Iterator[tuple[Pinned, Connection]]:
    """PassProxy, an application behind it and visitors of it."""
    every_core = ",".join(map(str, sorted(os.sched_getaffinity(0))))
    with tempfile.TemporaryDirectory(prefix="hostile-") as name:
        folder, ports = Path(name), (free_port(), free_port())
        file = configuration(folder, *ports, encrypted=encrypted)
        cookie = subject.session_cookie(file)
        proxy = Pinned(subject.command(file), every_core, ports[0], folder / "log")
        with application(ports[1]), proxy, visitors(ports[0], cookie) as visiting:
            yield proxy, visiting


def _measure(encrypted: bool, tries: int, seconds: float) -> Iterator[str]:
    """The lines of a report. Raises `Failed` with all faults in the end."""
    documents = rows(encrypted=encrypted)
    with _site(encrypted) as (proxy, visiting):
        login = bring(proxy.port, lambda request_id: genuine(request_id, encrypted=encrypted))
        if not login.gives_a_session:
            raise Failed(f"a genuine answer gives no session: {login.status} {login.code}")
        names = processes(proxy.process_id)
        _attack(proxy.port, documents, 1)  # caches and heaps find their size
        for row in documents:
            row.answers.clear()
        sizes: list[list[float]] = []
        periods: list[Period] = []

        def record(name: str, begin: tuple[float, float]) -> None:
            share = (kept_waiting(proxy.process_id) - begin[1]) / (time.monotonic() - begin[0])
            periods.append(Period(name, waits(visiting), share))
            sizes.append([occupied(process_id) for process_id in names.values()])

        def begun() -> tuple[float, float]:
            return time.monotonic(), kept_waiting(proxy.process_id)

        waits(visiting)
        begin = begun()
        time.sleep(seconds)
        record("in quiet", begin)
        begin = begun()
        with bustle():
            time.sleep(seconds)
        record("two busy processes, and no attack", begin)
        begin = begun()
        _attack(proxy.port, documents, tries)
        record("one document after the other", begin)
        slowest = [row.name for row in sorted(documents, key=lambda row: row.best)[-AT_ONCE:]]
        begin = begun()
        count = _attack_at_once(proxy.port, encrypted, slowest, seconds)
        record(f"the {AT_ONCE} slowest at once ({count / seconds:.0f}/s)", begin)
        login = bring(proxy.port, lambda request_id: genuine(request_id, encrypted=encrypted))
        survived = processes(proxy.process_id) == names
    yield from _documents(documents, tries)
    yield from _memory(list(names), sizes[1:])
    yield from _waits(periods)
    faults = [fault for row in documents for fault in row.faults()]
    if not survived:
        faults.append("the XML process was replaced")
    if not login.gives_a_session:
        faults.append(f"a genuine answer gives no session afterwards: {login.status} {login.code}")
    if faults:
        raise Failed("\n".join(faults))


def _documents(documents: list[Row], tries: int) -> Iterator[str]:
    yield "| document | bytes | answer | best ms | worst ms |"
    yield "|---|--:|---|--:|--:|"
    for row in sorted(documents, key=lambda row: row.best, reverse=True):
        worst = max(answer.milliseconds for answer in row.answers)
        answer = row.answers[0]
        yield f"| {row.name} | {row.size:,} | {answer.status} {answer.code} | {row.best:.1f} | {worst:.1f} |"
    slowest = max(documents, key=lambda row: row.best)
    yield ""
    yield f"{len(documents)} documents, {tries} tries of each; the slowest: {slowest.name}, {slowest.best:.1f} ms at best."
    yield ""


def _memory(names: list[str], sizes: list[list[float]]) -> Iterator[str]:
    yield "| RSS in MiB | before | after one by one | after many at once |"
    yield "|---|--:|--:|--:|"
    for number, name in enumerate(names):
        yield f"| {name} | {' | '.join(f'{size[number]:.1f}' for size in sizes)} |"
    yield ""


def _waits(periods: list[Period]) -> Iterator[str]:
    yield "| requests with a session, meanwhile | requests | p50 ms | p99 ms | longest ms | PassProxy had no core |"
    yield "|---|--:|--:|--:|--:|--:|"
    for period in periods:
        wait = period.waits
        figures = f"{wait.count:,} | {wait.p50:.2f} | {wait.p99:.2f} | {wait.longest:.1f} | {period.without_core:.1%}"
        yield f"| {period.name} | {figures} |"
    yield ""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hostile_xml", description="What hostile XML costs.")
    parser.add_argument("--tries", type=int, default=3, help="how often each document is brought (%(default)s)")
    parser.add_argument("--seconds", type=float, default=8, help="of quiet, and of many at once (%(default)s)")
    arguments = parser.parse_args()
    failed = False
    for encrypted in (False, True):
        print(f"## {'Encrypted assertions demanded' if encrypted else 'Signed answers'}\n")
        try:
            for line in _measure(encrypted, arguments.tries, arguments.seconds):
                print(line)
        except Failed as error:
            print(f"hostile: {error}", file=sys.stderr)
            failed = True
    rate = CONNECTIONS / INTERVAL_SECONDS
    print(
        f"{rate:.0f} requests/s of others; PassProxy and its XML process on all {len(os.sched_getaffinity(0))} cores."
    )
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
