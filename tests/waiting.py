"""Waiting for what another thread or process does."""

import time
from collections.abc import Callable

LIMIT = 240.0
"""Seconds, below pytest's own limit for a test. No test says how fast something has to be: `bench/` does."""

_PAUSE = 0.02


def eventually(condition: Callable[[], object], what: str = "the condition") -> None:
    """Return once `condition` holds. Raises AssertionError if it does not come true at all."""
    deadline = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come true"
        time.sleep(_PAUSE)
