"""Waits for another thread or process."""

import time
from collections.abc import Callable

LIMIT = 240.0
"""Seconds, below pytest's own limit for a test. No test sets a speed: `bench/` does."""

_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 0.3  # seconds


def came_true(condition: Callable[[], object]) -> bool:
    """Wait for a condition; False if it does not come true in time.

    The interval between checks grows: a check takes processor time from the process it waits for.
    """
    deadline, pause = time.monotonic() + LIMIT, _FIRST_PAUSE
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(pause)
        pause = min(pause * 1.4, _LONGEST_PAUSE)
    return True


def eventually(condition: Callable[[], object], what: str = "the condition") -> None:
    """Return once `condition` holds. Raises AssertionError if it does not in time."""
    assert came_true(condition), f"{what} did not come true"
