"""A circuit breaker: keeps a destination that is away from costing an attempt for every message.

Kept in memory, a process each: what it holds back lies on the queue, with a delay.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

from shared.errors import Reason, RetryLater

TRIPS_AFTER = 3
"""Failures in a row."""

FIRST_PAUSE = timedelta(seconds=2)
LONGEST_PAUSE = timedelta(minutes=1)


class CircuitBreaker:
    """Lets attempts through while the other side answers; after failures in a row, one attempt a pause.

    The pauses double from two seconds to a minute. One object serves all threads.
    """

    def __init__(self, reason: Reason, clock: Callable[[], datetime]) -> None:
        self._reason = reason
        self._clock = clock
        self._lock = threading.Lock()
        self._failures = 0
        self._last_failure = ""
        self._closings = 0
        self._closed_until: datetime | None = None

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Wrap an attempt that raises RetryLater if the other side is away.

        Raises RetryLater at once, with the time to wait, while no attempt is let through.
        """
        closings = self._enter()
        try:
            yield
        except RetryLater as retry_later:
            self._failed(closings, retry_later)
            raise
        self._succeeded()

    def _enter(self) -> int:
        """Return how often attempts were held back until now."""
        with self._lock:
            now = self._clock()
            if self._closed_until is not None:
                if now < self._closed_until:
                    wait = self._closed_until - now
                    raise RetryLater(self._reason, f"{self._last_failure} (a moment ago)", retry_after=wait)
                self._closed_until = now + self._pause()  # for the others: this attempt is the one to find out
            return self._closings

    def _failed(self, closings: int, failure: RetryLater) -> None:
        """Count a failure. Attempts that started before the breaker opened are not counted again."""
        with self._lock:
            pause = failure.retry_after or timedelta(0)
            self._last_failure = failure.detail
            if closings == self._closings:
                self._failures += 1
                if self._failures >= TRIPS_AFTER:
                    pause = max(pause, self._pause())
            if pause:
                until = self._clock() + pause
                self._closed_until = max(self._closed_until or until, until)
                self._closings += 1

    def _succeeded(self) -> None:
        with self._lock:
            self._failures = 0
            self._closed_until = None

    def _pause(self) -> timedelta:
        doublings = min(max(self._failures - TRIPS_AFTER, 0), 10)
        return min(FIRST_PAUSE * (1 << doublings), LONGEST_PAUSE)
