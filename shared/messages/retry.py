"""When to try again: a decision as a value, which somebody else carries out."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

SCHEDULE = tuple(timedelta(seconds=s) for s in (2, 5, 15, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200))
"""Seconds at first, then minutes, then hours; the last one repeats."""

JITTER = 0.2
"""Share by which a delay varies, so that what failed together doesn't come back together."""

LONGEST = timedelta(days=6)
"""A queue message can be hidden for seven days."""


@dataclass(frozen=True)
class RetryIn:
    """Try again after `delay`."""

    delay: timedelta


@dataclass(frozen=True)
class GiveUp:
    """The horizon is passed."""


def after_failure(
    attempt: int,
    first_seen: datetime,
    now: datetime,
    horizon: timedelta,
    retry_after: timedelta | None,
    chance: Callable[[], float],
) -> RetryIn | GiveUp:
    """Decide what becomes of an item that failed for the `attempt`-th time, counted from 0.

    `retry_after` is what the other side asked for: never come earlier. `chance` returns a number in [0, 1).
    """
    if now - first_seen >= horizon:
        return GiveUp()
    delay = SCHEDULE[min(attempt, len(SCHEDULE) - 1)] * (1 + JITTER * (2 * chance() - 1))
    delay = min(delay, first_seen + horizon - now)  # a last attempt at the horizon rather than one too late
    if retry_after is not None:
        delay = max(delay, retry_after * (1 + JITTER * chance()))
    return RetryIn(min(delay, LONGEST))
