"""Keys are fetched seldom, whatever arrives, and hold for a bounded time when they cannot be fetched."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler

import pytest

from passproxy.trusted.errors import FetchFailed, KeysUnavailable, KeyUnknown
from passproxy.trusted.keys import INTERVAL_SECONDS, REFRESH_SECONDS, STALE_LIMIT_SECONDS, KeySet
from tests.trusted.given import Clock, Installation, Proxy, Script, body, new_key, published


def refresh(site: Installation) -> None:
    """What happens in the background, and its end."""
    site.verifier.keys.refresh().result(20)


def test_nothing_is_fetched_before_it_is_needed(site: Installation) -> None:
    assert site.server.asked == []


def test_a_thousand_assertions_fetch_the_keys_once(site: Installation) -> None:
    token = site.proxy.assertion()
    for _ in range(1000):
        site.verifier.verify(token)
    assert site.server.asked == ["/jwks.json"]


def test_a_flood_of_unknown_keys_fetches_at_most_once_a_minute(site: Installation) -> None:
    forger = Proxy(now=site.wall)
    tokens = [forger.assertion({"kid": f"made-up-{number}"}) for number in range(100)]
    for minute in range(1, 4):
        for number in range(1000):
            with pytest.raises(KeyUnknown):
                site.verifier.verify(tokens[number % 100])
            site.monotonic.passes(INTERVAL_SECONDS / 1001)
        assert len(site.server.asked) == minute
        site.monotonic.passes(INTERVAL_SECONDS / 1001)


def test_a_flood_from_many_threads_waits_for_one_fetch(site: Installation) -> None:
    arrived = threading.Barrier(20)
    go_on = threading.Event()
    answer = site.server.script

    def slow(handler: BaseHTTPRequestHandler) -> None:
        go_on.wait(5)
        answer(handler)

    site.server.script = slow
    token = site.proxy.assertion()

    def one(_: int) -> str:
        arrived.wait(20)
        return site.verifier.verify(token).user

    with ThreadPoolExecutor(20) as pool:
        users = [pool.submit(one, number) for number in range(20)]
        go_on.set()
        assert {user.result(20) for user in users} == {"alice"}
    assert len(site.server.asked) == 1


def test_a_new_key_is_found_when_it_is_first_used(site: Installation) -> None:
    assert site.verifier.verify(site.proxy.assertion())
    site.proxy.key, old = new_key(), site.proxy.key
    site.publish(site.proxy.key, old)
    site.passes(INTERVAL_SECONDS)
    assert site.verifier.verify(site.proxy.assertion()).user == "alice"
    assert len(site.server.asked) == 2


def test_within_the_minute_a_new_key_has_to_wait(site: Installation) -> None:
    assert site.verifier.verify(site.proxy.assertion())
    site.proxy.key = new_key()
    site.publish(site.proxy.key)
    site.passes(INTERVAL_SECONDS - 1)
    with pytest.raises(KeyUnknown):
        site.verifier.verify(site.proxy.assertion())
    site.passes(1)
    assert site.verifier.verify(site.proxy.assertion())


def test_a_key_that_was_published_in_time_is_known_when_it_is_first_used(site: Installation) -> None:
    """With the overlap that the contract asks for, a rotation is not even slow."""
    assert site.verifier.verify(site.proxy.assertion())
    coming = new_key()
    site.publish(site.proxy.key, coming)
    site.passes(REFRESH_SECONDS)
    refresh(site)
    site.proxy.key = coming
    asked = len(site.server.asked)
    assert site.verifier.verify(site.proxy.assertion())
    assert len(site.server.asked) == asked


def test_keys_that_are_no_longer_fresh_are_fetched_without_anybody_waiting(site: Installation) -> None:
    assert site.verifier.verify(site.proxy.assertion())
    asked, go_on = threading.Event(), threading.Event()
    answer = site.server.script

    def slow(handler: BaseHTTPRequestHandler) -> None:
        asked.set()
        go_on.wait(5)
        answer(handler)

    site.server.script = slow
    site.passes(REFRESH_SECONDS)
    for _ in range(10):
        assert site.verifier.verify(site.proxy.assertion())
    assert asked.wait(20), "a request has brought it about"
    running = site.verifier.keys.refresh()
    assert not running.done()
    go_on.set()
    running.result(20)
    assert len(site.server.asked) == 2


def test_a_withdrawn_key_is_forgotten(site: Installation) -> None:
    token = site.proxy.assertion(exp=int(site.wall()) + 3600)
    assert site.verifier.verify(token)
    site.publish(new_key())
    site.passes(REFRESH_SECONDS)
    refresh(site)
    with pytest.raises(KeyUnknown):
        site.verifier.verify(token)


BROKEN: dict[str, Script] = {
    "down": body(b"", 503),
    "missing": body(b"not found", 404),
    "redirecting": body(b"", 302, Location="/elsewhere.json"),
    "garbage": body(b"<html>login</html>"),
    "a list": body(b"[]"),
    "no keys": body(b'{"keys": []}'),
    "text for keys": body(b'{"keys": "all"}'),
    "deeply nested": body(b"[" * 100_000),
}


@pytest.mark.parametrize("script", BROKEN.values(), ids=BROKEN)
def test_while_the_keys_cannot_be_read_the_last_ones_hold_for_a_bounded_time(
    site: Installation, script: Script
) -> None:
    assert site.verifier.verify(site.proxy.assertion())
    site.server.script = script
    site.passes(REFRESH_SECONDS)
    refresh(site)
    assert site.verifier.verify(site.proxy.assertion())
    site.passes(STALE_LIMIT_SECONDS - REFRESH_SECONDS)
    assert site.verifier.verify(site.proxy.assertion())
    site.passes(1)
    with pytest.raises(KeysUnavailable):
        site.verifier.verify(site.proxy.assertion())
    site.publish(site.proxy.key)
    site.passes(INTERVAL_SECONDS)
    assert site.verifier.verify(site.proxy.assertion())
    assert "/elsewhere.json" not in site.server.asked


@pytest.mark.parametrize("script", BROKEN.values(), ids=BROKEN)
def test_without_any_keys_nothing_is_believed_and_the_server_is_asked_once_a_minute(script: Script) -> None:
    clock, proxy = Clock(0.0), Proxy()
    with published(script) as server:
        keys = KeySet(server.url, clock=clock)
        for _ in range(100):
            with pytest.raises(KeysUnavailable):
                keys.get(proxy.kid, "ES256")
        assert len(server.asked) == 1
        clock.passes(INTERVAL_SECONDS)
        with pytest.raises(KeysUnavailable):
            keys.get(proxy.kid, "ES256")
        assert len(server.asked) == 2


def test_a_function_of_the_application_may_fetch_and_may_fail() -> None:
    clock, proxy = Clock(0.0), Proxy()
    answers: list[bytes | Exception] = [ZeroDivisionError(), FetchFailed("no way out"), proxy.jwks()]

    def fetch(url: str) -> bytes:
        assert url == "https://app.example.com/keys"
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    keys = KeySet("https://app.example.com/keys", fetch=fetch, clock=clock)
    with pytest.raises(KeysUnavailable, match="ZeroDivisionError"):
        keys.get(None, "ES256")
    clock.passes(INTERVAL_SECONDS)
    with pytest.raises(KeysUnavailable, match="no way out"):
        keys.get(None, "ES256")
    clock.passes(INTERVAL_SECONDS)
    assert keys.get(None, "ES256").kid == proxy.kid


def test_a_fetch_that_was_lost_is_given_up_after_a_minute() -> None:
    """As after a fork, where the thread of the parent does not go on."""
    clock, proxy = Clock(0.0), Proxy()
    hung, calls = threading.Event(), []

    def fetch(_: str) -> bytes:
        calls.append(clock())
        if len(calls) == 1:
            hung.wait(20)
            return Proxy().jwks()
        return proxy.jwks()

    keys = KeySet("https://app.example.com/keys", fetch=fetch, clock=clock)
    lost = keys.refresh()
    clock.passes(INTERVAL_SECONDS)
    assert keys.get(proxy.kid, "ES256")
    hung.set()
    lost.result(20)
    assert keys.get(proxy.kid, "ES256"), "what comes too late replaces nothing"


def test_nobody_who_waits_can_cancel_the_fetch_of_others(site: Installation) -> None:
    running = site.verifier.keys.refresh()
    assert not running.cancel()
    running.result(20)
    assert site.verifier.verify(site.proxy.assertion())


def test_where_no_thread_can_be_started_nothing_is_believed(
    site: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", full)
    with pytest.raises(KeysUnavailable, match="can't start new thread"):
        site.verifier.verify(site.proxy.assertion())
