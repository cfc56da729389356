"""The total time that one run may spend waiting on Graph's request."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

from shared import deadline


@dataclass
class WaitBudget:
    """The remaining waiting time; `sleep` spends it. Threads wait concurrently."""

    left: timedelta
    sleep: Callable[[timedelta], object]
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _waits: int = 0

    @classmethod
    def none(cls) -> "WaitBudget":
        """Return an empty budget."""
        return cls(timedelta(0), lambda _: None)

    def wait(self, time: timedelta | None) -> bool:
        """Wait for the requested time and return True; return False at once if it is None, exceeds the budget, or
        exceeds the invocation's time.

        A wait of another thread that was in progress when this one began counts too: the caller retries its call.
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
