"""The circuit breaker, which saves attempts while a destination is unavailable."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.circuit_breaker import FAILURE_THRESHOLD, FIRST_PAUSE, LONGEST_PAUSE, CircuitBreaker
from shared.errors import NotAttempted, Reason, RetryLater, TimedOut
from tests.builders import Clock


def tried(breaker: CircuitBreaker, fails: bool, wait: timedelta | None = None) -> bool:
    """Return whether an attempt was allowed."""
    through = False
    try:
        with breaker.attempt():
            through = True
            if fails:
                raise RetryLater(Reason.DESTINATION, retry_after=wait)
    except RetryLater as retry_later:
        assert through or retry_later.retry_after  # noqa: PT017
    return through


def test_attempts_pass_until_failures_in_a_row_stop_them() -> None:
    breaker = CircuitBreaker(Reason.DESTINATION, Clock())
    assert [tried(breaker, fails=True) for _ in range(FAILURE_THRESHOLD + 2)] == [True] * FAILURE_THRESHOLD + [
        False
    ] * 2


def test_a_success_between_starts_the_count_again() -> None:
    breaker = CircuitBreaker(Reason.DESTINATION, Clock())
    assert all(tried(breaker, fails=number % 2 == 0) for number in range(20))


def test_one_attempt_a_pause_finds_out_and_a_success_lets_all_through() -> None:
    clock = Clock()
    breaker = CircuitBreaker(Reason.DESTINATION, clock)
    for _ in range(FAILURE_THRESHOLD):
        tried(breaker, fails=True)
    clock.advance(seconds=LONGEST_PAUSE.total_seconds())
    with breaker.attempt():
        assert not tried(breaker, fails=False)
    assert all(tried(breaker, fails=False) for _ in range(5))


def test_retry_after_is_honoured_from_the_first_failure() -> None:
    clock = Clock()
    breaker = CircuitBreaker(Reason.DESTINATION, clock)
    tried(breaker, fails=True, wait=timedelta(hours=1))
    clock.advance(minutes=59)
    assert not tried(breaker, fails=False)
    clock.advance(minutes=1)
    assert tried(breaker, fails=False)


@pytest.mark.parametrize(("hours", "minutes"), [(0.5, 1.5), (10, 30), (72, 60)])
def test_the_longer_the_outage_the_later_a_backlog_comes_back(hours: float, minutes: float) -> None:
    """A backlog that came back every five minutes for a day would cost the others more than its delivery."""
    clock = Clock()
    breaker = CircuitBreaker(Reason.DESTINATION, clock, timedelta(hours=1))
    for _ in range(FAILURE_THRESHOLD):
        tried(breaker, fails=True)
    clock.advance(hours=hours)
    tried(breaker, fails=True)
    with pytest.raises(NotAttempted) as refused:
        breaker.check()
    assert refused.value.retry_after == timedelta(minutes=minutes)


@given(st.integers(1, 200))
def test_pauses_grow_to_a_minute_and_no_longer(failures: int) -> None:
    clock = Clock()
    breaker = CircuitBreaker(Reason.DESTINATION, clock)
    for _ in range(failures):
        clock.advance(seconds=LONGEST_PAUSE.total_seconds())
        assert tried(breaker, fails=True)


def test_an_error_of_our_own_passes_through() -> None:
    with pytest.raises(ZeroDivisionError), CircuitBreaker(Reason.DESTINATION, Clock()).attempt():
        raise ZeroDivisionError


def test_many_attempts_that_were_under_way_together_count_as_one_outage() -> None:
    clock = Clock()
    breaker = CircuitBreaker(Reason.DESTINATION, clock)
    at_once = [breaker.attempt() for _ in range(24)]
    for attempt in at_once:
        attempt.__enter__()
    for attempt in at_once:
        attempt.__exit__(RetryLater, RetryLater(Reason.DESTINATION), None)
    assert not tried(breaker, fails=False)
    clock.advance(seconds=FIRST_PAUSE.total_seconds())
    assert tried(breaker, fails=False)


def test_the_longest_retry_after_of_concurrent_attempts_counts() -> None:
    clock = Clock()
    breaker = CircuitBreaker(Reason.DESTINATION, clock)
    first, second = breaker.attempt(), breaker.attempt()
    first.__enter__()
    second.__enter__()
    for attempt, seconds in ((first, 3600), (second, 10)):
        attempt.__exit__(RetryLater, RetryLater(Reason.DESTINATION, retry_after=timedelta(seconds=seconds)), None)
    clock.advance(minutes=59)
    assert not tried(breaker, fails=False)


def test_one_attempt_that_used_up_its_time_limit_stops_the_others() -> None:
    breaker = CircuitBreaker(Reason.GRAPH, Clock())
    with pytest.raises(TimedOut), breaker.attempt():
        raise TimedOut(Reason.GRAPH)
    assert not tried(breaker, fails=False)


def test_one_attempt_at_a_time_probes_the_destination() -> None:
    clock = Clock()
    breaker = CircuitBreaker(Reason.GRAPH, clock)
    for _ in range(FAILURE_THRESHOLD):
        tried(breaker, fails=True)
    clock.advance(seconds=FIRST_PAUSE.total_seconds())
    with breaker.attempt():
        clock.advance(hours=1)
        assert not tried(breaker, fails=False)


@pytest.mark.parametrize("error", [NotAttempted(Reason.POSTPONED), KeyboardInterrupt()])
def test_an_attempt_that_comes_to_no_end_lets_another_find_out(error: BaseException) -> None:
    clock = Clock()
    breaker = CircuitBreaker(Reason.GRAPH, clock)
    for _ in range(FAILURE_THRESHOLD):
        tried(breaker, fails=True)
    clock.advance(seconds=FIRST_PAUSE.total_seconds())
    with pytest.raises(type(error)), breaker.attempt():
        raise error
    assert tried(breaker, fails=False)


@pytest.mark.parametrize(("minutes", "least", "most"), [(1, 2, 61), (60, 179, 181), (6000, 299, 301)])
def test_a_blocked_attempt_waits_in_proportion_to_the_outage_at_most_five_minutes(
    minutes: int, least: int, most: int
) -> None:
    """Long enough that a backlog does not retry each minute, and short enough that the last messages soon follow."""
    clock = Clock()
    breaker = CircuitBreaker(Reason.DESTINATION, clock)
    for _ in range(FAILURE_THRESHOLD):
        tried(breaker, fails=True)
    for _ in range(minutes):
        clock.advance(minutes=1)
        tried(breaker, fails=True)
    with pytest.raises(NotAttempted) as turned, breaker.attempt():
        pass
    assert turned.value.retry_after is not None
    assert least <= turned.value.retry_after.total_seconds() <= most
