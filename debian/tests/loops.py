"""
A plugin for Debian 13's pytest-asyncio, 0.25.

After each test that is a coroutine it makes a loop which nobody closes. The next
`asyncio.run` drops that, and its sockets would fail whatever test runs when they
are collected.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Generator

import pytest


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown() -> Generator[None, object, object]:
    try:
        return (yield)
    finally:
        # Without a current loop the policy raises one of the two.
        with contextlib.suppress(RuntimeError, DeprecationWarning):
            loop = asyncio.get_event_loop_policy().get_event_loop()
            # Loops with a wider scope than a test's are marked.
            if not hasattr(loop, "__pytest_asyncio"):
                loop.close()
