"""How often notifications may make this app read from Graph, if a clientState is all that vouches for them."""

import threading
from collections.abc import Callable
from datetime import datetime, timedelta

from shared.errors import Reason, RetryLater

BURST = 300
"""Reads for one declaration at once."""

REFILL = timedelta(minutes=1)
"""After this time without reads, a burst is allowed again."""


class Pace:
    """Allows a burst of reads for each declaration, and then as many a minute. Per process, for all threads."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._spent_until: dict[str, datetime] = {}

    def take(self, declaration_id: str) -> None:
        """Take one read. Raises RetryLater if too many were taken; it costs no attempt."""
        now = self._clock()
        with self._lock:
            spent_until = max(self._spent_until.get(declaration_id, now), now) + REFILL / BURST
            if spent_until - now <= REFILL:
                self._spent_until[declaration_id] = spent_until
                return
        detail = "many items came without content for one subscription, and each is read from Graph"
        raise RetryLater(Reason.GRAPH_THROTTLED, detail, retry_after=REFILL)
