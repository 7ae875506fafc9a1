"""Deadlines: told once they have passed, and never before."""

from __future__ import annotations

from passproxy.web.watch import NEVER, Watch


class Waiting:
    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.expired = 0

    def expire(self) -> None:
        self.expired += 1
        self.deadline = NEVER


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_what_is_due_is_told_and_what_is_not_is_left_alone():
    clock = Clock()
    watch = Watch(clock)
    due, later, never = Waiting(101), Waiting(110), Waiting(NEVER)
    watch.watched |= {due, later, never}
    watch.sweep()
    assert (due.expired, later.expired, never.expired) == (0, 0, 0)
    clock.now = 105.0
    watch.sweep()
    watch.sweep()
    assert (due.expired, later.expired, never.expired) == (1, 0, 0)
    assert watch.now == 105.0


def test_one_that_leaves_while_another_is_told_does_no_harm():
    clock = Clock()
    watch = Watch(clock)

    class Leaving(Waiting):
        def expire(self) -> None:
            super().expire()
            watch.watched.clear()

    watch.watched |= {Leaving(0), Leaving(0)}
    watch.sweep()
    assert watch.watched == set()
