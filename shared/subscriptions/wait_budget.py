"""How long one run may wait in all where Graph asks for it."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta


@dataclass
class WaitBudget:
    """Time that may be spent on waiting, in all; `sleep` spends it."""

    left: timedelta
    sleep: Callable[[timedelta], object]

    @classmethod
    def none(cls) -> "WaitBudget":
        """Return a budget of no time at all."""
        return cls(timedelta(0), lambda _: None)

    def wait(self, time: timedelta | None) -> bool:
        """Wait for the requested time and return True; return False at once if it is unknown or exceeds the budget."""
        if time is None or time > self.left:
            return False
        self.left -= time
        self.sleep(time)
        return True
