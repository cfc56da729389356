"""Actions that many notifications ask for and one of them has to do."""

import threading
from collections import defaultdict
from collections.abc import Callable
from datetime import datetime


class Once:
    """Runs an action unless it was started, and finished, after it was asked for; whoever asks meanwhile waits.

    Per process; one object serves all threads.
    """

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._finished: dict[str, datetime] = {}
        self._locks: dict[str, threading.Lock] = defaultdict(threading.Lock)

    def run(self, action: str, received: datetime, do: Callable[[], object]) -> None:
        """Do what `action` names, unless a run that began after `received` is finished. Raises what `do` raises."""
        with self._locks[action]:
            started = self._clock()
            if received < self._finished.get(action, received):
                return
            do()
            self._finished[action] = started
