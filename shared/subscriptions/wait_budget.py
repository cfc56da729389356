"""How long one run may wait in all where Graph asks for it."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

from shared import deadline


@dataclass
class WaitBudget:
    """Time that may be spent on waiting, in all; `sleep` spends it. Threads that are told to wait wait together."""

    left: timedelta
    sleep: Callable[[timedelta], object]
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _waits: int = 0

    @classmethod
    def none(cls) -> "WaitBudget":
        """Return a budget of no time at all."""
        return cls(timedelta(0), lambda _: None)

    def wait(self, time: timedelta | None) -> bool:
        """Wait for the requested time and return True; return False at once if it is unknown, exceeds the budget, or
        goes beyond the invocation's time.

        A wait of another thread, which was under way when this one began, counts for it: the caller asks Graph again.
        """
        before = self._waits
        if time is None or time > self.left or time > deadline.left():
            return False
        with self._lock:
            if self._waits != before:
                return True
            if time > self.left:
                return False
            self.left -= time
            self.sleep(time)
            self._waits += 1
            return True
