"""The time of the next attempt."""

from datetime import timedelta

from hypothesis import assume, given
from hypothesis import strategies as st

from shared.messages.retry import JITTER, MAX_DELAY, SCHEDULE, DeadLetterNow, RetryIn, after_failure
from tests.builders import NOW

attempts = st.integers(0, 10_000)
chances = st.floats(0, 1, exclude_max=True)
horizons = st.timedeltas(timedelta(minutes=1), timedelta(days=30))
ages = st.timedeltas(timedelta(0), timedelta(days=40))
waits = st.none() | st.timedeltas(timedelta(0), timedelta(days=400))


def decide(
    attempt: int = 0,
    age: timedelta = timedelta(0),
    horizon: timedelta = timedelta(hours=72),
    wait: timedelta | None = None,
    chance: float = 0.5,
) -> RetryIn | DeadLetterNow:
    return after_failure(attempt, NOW - age, NOW, horizon, wait, lambda: chance)


@given(attempts, ages, horizons, waits, chances)
def test_an_item_is_given_up_at_its_horizon_and_not_before(
    attempt: int, age: timedelta, horizon: timedelta, wait: timedelta | None, chance: float
) -> None:
    assert isinstance(decide(attempt, age, horizon, wait, chance), DeadLetterNow) is (age >= horizon)


@given(attempts, ages, horizons, st.timedeltas(timedelta(0), timedelta(days=400)), chances)
def test_nothing_comes_earlier_than_asked_for_but_for_what_a_queue_can_hide(
    attempt: int, age: timedelta, horizon: timedelta, wait: timedelta, chance: float
) -> None:
    assume(age < horizon)
    decision = decide(attempt, age, horizon, wait, chance)
    assert isinstance(decision, RetryIn)
    assert min(wait, MAX_DELAY) <= decision.delay <= MAX_DELAY < timedelta(days=7)


@given(attempts, ages, horizons, chances)
def test_unasked_the_last_attempt_is_at_the_horizon_at_the_latest(
    attempt: int, age: timedelta, horizon: timedelta, chance: float
) -> None:
    assume(age < horizon)
    decision = decide(attempt, age, horizon, None, chance)
    assert isinstance(decision, RetryIn)
    assert timedelta(0) < decision.delay <= horizon - age


@given(attempts, chances, chances)
def test_delays_grow_but_for_the_jitter(attempt: int, chance: float, later: float) -> None:
    decision, following = decide(attempt, chance=chance), decide(attempt + 1, chance=later)
    assert isinstance(decision, RetryIn)
    assert isinstance(following, RetryIn)
    assert following.delay >= decision.delay * (1 - JITTER) / (1 + JITTER)


@given(chances, chances)
def test_what_failed_together_does_not_come_back_together(chance: float, other: float) -> None:
    assume(abs(chance - other) > 0.001)
    for wait in (None, timedelta(minutes=10)):
        assert decide(5, chance=chance, wait=wait) != decide(5, chance=other, wait=wait)


@given(attempts, chances, st.timedeltas(timedelta(0), timedelta(minutes=10)))
def test_a_clock_that_runs_behind_gives_up_nothing(attempt: int, chance: float, ahead: timedelta) -> None:
    assert isinstance(decide(attempt, -ahead, chance=chance), RetryIn)


def test_the_schedule_goes_from_seconds_to_hours() -> None:
    assert list(SCHEDULE) == sorted(SCHEDULE)
    assert SCHEDULE[0] <= timedelta(seconds=5)
    assert SCHEDULE[-1] >= timedelta(hours=1)
