"""A line for each exchange, as the client saw it; nothing of it that is secret."""

from __future__ import annotations

import asyncio
import time

import pytest

from passproxy.core.handles import own_handle
from passproxy.web import access as module
from tests.fakes.gateway import PassProxy, eventually, get, protecting, request
from tests.fakes.raw import Cut, Raw
from tests.fakes.upstream import answering, hang
from tests.fakes.websocket import GREETING, accepting, handshake

TRACE = "0af7651916cd43dd8448eb211c80319c"
GIVEN = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.fixture
async def passproxy(upstream, tmp_path):
    async with protecting(
        upstream.url, tmp_path, passthrough={"paths": ["/public/**"]}, log={"access": True}
    ) as running:
        yield running


async def test_without_the_setting_there_is_none(upstream, tmp_path, log):
    async with protecting(upstream.url, tmp_path) as passproxy, Raw(passproxy.address) as raw:
        await raw.ask(get("/", cookie=passproxy.cookie()))
    assert log.events == []


async def test_a_line_tells_who_asked_for_what_and_what_came_of_it(upstream, passproxy: PassProxy, log):
    cookie = passproxy.cookie()
    session = passproxy.sessions.session(cookie.partition("=")[2].encode(), time.time())
    wire = get(
        "/reports/a?token=secret",
        f"X-Request-Id: {GIVEN}",
        f"traceparent: 00-{TRACE}-b7ad6b7169203331-01",
        "X-Forwarded-For: 192.0.2.7",
        cookie=cookie,
    )
    async with Raw(passproxy.address) as raw:
        answer = await raw.ask(wire)
    line = log.one("http.access")
    assert 0 <= line.pop("milliseconds") < 5000
    assert line == {
        "method": "GET",
        "path": "/reports/a",
        "status": 200,
        "received": len(wire),
        "sent": len(answer.head + answer.body),
        "user": "alice",
        "session": own_handle(session.id),
        "client": "192.0.2.7",
        "request_id": GIVEN,
        "trace": TRACE,
    }
    seen = upstream.requests[-1]
    assert seen.one(b"x-request-id") == GIVEN.encode()
    assert seen.one(b"traceparent") == f"00-{TRACE}-b7ad6b7169203331-01".encode()


async def test_bodies_count_both_ways_and_each_exchange_for_itself(upstream, passproxy, log):
    upstream.script = answering(b"HTTP/1.1 201 Created\r\nContent-Length: 5000\r\n\r\n" + b"x" * 5000)
    wires = [request("POST", "/up", cookie=passproxy.cookie(), body=b"y" * size) for size in (70_000, 1)]
    async with Raw(passproxy.address) as raw:
        answers = [await raw.ask(wire) for wire in wires]
    lines = log.named("http.access")
    assert [line["received"] for line in lines] == [len(wire) for wire in wires]
    assert [line["sent"] for line in lines] == [len(answer.head + answer.body) for answer in answers]
    assert [line["status"] for line in lines] == [201, 201]


async def test_an_interim_answer_is_not_the_answer(upstream, passproxy, log):
    upstream.script = answering(
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
    )
    async with Raw(passproxy.address) as raw:
        wire = request("PUT", "/", "Expect: 100-continue", "Content-Length: 1", cookie=passproxy.cookie())
        await raw.send(wire)
        assert (await raw.head()).startswith(b"HTTP/1.1 100 ")
        await raw.send(b"x")
        answer = await raw.answer(b"PUT")
        assert len(answer.interim) == 1
    assert [line["status"] for line in log.named("http.access")] == [404]


