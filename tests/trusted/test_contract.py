"""The contract, and that its list of violations finds what is wrong."""

from __future__ import annotations

import http.client
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.trusted.contract import Ask, Served, assertion_violations, violations
from tests.trusted.describing import Describing, describing
from tests.trusted.given import NOW, Proxy


@pytest.fixture
def proxy() -> Iterator[Describing]:
    with describing() as running:
        yield running


def asking(proxy: Describing) -> Ask:
    def ask(method: str, target: str) -> Served:
        connection = http.client.HTTPConnection(proxy.origin.removeprefix("http://"), timeout=10)
        try:
            connection.request(method, target)
            answer = connection.getresponse()
            headers = {name.lower(): value for name, value in answer.getheaders()}
            return Served(answer.status, headers, answer.read())
        finally:
            connection.close()

    return ask


def test_a_proxy_that_keeps_the_contract_has_no_violations(proxy: Describing) -> None:
    assert violations(asking(proxy), proxy.origin, now=NOW) == []
    assert assertion_violations(proxy.proxy.assertion(), asking(proxy), proxy.origin, now=NOW) == []


@pytest.mark.parametrize(
    ("description", "proof"),
    [
        ({"issuer": "https://other.example.com"}, {}),
        ({"algorithms": ["RS256"]}, {}),
        ({"assertion_header": "X-Other"}, {}),
        ({"claims": ["password"]}, {}),
        ({}, {"challenge": "A" * 43}),
        ({}, {"sub": "alice"}),
        ({}, {"exp": NOW + 61}),
    ],
)
def test_a_document_that_does_not_is_found(
    proxy: Describing, description: dict[str, Any], proof: dict[str, Any]
) -> None:
    proxy.description, proxy.proof = description, proof
    assert violations(asking(proxy), proxy.origin, now=NOW)


def test_headers_that_do_not_are_found(proxy: Describing) -> None:
    good = asking(proxy)

    def changed(name: str, value: str) -> Ask:
        def ask(method: str, target: str) -> Served:
            served = good(method, target)
            return Served(served.status, {**served.headers, name: value}, served.body)

        return ask

    for name, value in (
        ("content-type", "text/html"),
        ("cache-control", "no-cache"),
        ("set-cookie", "a=b"),
        ("content-encoding", "gzip"),
    ):
        assert violations(changed(name, value), proxy.origin, now=NOW)


def test_a_proxy_that_signs_any_challenge_is_found(proxy: Describing) -> None:
    good = asking(proxy)

    def ask(method: str, target: str) -> Served:
        served = good(method, target)
        return Served(200, served.headers, served.body) if served.status == 400 else served

    assert len(violations(ask, proxy.origin, now=NOW)) == 12


@pytest.mark.parametrize(
    "make",
    [
        lambda proxy: proxy.assertion(aud=[proxy.issuer]),
        lambda proxy: proxy.assertion(exp=NOW + 61),
        lambda proxy: proxy.assertion(user=None),
        lambda proxy: proxy.assertion(email=""),
        lambda proxy: proxy.assertion(groups=None),
        lambda proxy: proxy.assertion(groups="staff"),
        lambda proxy: proxy.assertion(password="secret"),
        lambda proxy: proxy.assertion({"jku": "https://app.example.com"}),
        lambda proxy: proxy.assertion({"kid": None}),
        lambda proxy: Proxy(issuer=proxy.issuer).assertion(),
    ],
)
def test_an_assertion_that_does_not_is_found(proxy: Describing, make: Callable[[Proxy], bytes]) -> None:
    assert assertion_violations(make(proxy.proxy), asking(proxy), proxy.origin, now=NOW)
