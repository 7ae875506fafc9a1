"""The demo's servers on free loopback ports, and a browser-like client that follows nothing by itself."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import aiohttp
import pytest

from passproxy.demo.application import DemoApplication
from passproxy.demo.assertions import KeyPair, key_pair
from passproxy.demo.idp import DemoIdentityProvider
from tests.demo.clock import Clock

ORIGIN = "http://127.0.0.1:8080"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="session")
def keys() -> KeyPair:
    return key_pair("Test", time.time())


@pytest.fixture
async def idp(keys: KeyPair, clock: Clock) -> AsyncIterator[DemoIdentityProvider]:
    async with DemoIdentityProvider(ORIGIN, keys=keys, clock=clock) as running:
        yield running


@pytest.fixture
async def application() -> AsyncIterator[DemoApplication]:
    async with DemoApplication() as running:
        yield running


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    # Browsers keep cookies of addresses too; aiohttp does only when told so.
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
        yield session