async def test_a_body_that_looks_like_an_answer_is_none(upstream, passproxy, log):
    upstream.script = answering(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nd\r\nHTTP/1.1 500 \r\n0\r\n\r\n")
    async with Raw(passproxy.address) as raw:
        await raw.ask(get("/", cookie=passproxy.cookie()))
    assert log.one("http.access")["status"] == 200


async def test_our_own_answers_have_a_line_with_the_id_that_the_page_shows(passproxy, log):
    async with Raw(passproxy.address) as raw:
        answer = await raw.ask(get("/api"))
        await raw.ask(get("/.passproxy/health"))
        await raw.ask(get("/public/x"))
        await raw.ask(b"nonsense\r\n\r\n")
    lines = log.named("http.access")
    assert [(line.get("path"), line["status"]) for line in lines] == [
        ("/api", 401),
        ("/.passproxy/health", 200),
        ("/public/x", 200),
        (None, 400),
    ]
    assert lines[0]["request_id"] == answer.json()["request_id"]
    assert len({line["request_id"] for line in lines}) == 4
    assert not any("user" in line for line in lines)


async def test_who_asks_at_an_endpoint_of_ours_is_told_too(passproxy, log):
    async with Raw(passproxy.address) as raw:
        await raw.ask(get("/.passproxy/userinfo", cookie=passproxy.cookie("bob")))
    assert log.one("http.access")["user"] == "bob"


async def test_pipelined_requests_have_a_line_each(passproxy, log):
    async with Raw(passproxy.address) as raw:
        await raw.send(get("/1", cookie=passproxy.cookie()) + get("/2", cookie=passproxy.cookie("bob")))
        assert [(await raw.answer()).status, (await raw.answer()).status] == [200, 200]
    assert [(line["path"], line["user"]) for line in log.named("http.access")] == [("/1", "alice"), ("/2", "bob")]


async def test_a_client_that_leaves_has_a_line_without_a_status(upstream, passproxy, log):
    upstream.script = hang
    async with Raw(passproxy.address) as raw:
        await raw.send(get("/slow", cookie=passproxy.cookie()))
        await eventually(lambda: len(upstream.requests) == 1, "the request")
    await eventually(lambda: bool(log.named("http.access")), "the line")
    line = log.one("http.access")
    assert line["path"] == "/slow"
    assert "status" not in line


async def test_an_answer_that_breaks_off_has_a_line(upstream, passproxy, log):
    upstream.script = answering(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", closes=True)
    async with Raw(passproxy.address) as raw:
        with pytest.raises(Cut):
            await raw.ask(get("/", cookie=passproxy.cookie()))
    await eventually(lambda: bool(log.named("http.access")), "the line")
    (line,), (why,) = log.named("http.access"), log.named("upstream.truncated")
    assert (line["status"], line["request_id"]) == (200, why["request_id"])


async def test_an_upgrade_has_a_line_when_it_begins_and_its_bytes_pass(upstream, passproxy, log):
    upstream.script = accepting
    async with Raw(passproxy.address) as raw:
        await raw.send(handshake(cookie=passproxy.cookie()))
        assert (await raw.answer()).status == 101
        assert await raw.take(5) == GREETING
        assert log.one("http.access")["status"] == 101
        await raw.send(b"x" * 100_000)
        assert await raw.take(100_000) == b"x" * 100_000
    await asyncio.sleep(0.05)
    assert len(log.named("http.access")) == 1


async def test_names_are_remembered_within_bounds(passproxy, log, monkeypatch):
    monkeypatch.setattr(module, "REMEMBERED_LIMIT", 1)
    async with Raw(passproxy.address) as raw:
        cookies = [passproxy.cookie(user) for user in ("alice", "bob")]
        for number in (0, 1, 0, 0):
            await raw.ask(get("/", cookie=cookies[number]))
    assert [line["user"] for line in log.named("http.access")] == ["alice", "bob", "alice", "alice"]


async def test_log_03_no_line_has_a_cookie_a_query_or_a_credential(passproxy, log):
    cookie = passproxy.cookie()
    async with Raw(passproxy.address) as raw:
        for target in ("/a?query-secret=1", "/public/a?query-secret=1", "/.passproxy/login?return_to=query-secret"):
            await raw.ask(
                get(target, "Authorization: Bearer credential-secret", cookie=f"{cookie}; other=cookie-secret")
            )
    assert len(log.named("http.access")) == 3
    for secret in ("query-secret", "credential-secret", "cookie-secret", cookie.partition("=")[2]):
        assert not log.tells(secret)


@pytest.mark.parametrize("path", ["/%0a{%22level%22:%22error%22}", "/\xff", "/" + "a" * 5000])
async def test_log_01_a_path_makes_no_second_line(passproxy, log, caplog, path):
    async with Raw(passproxy.address) as raw:
        await raw.ask(get(path, cookie=passproxy.cookie()))
    for record in caplog.records:
        line = module.log.JsonFormatter().format(record)
        assert len(line.splitlines()) == 1
        assert len(line) < 1000


async def test_a_line_that_cannot_be_written_costs_no_exchange(passproxy, log, monkeypatch):
    def fails(*_: object) -> None:
        raise RuntimeError("the secret that it failed on")

    monkeypatch.setattr(module, "trace_id", fails)
    async with Raw(passproxy.address) as raw:
        answers = [await raw.ask(get("/", cookie=passproxy.cookie())) for _ in range(2)]
    assert [answer.status for answer in answers] == [200, 200]
    assert len(log.named("http.access_failed")) == 2
    assert not log.tells("request.failed")


async def test_a_reload_turns_it_on_and_off_for_new_connections(upstream, tmp_path, log):
    async with protecting(upstream.url, tmp_path) as passproxy:
        for access in (False, True, False):
            passproxy.reload(log={"access": access})
            async with Raw(passproxy.address) as raw:
                await raw.ask(get(f"/{access}", cookie=passproxy.cookie()))
    assert [line["path"] for line in log.named("http.access")] == ["/True"]
