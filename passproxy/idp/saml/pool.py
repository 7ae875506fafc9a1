"""
The owner of the process that reads XML (worker.py).

Started ahead of need, asked one thing at a time, killed when it does not answer
in time and replaced at once. An answer that somebody stopped waiting for is
read before the next question is put, so that no answer reaches the wrong
asker. What the answers mean is the callers' business.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from passproxy.idp.saml.errors import VerifierBusy, VerifierFailed, refusal
from passproxy.idp.saml.messages import decoded, encoded

logger = logging.getLogger("passproxy.idp")

#: -P: nothing is imported from the directory that PassProxy was started in.
COMMAND = (sys.executable, "-P", "-m", "passproxy.idp.saml.worker")

#: A genuine response takes ten milliseconds. What takes five seconds was made to.
TIME_LIMIT_SECONDS = 5.0

#: Importing the libraries and the self-test take half a second; more on a machine that just booted.
START_LIMIT_SECONDS = 30.0

#: How long a login may wait for its turn before it is told to come back.
WAIT_LIMIT_SECONDS = 15.0

#: A hundred tabs of each of two people; with 256 KiB each, 64 MiB at the very most.
QUEUE_LIMIT = 256

#: Between two attempts to start a process that does not come up.
RESTART_SECONDS = 5.0

#: The facts of a response of 256 KiB, escaped as JSON, with room.
_ANSWER_LIMIT_BYTES = 4 * 1024 * 1024

#: All that the child needs of our environment. Our settings and credentials are not in it.
_ENVIRONMENT = ("PATH", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")


@dataclass(slots=True)
class _Child:
    process: asyncio.subprocess.Process
    #: Questions that were put and whose answers were not read yet.
    owed: int = 0
    is_checked: bool = False


class Verifier:
    """One child process. `ask` from any number of tasks; `run` keeps it warm; `close` ends it."""

    def __init__(
        self,
        clock: Callable[[], float],
        *,
        command: Sequence[str] = COMMAND,
        time_limit_seconds: float = TIME_LIMIT_SECONDS,
        queue_limit: int = QUEUE_LIMIT,
    ) -> None:
        self._clock = clock
        self._command = tuple(command)
        self._time_limit_seconds = time_limit_seconds
        self._queue_limit = queue_limit
        self._queued = 0
        self._turn = asyncio.Lock()
        self._child: _Child | None = None
        self._gone = asyncio.Event()
        self._no_start_before = 0.0
        self._is_closed = False

    @property
    def process_id(self) -> int | None:
        """Of the child that is alive, if one is."""
        child = self._child
        return child.process.pid if child is not None and child.process.returncode is None else None

    async def ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """
        The child's answer.

        Raises:
            LoginError: the answer is a refusal, or there is none: `VerifierBusy`, `VerifierFailed`.
        """
        if self._queued >= self._queue_limit:
            raise VerifierBusy(f"{self._queued} answers are waiting to be verified")
        self._queued += 1
        try:
            async with self._my_turn():
                answer = await self._exchange(await self._ready(), request)
        finally:
            self._queued -= 1
        if "refused" in answer:
            raise refusal(str(answer["refused"]), str(answer.get("detail", "")))
        return answer

    async def run(self) -> None:
        """Keep a child ready, until cancelled."""
        while True:
            self._gone.clear()
            try:
                async with self._turn:
                    await self._ready()
            except VerifierFailed as error:
                logger.error("idp.verifier_failed %s", error.detail)
                await asyncio.sleep(RESTART_SECONDS)
            else:
                await self._gone.wait()

    async def close(self) -> None:
        """End the child, politely for a second. No further one is started."""
        self._is_closed = True
        child, self._child = self._child, None
        if child is None:
            return
        if child.process.stdin is not None:  # pragma: no branch - it is a pipe
            child.process.stdin.close()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(child.process.wait(), 1.0)
        await _end(child.process)

    @contextlib.asynccontextmanager
    async def _my_turn(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(WAIT_LIMIT_SECONDS):
                await self._turn.acquire()
        except TimeoutError:
            raise VerifierBusy("waited too long for a turn") from None
        try:
            yield
        finally:
            self._turn.release()

    async def _ready(self) -> _Child:
        """A child that is alive, passed its self-test and owes nobody an answer."""
        child = self._child
        if child is None or child.process.returncode is not None:
            child = await self._start()
        try:
            async with asyncio.timeout(self._time_limit_seconds if child.is_checked else START_LIMIT_SECONDS):
                while child.owed:
                    _check(child, await _answer(child))
        except (TimeoutError, EOFError, OSError, ValueError, asyncio.LimitOverrunError) as error:
            was_checked = child.is_checked
            await self._give_up(child)
            if was_checked:
                # It died over the document of somebody who left. The next one is innocent.
                return await self._ready()
            self._no_start_before = asyncio.get_running_loop().time() + RESTART_SECONDS
            raise VerifierFailed(f"the verifying process did not start: {_reason(error)}") from error
        return child

    async def _start(self) -> _Child:
        if self._is_closed:
            raise VerifierFailed("PassProxy is shutting down")
        if asyncio.get_running_loop().time() < self._no_start_before:
            raise VerifierFailed("the verifying process failed to start a moment ago")
        environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        starting = asyncio.ensure_future(
            asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                limit=_ANSWER_LIMIT_BYTES,
                env=environment,
                # A Ctrl-C in the terminal is for us; we end the child when we are done.
                start_new_session=True,
            )
        )
        try:
            process = await asyncio.shield(starting)
        except asyncio.CancelledError:
            # Half of a process cannot be ended, and would outlive us.
            with contextlib.suppress(OSError):
                await _end(await starting)
            raise
        except OSError as error:
            raise VerifierFailed(f"the verifying process cannot be started: {_reason(error)}") from error
        child = self._child = _Child(process)
        _put(child, {"do": "check", "now": self._clock()})
        return child

    async def _exchange(self, child: _Child, request: Mapping[str, Any]) -> dict[str, Any]:
        try:
            async with asyncio.timeout(self._time_limit_seconds):
                _put(child, request)
                if child.process.stdin is not None:  # pragma: no branch - it is a pipe
                    await child.process.stdin.drain()
                return await _answer(child)
        except (TimeoutError, EOFError, OSError, ValueError, asyncio.LimitOverrunError) as error:
            await self._give_up(child)
            logger.error("idp.verifier_replaced %s", _reason(error))
            raise VerifierFailed(f"the verifying process gave no answer: {_reason(error)}") from error

    async def _give_up(self, child: _Child) -> None:
        if self._child is child:
            self._child = None
        self._gone.set()
        await _end(child.process)


def _put(child: _Child, request: Mapping[str, Any]) -> None:
    if child.process.stdin is None:  # pragma: no cover - it is a pipe
        raise BrokenPipeError
    child.owed += 1
    child.process.stdin.write(encoded(request))


async def _answer(child: _Child) -> dict[str, Any]:
    # Taken whole or not at all, so a cancelled wait leaves the stream in order.
    if child.process.stdout is None:  # pragma: no cover - it is a pipe
        raise EOFError
    line = await child.process.stdout.readuntil(b"\n")
    child.owed -= 1
    return decoded(line)


def _check(child: _Child, answer: Mapping[str, Any]) -> None:
    """The first answer is the self-test's; later ones are of those who left."""
    if child.is_checked:
        return
    if answer.get("failures", ["no self-test"]):
        raise ValueError(f"self-test: {answer.get('failures') or answer}; libraries: {answer.get('libraries')}")
    child.is_checked = True


async def _end(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    # Waits for the exit and reads the pipe to its end, so that nothing of it stays behind.
    # RuntimeError: at shutdown somebody may still be reading, who then meets the end.
    with contextlib.suppress(OSError, ValueError, RuntimeError):
        await process.communicate(b"")


def _reason(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "it took too long"
    if isinstance(error, EOFError | ConnectionError):
        return "it ended unexpectedly"
    return f"{type(error).__name__}: {error}"
