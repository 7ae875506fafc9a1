"""What `passproxy doctor` asks PassProxy itself: answered to whoever has a key, and a page of nobody else's."""

from __future__ import annotations

import time

import pytest

from passproxy.core.tokens import Key, KeyRing, Purpose
from passproxy.web.seen import LARGEST_ANSWER_BYTES, QUESTION_SECONDS, question
from tests.fakes.gateway import ORIGIN, get, protecting
from tests.fakes.raw import Raw


@pytest.fixture
async def passproxy(upstream, tmp_path):
    async with protecting(upstream.url, tmp_path) as running:
        yield running


async def asked(passproxy, query: str, *lines: str):
    async with Raw(passproxy.address) as raw:
        return await raw.ask(get(f"/.passproxy/doctor?{query}", *lines))


async def test_whoever_has_a_key_is_told_how_the_request_arrived(passproxy, upstream):
    answer = await asked(passproxy, question(passproxy.ring, time.time()), "X-Forwarded-For: 192.0.2.7")
    assert answer.status == 200
    assert answer.json() == {"client": "192.0.2.7", "forwarded_for": "192.0.2.7"}
    assert upstream.requests == []


async def test_the_answer_is_as_large_as_that_of_the_largest_login(passproxy):
    answer = await asked(passproxy, question(passproxy.ring, time.time()))
    assert len(answer.head) > LARGEST_ANSWER_BYTES - 1024
    # Each line fits where one cookie does.
    assert max(len(value) for _, value in answer.fields) < 4096


def others(ring: KeyRing) -> dict[str, str]:
    now = int(time.time())
    foreign = KeyRing((Key("k", b"x" * 32, now),), ORIGIN)
    claims = {"issued_at": now, "expires_at": now + 60}
    return {
        "nothing": "",
        "no token": "a.b.c",
        "another key": question(foreign, now),
        "another origin": question(KeyRing(ring._keys, "https://other.example.com"), now),
        "another purpose": ring.seal(Purpose.SESSION, {}, **claims),
        "an old one": question(ring, now - QUESTION_SECONDS - 1),
    }


@pytest.mark.parametrize(
    "what", ["nothing", "no token", "another key", "another origin", "another purpose", "an old one"]
)
async def test_for_anybody_else_there_is_no_such_page(passproxy, what):
    refused = await asked(passproxy, others(passproxy.ring)[what])
    async with Raw(passproxy.address) as raw:
        unheard_of = await raw.ask(get("/.passproxy/frobnicate"))
    assert refused.status == unheard_of.status == 404
    assert len(refused.head) < 2048
    assert refused.json()["code"] == "PP-ENDPOINT"


async def test_a_question_is_no_session(passproxy, upstream):
    token = question(passproxy.ring, time.time())
    async with Raw(passproxy.address) as raw:
        answer = await raw.ask(get("/", cookie=f"{passproxy.names.session}={token}"))
    assert answer.status == 401
    assert upstream.requests == []
