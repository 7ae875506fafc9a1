"""The process that reads XML: kept warm, killed when it hangs, replaced when it dies, never mixing up answers."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import uvloop

from passproxy.idp.saml import pool as module
from passproxy.idp.saml.errors import SamlRefused, SignatureRefused, VerifierBusy, VerifierFailed
from passproxy.idp.saml.messages import decoded, encoded, facts_from, verify_request
from passproxy.idp.saml.pool import COMMAND, Verifier
from tests.fakes import idp_saml as idp

#: Answers the self-test, then does what a document may make the real one do.
_FAKE = """
import json, os, sys, time
for line in sys.stdin.buffer:
    request = json.loads(line)
    if request["do"] == "hang":
        time.sleep(60)
    if request["do"] == "crash":
        os.abort()
    if request["do"] == "slow":
        time.sleep(0.2)
    if request["do"] == "noise":
        sys.stdout.write("not an answer")
    if request["do"] == "flood":
        sys.stdout.write("x" * (8 << 20))
    answer = {"failures": []} if request["do"] == "check" else {"echo": request.get("value")}
    sys.stdout.write(json.dumps(answer) + "\\n")
    sys.stdout.flush()
"""

Make = Callable[..., Verifier]


@pytest.fixture
async def make() -> AsyncIterator[Make]:
    made: list[Verifier] = []

    def make(script: str = _FAKE, **options: Any) -> Verifier:
        made.append(Verifier(time.time, command=(sys.executable, "-I", "-S", "-c", script), **options))
        return made[-1]

    yield make
    for verifier in made:
        await verifier.close()


def is_alive(process_id: int | None) -> bool:
    with contextlib.suppress(ProcessLookupError):
        os.kill(process_id or 0, 0)
        return True
    return False


async def started(verifier: Verifier) -> None:
    while verifier.process_id is None:  # noqa: ASYNC110 - it is polled from outside, as an administrator would
        await asyncio.sleep(0.01)


async def test_a_hung_process_is_killed_and_the_next_question_answered(make: Make) -> None:
    verifier = make(time_limit_seconds=0.3)
    await verifier.ask({"do": "echo"})
    hung = verifier.process_id
    with pytest.raises(VerifierFailed, match="too long"):
        await verifier.ask({"do": "hang"})
    assert not is_alive(hung)
    assert await verifier.ask({"do": "echo", "value": 1}) == {"echo": 1}
    assert verifier.process_id != hung


@pytest.mark.parametrize("deed", ["crash", "noise", "flood"])
async def test_a_process_that_dies_or_babbles_is_replaced(make: Make, deed: str) -> None:
    verifier = make()
    with pytest.raises(VerifierFailed):
        await verifier.ask({"do": deed})
    assert await verifier.ask({"do": "echo", "value": 1}) == {"echo": 1}


async def test_an_answer_nobody_waits_for_reaches_nobody_else(make: Make) -> None:
    verifier = make()
    await verifier.ask({"do": "echo"})
    before = verifier.process_id
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(verifier.ask({"do": "slow", "value": "mine"}), 0.05)
    assert await verifier.ask({"do": "echo", "value": "yours"}) == {"echo": "yours"}
    assert verifier.process_id == before


async def test_somebody_who_leaves_a_hanging_question_behind_harms_no_one(make: Make) -> None:
    verifier = make(time_limit_seconds=0.3)
    await verifier.ask({"do": "echo"})
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(verifier.ask({"do": "hang"}), 0.05)
    assert await verifier.ask({"do": "echo", "value": "innocent"}) == {"echo": "innocent"}


async def test_more_questions_than_the_queue_holds_are_refused_at_once(make: Make) -> None:
    verifier = make(queue_limit=3)
    answers = await asyncio.gather(*(verifier.ask({"do": "slow"}) for _ in range(5)), return_exceptions=True)
    refused = [answer for answer in answers if isinstance(answer, VerifierBusy)]
    assert len(refused) == 2
    assert refused[0].status == 503
    assert sum(isinstance(answer, dict) for answer in answers) == 3


async def test_a_process_that_does_not_come_up_is_reported_and_not_tried_at_every_login(make: Make) -> None:
    verifier = make("import sys; sys.exit(3)")
    with pytest.raises(VerifierFailed, match="did not start"):
        await verifier.ask({"do": "echo"})
    with pytest.raises(VerifierFailed, match="a moment ago"):
        await verifier.ask({"do": "echo"})


async def test_a_process_whose_self_test_fails_is_not_used(make: Make) -> None:
    failing = _FAKE.replace('{"failures": []}', '{"failures": ["a forgery is accepted"]}')
    with pytest.raises(VerifierFailed, match="a forgery is accepted"):
        await make(failing).ask({"do": "echo"})


async def test_a_missing_program_is_a_refusal() -> None:
    verifier = Verifier(time.time, command=("/nonexistent/python",))
    with pytest.raises(VerifierFailed, match="cannot be started"):
        await verifier.ask({"do": "echo"})
    await verifier.close()


async def test_a_running_verifier_replaces_what_died_before_it_is_asked(make: Make) -> None:
    verifier = make()
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        running = tasks.create_task(verifier.run())
        await started(verifier)
        with pytest.raises(VerifierFailed):
            await verifier.ask({"do": "crash"})
        await started(verifier)
        running.cancel()


async def test_closing_ends_the_process_even_when_it_hangs(make: Make) -> None:
    verifier = make(time_limit_seconds=30.0)
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        asking = tasks.create_task(_refused(verifier, {"do": "hang"}))
        await started(verifier)
        process_id = verifier.process_id
        await asyncio.sleep(0.1)
        await verifier.close()
        assert await asking
    assert not is_alive(process_id)
    with pytest.raises(VerifierFailed, match="shutting down"):
        await verifier.ask({"do": "echo"})


async def _refused(verifier: Verifier, request: dict[str, Any]) -> bool:
    try:
        await verifier.ask(request)
    except VerifierFailed:
        return True
    return False


async def test_the_process_inherits_no_secret(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PASSPROXY_OIDC_CLIENT_SECRET", "hush")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "/run/credentials/x")
    showing = _FAKE.replace('request.get("value")', "sorted(os.environ)")
    names = (await make(showing).ask({"do": "echo"}))["echo"]
    assert "PASSPROXY_OIDC_CLIENT_SECRET" not in names
    assert "CREDENTIALS_DIRECTORY" not in names


async def _real_process() -> None:
    """The real worker: a good answer, refusals with their class, nonsense, and its end."""
    verifier = Verifier(time.time)
    try:
        good = verify_request(idp.answer(), idp.expectations())
        assert facts_from((await verifier.ask(good))["facts"]).name_id == idp.USER
        with pytest.raises(SignatureRefused):
            await verifier.ask(verify_request(idp.answer(signed="neither"), idp.expectations()))
        with pytest.raises(SamlRefused):
            await verifier.ask({"do": "nothing known"})
        with pytest.raises(SamlRefused):
            await verifier.ask({"do": "verify", "document": "***", "expectations": asdict(idp.expectations())})
        process_id = verifier.process_id
    finally:
        await verifier.close()
    assert not is_alive(process_id)


async def test_the_real_process_answers_and_ends() -> None:
    await _real_process()


def test_the_real_process_works_under_uvloop() -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_real_process())


async def test_the_real_process_ends_with_its_parent() -> None:
    process = await asyncio.create_subprocess_exec(*COMMAND, stdin=asyncio.subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.close()
    assert await asyncio.wait_for(process.wait(), 10) == 0


async def test_the_real_process_is_ended_by_the_kernel_when_nobody_else_does() -> None:
    """Its alarm kills it even where no Python code runs: the parent may be gone."""
    script = "import time, passproxy.idp.saml.worker as w; w._ALARM_SECONDS = 1; w.answer = lambda line: time.sleep(60); w.main()"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", script, stdin=asyncio.subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write(b"{}\n")
    assert await asyncio.wait_for(process.wait(), 10) == -signal.SIGALRM


async def test_a_process_that_does_not_come_up_is_started_again_and_again(
    make: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "RESTART_SECONDS", 0.01)
    verifier = make("import sys; sys.exit(3)")
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        running = tasks.create_task(verifier.run())
        while caplog.text.count("idp.verifier_failed") < 3:  # noqa: ASYNC110 - polled from outside
            await asyncio.sleep(0.01)
        running.cancel()


async def test_who_waits_too_long_for_a_turn_is_told_to_come_back(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    verifier = make()
    await verifier.ask({"do": "echo"})
    monkeypatch.setattr(module, "WAIT_LIMIT_SECONDS", 0.05)
    answers = await asyncio.gather(*(verifier.ask({"do": "slow"}) for _ in range(2)), return_exceptions=True)
    assert [type(answer) for answer in answers] == [dict, VerifierBusy]
    assert await verifier.ask({"do": "echo", "value": 1}) == {"echo": 1}


async def test_a_stricter_limit_of_the_administrators_stays_as_it_is() -> None:
    script = f"ulimit -n 40; exec {COMMAND[0]} {' '.join(COMMAND[1:])}"
    verifier = Verifier(time.time, command=("/bin/sh", "-c", script))
    try:
        good = verify_request(idp.answer(), idp.expectations())
        assert facts_from((await verifier.ask(good))["facts"]).name_id == idp.USER
        limits = Path(f"/proc/{verifier.process_id}/limits").read_text()  # noqa: ASYNC240 - from memory
        assert re.search(r"^Max open files +40 +40 ", limits, re.MULTILINE)
    finally:
        await verifier.close()


def test_what_is_no_message_is_neither_sent_nor_taken() -> None:
    assert decoded(encoded({"a": b"b"})) == {"a": "Yg=="}
    with pytest.raises(TypeError, match="cannot be part of a message"):
        encoded({"a": object()})
    with pytest.raises(ValueError, match="a message is an object"):
        decoded(b"[1]\n")


@pytest.mark.parametrize("turns", range(6))
def test_a_start_that_is_given_up_on_the_way_leaves_no_process_behind(turns):
    """On the loop of production, which cannot be closed while one is there."""

    async def given_up():
        verifier = Verifier(time.time)
        running = asyncio.ensure_future(verifier.run())
        for _ in range(turns):
            await asyncio.sleep(0)
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
        await verifier.close()

    uvloop.run(given_up())
