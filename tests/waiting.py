"""Waiting for what another thread or process does."""

import time
from collections.abc import Callable

LIMIT = 240.0
"""Seconds, below pytest's own limit for a test. No test says how fast something has to be: `bench/` does."""

_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 0.3  # seconds


def came_true(condition: Callable[[], object]) -> bool:
    """Wait for a condition; False if it does not come true at all.

    It is looked at less and less often: asking costs those that are waited for their processor.
    """
    deadline, pause = time.monotonic() + LIMIT, _FIRST_PAUSE
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(pause)
        pause = min(pause * 1.4, _LONGEST_PAUSE)
    return True


def eventually(condition: Callable[[], object], what: str = "the condition") -> None:
    """Return once `condition` holds. Raises AssertionError if it does not come true at all."""
    assert came_true(condition), f"{what} did not come true"
