"""Actions that many notifications ask for and one of them has to do."""

import threading
from collections import defaultdict
from collections.abc import Callable
from datetime import datetime, timedelta

from shared.errors import Reason, RetryLater
from shared.threads import held

REFUSAL_LASTS = timedelta(minutes=1)
"""For so long after Graph has refused an action it is not tried again."""


class Once:
    """Runs an action unless it was started, and finished, after it was asked for; nobody waits for a run of another.

    Per process; one object serves all threads.
    """

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._finished: dict[str, datetime] = {}
        self._refused: dict[str, tuple[datetime, RetryLater]] = {}
        self._locks: dict[str, threading.Lock] = defaultdict(threading.Lock)

    def run(self, action: str, received: datetime, do: Callable[[], object]) -> None:
        """Do what `action` names, unless a run that began after `received` is finished.

        Raises what `do` raises, NotAttempted while another invocation does it, and what Graph has refused again if that
        was a moment ago.
        """
        with held(self._locks[action], Reason.POSTPONED, timedelta(0)):
            started = self._clock()
            if received < self._finished.get(action, received):
                return
            self._raise_if_just_refused(action, started)
            try:
                do()
            except RetryLater as failure:
                if failure.reason is Reason.GRAPH_REFUSED:
                    self._refused[action] = (started, failure.copy())
                raise
            self._finished[action] = started

    def _raise_if_just_refused(self, action: str, now: datetime) -> None:
        at, failure = self._refused.get(action, (None, None))
        if at is not None and failure is not None and now - at < REFUSAL_LASTS:
            raise failure.copy()
