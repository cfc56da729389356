"""A circuit breaker: while the destination is unavailable, most messages cost no attempt.

One per process, in memory. The messages wait on the queue, with a delay.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

from shared.errors import Reason, RetryLater

FAILURE_THRESHOLD = 3
"""Consecutive failures that open the breaker."""

FIRST_PAUSE = timedelta(seconds=2)
LONGEST_PAUSE = timedelta(minutes=1)


class CircuitBreaker:
    """Closed: every attempt goes through. Open, after consecutive failures: one attempt per pause.

    The pauses double from two seconds to a minute. One object serves all threads.
    """

    def __init__(self, reason: Reason, clock: Callable[[], datetime]) -> None:
        self._reason = reason
        self._clock = clock
        self._lock = threading.Lock()
        self._failures = 0
        self._last_failure = ""
        self._openings = 0
        self._open_until: datetime | None = None

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Wrap an attempt that raises RetryLater if the destination is unavailable.

        Raises RetryLater at once, with the time to wait, while the breaker is open.
        """
        openings = self._enter()
        try:
            yield
        except RetryLater as retry_later:
            self._failed(openings, retry_later)
            raise
        self._succeeded()

    def _enter(self) -> int:
        """Return how often the breaker has opened."""
        with self._lock:
            now = self._clock()
            if self._open_until is not None:
                if now < self._open_until:
                    wait = self._open_until - now
                    raise RetryLater(self._reason, f"{self._last_failure} (a moment ago)", retry_after=wait)
                self._open_until = now + self._pause()  # for the other threads: this attempt is the probe
            return self._openings

    def _failed(self, openings: int, failure: RetryLater) -> None:
        """Count a failure. Attempts that started before the breaker opened are not counted again."""
        with self._lock:
            pause = failure.retry_after or timedelta(0)
            self._last_failure = failure.detail
            if openings == self._openings:
                self._failures += 1
                if self._failures >= FAILURE_THRESHOLD:
                    pause = max(pause, self._pause())
            if pause:
                until = self._clock() + pause
                self._open_until = max(self._open_until or until, until)
                self._openings += 1

    def _succeeded(self) -> None:
        with self._lock:
            self._failures = 0
            self._open_until = None

    def _pause(self) -> timedelta:
        doublings = min(max(self._failures - FAILURE_THRESHOLD, 0), 10)
        return min(FIRST_PAUSE * (1 << doublings), LONGEST_PAUSE)
