"""An answer to what was refused takes as long as an answer to what was stored.

Storing takes milliseconds. Without this, the time of an answer would tell whether a clientState is good.
"""

import random
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

LONGEST = 0.05
"""Seconds that an answer is held back at most: a thread waits meanwhile."""

TYPICAL = 0.008
"""Seconds, until something has been stored in this process."""

_SAMPLES = 100


class AnswerTime:
    """Remembers how long the last POSTs of which something was stored took; one object serves all threads."""

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
        """Wait as long as storing would have taken if nothing was stored; `began`: the clock at the beginning."""
        elapsed = self._clock() - began
        with self._lock:
            if stored:
                self._samples.append(min(elapsed, LONGEST))
                return
            wait = self._choice(self._samples) - elapsed
        if wait > 0:
            self._sleep(wait)
