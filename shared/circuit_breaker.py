"""A circuit breaker: while a dependency is unavailable, most callers do not call it.

One per process and dependency, in memory. The messages wait on the queue, with a delay.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

from shared.errors import NotAttempted, Reason, RetryLater, TimedOut

FAILURE_THRESHOLD = 3
"""Consecutive failures that open the breaker; a single timeout opens it, too."""

ERRORS_PER_FAILURE = 10
"""This many consecutive errors (500) count as one failure: each may be caused by one message, whose author must not be
able to delay others."""

FIRST_PAUSE = timedelta(seconds=2)
LONGEST_PAUSE = timedelta(minutes=1)

LONGEST_DELAY = timedelta(minutes=5)
"""Longest delay for callers that were not attempted, unless a breaker has another limit: after an outage, the last of
them are this late."""

_DELAY_PER_OUTAGE = 0.05
"""Delay as a share of the outage so far: a backlog that is retried every minute would keep the app busy for nothing."""


class CircuitBreaker:
    """Closed: every attempt goes through. Open, after consecutive failures: one attempt per pause, one at a time.

    The pauses double from two seconds to a minute. One object serves all threads.
    """

    def __init__(self, reason: Reason, clock: Callable[[], datetime], longest_delay: timedelta = LONGEST_DELAY) -> None:
        self._reason = reason
        self._clock = clock
        self._longest_delay = longest_delay
        self._lock = threading.Lock()
        self._failures = 0.0
        self._last_failure = ""
        self._openings = 0
        self._opened: datetime | None = None
        self._open_until: datetime | None = None
        self._probing = False

    @contextmanager
    def attempt(self, ignoring: Reason | None = None) -> Iterator[None]:
        """Wrap an attempt that raises RetryLater if the dependency is unavailable.

        ignoring: the reason of failures that are not the dependency's; they neither open nor close the breaker.

        Raises NotAttempted at once, with a delay, while the breaker is open.
        """
        openings, probes = self._enter()
        try:
            yield
        except NotAttempted:
            raise
        except RetryLater as retry_later:
            if retry_later.reason is not ignoring:
                self._failed(openings, retry_later)
            raise
        else:
            self._succeeded()
        finally:
            if probes:
                self._probing = False

    def check(self) -> None:
        """Raise NotAttempted if an attempt would be refused now; a later one may still be refused."""
        with self._lock:
            if self._is_open():
                raise self._not_attempted()

    def _enter(self) -> tuple[int, bool]:
        """Return how often the breaker has opened, and whether this attempt decides if it closes."""
        with self._lock:
            if self._is_open():
                raise self._not_attempted()
            self._probing = self._open_until is not None
            return self._openings, self._probing

    def _is_open(self) -> bool:
        return self._open_until is not None and (self._probing or self._clock() < self._open_until)

    def _not_attempted(self) -> NotAttempted:
        now = self._clock()
        opened, until = self._opened or now, self._open_until or now
        wait = max(until - now, min((now - opened) * _DELAY_PER_OUTAGE, self._longest_delay), FIRST_PAUSE)
        return NotAttempted(self._reason, f"{self._last_failure} (a moment ago)", retry_after=wait)

    def _failed(self, openings: int, failure: RetryLater) -> None:
        """Count a failure. Attempts that started before the breaker opened are not counted again."""
        with self._lock:
            is_error = failure.reason is Reason.DESTINATION_ERROR
            pause = timedelta(0) if is_error else failure.retry_after or timedelta(0)
            self._last_failure = failure.detail
            if openings == self._openings:
                self._failures += self._weight(failure)
                if self._failures >= FAILURE_THRESHOLD:
                    pause = max(pause, self._pause())
            if pause:
                now = self._clock()
                self._opened = self._opened or now
                self._open_until = max(self._open_until or now + pause, now + pause)
                self._openings += 1

    def _weight(self, failure: RetryLater) -> float:
        if isinstance(failure, TimedOut) and self._failures < FAILURE_THRESHOLD:
            return FAILURE_THRESHOLD
        return 1 / ERRORS_PER_FAILURE if failure.reason is Reason.DESTINATION_ERROR else 1

    def _succeeded(self) -> None:
        with self._lock:
            self._failures = 0.0
            self._opened = self._open_until = None

    def _pause(self) -> timedelta:
        doublings = min(max(int(self._failures - FAILURE_THRESHOLD), 0), 10)
        return min(FIRST_PAUSE * (1 << doublings), LONGEST_PAUSE)
