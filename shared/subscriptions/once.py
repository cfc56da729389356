"""Actions that many notifications ask for and one of them has to do."""

import threading
from collections import defaultdict
from collections.abc import Callable
from datetime import datetime, timedelta

from shared.errors import Reason
from shared.threads import held


class Once:
    """Runs an action unless it was started, and finished, after it was asked for; nobody waits for a run of another.

    Per process; one object serves all threads.
    """

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._finished: dict[str, datetime] = {}
        self._locks: dict[str, threading.Lock] = defaultdict(threading.Lock)

    def run(self, action: str, received: datetime, do: Callable[[], object]) -> None:
        """Do what `action` names, unless a run that began after `received` is finished.

        Raises what `do` raises, and NotAttempted while another invocation does it.
        """
        with held(self._locks[action], Reason.POSTPONED, timedelta(0)):
            started = self._clock()
            if received < self._finished.get(action, received):
                return
            do()
            self._finished[action] = started
