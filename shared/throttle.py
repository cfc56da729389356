"""Limits how often something happens, such as a log line that anybody can cause."""

import threading
import time
from collections.abc import Callable


class Throttle:
    """True once per interval; one object serves all threads."""

    def __init__(self, seconds: float = 60, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._next = float("-inf")

    def __call__(self) -> bool:
        """Return whether it may happen now."""
        with self._lock:
            now = self._clock()
            if now < self._next:
                return False
            self._next = now + self._seconds
            return True
