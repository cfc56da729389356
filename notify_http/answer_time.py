"""Makes the answer to a refused POST take as long as the answer to a stored one.

Storing takes milliseconds. Otherwise, the response time would disclose whether a clientState is valid.
"""

import random
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

LONGEST = 0.05
"""Maximum delay of an answer, in seconds: a thread waits meanwhile."""

TYPICAL = 0.008
"""Seconds, until this process has stored something."""

_SAMPLES = 100


class AnswerTime:
    """The durations of the last POSTs with stored items; one object serves all threads."""

    def __init__(
        self,
        clock: Callable[[], float] = time.perf_counter,
        sleep: Callable[[float], None] = time.sleep,
        choice: Callable[[Sequence[float]], float] = random.choice,
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._choice = choice
        self._lock = threading.Lock()
        self._samples = deque([TYPICAL], maxlen=_SAMPLES)

    def level(self, began: float, *, stored: bool) -> None:
        """If nothing was stored, wait as long as storing would have taken. began: the clock at the beginning."""
        elapsed = self._clock() - began
        with self._lock:
            if stored:
                self._samples.append(min(elapsed, LONGEST))
                return
            wait = self._choice(self._samples) - elapsed
        if wait > 0:
            self._sleep(wait)
