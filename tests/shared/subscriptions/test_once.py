"""Actions that several notifications request and one of them performs."""

import pytest

from shared.errors import NotAttempted
from shared.subscriptions.once import Once
from tests.builders import NOW, Clock


def test_an_action_started_and_finished_after_the_request_is_not_repeated() -> None:
    clock, done = Clock(), list[str]()
    once = Once(clock)
    received = clock()
    clock.advance(seconds=1)
    for _ in range(3):
        once.run("a", received, lambda: done.append("a"))
    once.run("b", received, lambda: done.append("b"))
    assert done == ["a", "b"]


def test_what_is_asked_for_after_a_run_began_is_done_again() -> None:
    clock, done = Clock(), list[int]()
    once = Once(clock)
    for number in range(2):
        once.run("a", clock(), lambda number=number: done.append(number))  # type: ignore[misc]
    assert done == [0, 1]


def test_what_failed_is_done_by_the_next_that_asks_for_it() -> None:
    clock, done = Clock(), list[str]()
    once = Once(clock)
    clock.advance(seconds=1)
    with pytest.raises(ZeroDivisionError):
        once.run("a", NOW, lambda: 1 // 0)
    once.run("a", NOW, lambda: done.append("a"))
    assert done == ["a"]


def test_a_run_of_another_action_does_not_delay() -> None:
    clock, done = Clock(), list[str]()
    once = Once(clock)
    clock.advance(seconds=1)

    def do() -> None:
        with pytest.raises(NotAttempted) as refused:  # what another invocation requests meanwhile
            once.run("a", NOW, lambda: done.append("again"))
        assert refused.value.retry_after
        once.run("b", NOW, lambda: done.append("b"))
        done.append("a")

    once.run("a", NOW, do)
    once.run("a", NOW, do)
    assert done == ["b", "a"]
