"""Fields that two readers could read differently are refused."""

from __future__ import annotations

import pytest

from passproxy.demo.refusals import Unanswerable, single


def test_fields_come_by_name() -> None:
    assert single([("a", "1"), ("b", "")]) == {"a": "1", "b": ""}


@pytest.mark.parametrize("values", [("1", "2"), ("1", "1")])
def test_a_repeated_name_is_refused_whatever_its_values(values: tuple[str, str]) -> None:
    with pytest.raises(Unanswerable):
        single([("a", value) for value in values])
