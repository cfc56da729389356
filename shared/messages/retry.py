"""When to retry: a decision as a value; `process_queue.requeue` carries it out."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

SCHEDULE = tuple(timedelta(seconds=s) for s in (2, 5, 15, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200))
"""Seconds at first, then minutes, then hours; the last one repeats."""

JITTER = 0.2
"""Share by which a delay varies, so that messages that failed together are not retried together."""

MAX_DELAY = timedelta(days=6)
"""A queue message can be hidden for seven days."""


@dataclass(frozen=True)
class RetryIn:
    """Try again after `delay`."""

    delay: timedelta


@dataclass(frozen=True)
class DeadLetterNow:
    """The delivery horizon has passed: dead-letter the item."""


def after_failure(
    attempt: int,
    first_seen: datetime,
    now: datetime,
    horizon: timedelta,
    retry_after: timedelta | None,
    chance: Callable[[], float],
) -> RetryIn | DeadLetterNow:
    """Decide what to do with an item after its `attempt`-th failure, counted from 0.

    retry_after: the delay that the peer requested, never undercut. chance: returns a number in [0, 1).
    """
    if now - first_seen >= horizon:
        return DeadLetterNow()
    delay = SCHEDULE[min(attempt, len(SCHEDULE) - 1)] * (1 + JITTER * (2 * chance() - 1))
    delay = min(delay, first_seen + horizon - now)  # a last attempt at the horizon, not one after it
    if retry_after is not None:
        delay = max(delay, retry_after * (1 + JITTER * chance()))
    return RetryIn(min(delay, MAX_DELAY))
