"""What the tests of the middleware share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.trusted.given import Installation, installation


@pytest.fixture
def site() -> Iterator[Installation]:
    with installation() as running:
        yield running
