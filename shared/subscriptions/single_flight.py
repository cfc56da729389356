"""Runs an action once although many notifications request it."""

import threading
from collections import defaultdict
from collections.abc import Callable
from datetime import datetime, timedelta

from shared.errors import Reason, RetryLater
from shared.threads import held

REPEATS_REFUSAL_FOR = timedelta(minutes=1)
"""For this time after Graph has refused an action, the refusal is repeated without asking Graph."""


class SingleFlight:
    """Skips an action that was started and finished after the request for it. Callers never wait for each other.

    Per process; one object serves all threads.
    """

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._finished: dict[str, datetime] = {}
        self._refused: dict[str, tuple[datetime, RetryLater]] = {}
        self._locks: dict[str, threading.Lock] = defaultdict(threading.Lock)

    def run(self, action: str, received: datetime, do: Callable[[], object]) -> None:
        """Run `do`, unless a run of `action` that began after `received` has finished.

        Raises what `do` raises; NotAttempted while another invocation runs the action; Graph's last refusal if it is
        recent.
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
        if at is not None and failure is not None and now - at < REPEATS_REFUSAL_FOR:
            raise failure.copy()
