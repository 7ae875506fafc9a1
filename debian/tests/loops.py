"""
A plugin for Debian 13's pytest-asyncio, 0.25.

After each test that is a coroutine it makes a loop which nobody closes. The next
`asyncio.run` drops that, and its sockets would fail whatever test runs when they
are collected.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import Generator

import pytest


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Function) -> Generator[None, object, object]:
    # It is run by a function that is none. Of other tests a loop that is left is one that a fixture goes on with.
    is_coroutine = inspect.iscoroutinefunction(item.obj)
    try:
        return (yield)
    finally:
        if is_coroutine:
            _close_what_is_left()


def _close_what_is_left() -> None:
    # Without a current loop the policy raises one of the two.
    with contextlib.suppress(RuntimeError, DeprecationWarning):
        loop = asyncio.get_event_loop_policy().get_event_loop()
        # Loops with a wider scope than a test's are marked.
        if not hasattr(loop, "__pytest_asyncio"):
            loop.close()
