"""Actions that several notifications request and one of them performs."""

import pytest

from shared.errors import NotAttempted
from shared.subscriptions.single_flight import SingleFlight
from tests.builders import NOW, Clock


def test_an_action_started_and_finished_after_the_request_is_not_repeated() -> None:
    clock, done = Clock(), list[str]()
    single_flight = SingleFlight(clock)
    received = clock()
    clock.advance(seconds=1)
    for _ in range(3):
        single_flight.run("a", received, lambda: done.append("a"))
    single_flight.run("b", received, lambda: done.append("b"))
    assert done == ["a", "b"]


def test_what_is_asked_for_after_a_run_began_is_done_again() -> None:
    clock, done = Clock(), list[int]()
    single_flight = SingleFlight(clock)
    for number in range(2):
        single_flight.run("a", clock(), lambda number=number: done.append(number))  # type: ignore[misc]
    assert done == [0, 1]


def test_what_failed_is_done_by_the_next_that_asks_for_it() -> None:
    clock, done = Clock(), list[str]()
    single_flight = SingleFlight(clock)
    clock.advance(seconds=1)
    with pytest.raises(ZeroDivisionError):
        single_flight.run("a", NOW, lambda: 1 // 0)
    single_flight.run("a", NOW, lambda: done.append("a"))
    assert done == ["a"]


def test_a_run_of_another_action_does_not_delay() -> None:
    clock, done = Clock(), list[str]()
    single_flight = SingleFlight(clock)
    clock.advance(seconds=1)

    def do() -> None:
        with pytest.raises(NotAttempted) as refused:  # what another invocation requests meanwhile
            single_flight.run("a", NOW, lambda: done.append("again"))
        assert refused.value.retry_after
        single_flight.run("b", NOW, lambda: done.append("b"))
        done.append("a")

    single_flight.run("a", NOW, do)
    single_flight.run("a", NOW, do)
    assert done == ["b", "a"]
