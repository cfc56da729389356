"""Whether the queue trigger works. On plans that scale to zero, triggers have been seen not to wake up, mostly with an
identity-based connection, until somebody opened the portal (azure-functions-host#10508, #11186).
"""

import logging
import threading
from collections.abc import Callable
from datetime import datetime, timedelta

from shared.errors import AlreadyProcessed, RetryLater, Undeliverable
from shared.messages.envelope import attempts, parts, read
from shared.storage.claim_check import ClaimCheck
from shared.storage.queues import Queue, QueuedMessage, Queues
from shared.storage.state import Times
from shared.storage.tables import Tables

_log = logging.getLogger("graph_relay.activity")

SLEEPING_AFTER = timedelta(minutes=2)
"""If a message has been due, and no invocation has run, for this time, the trigger counts as asleep."""

WRITE_INTERVAL = timedelta(seconds=30)

_NAME = "process_queue"


class QueueActivity:
    """Stores when the queue trigger last ran; one object serves all threads."""

    def __init__(self, tables: Tables, clock: Callable[[], datetime]) -> None:
        self._times = Times(tables, "activity", "last")
        self._clock = clock
        self._lock = threading.Lock()
        self._noted: datetime | None = None

    def note(self) -> None:
        """Note an invocation of the queue trigger. Never raises: at worst the timer processes messages
        unnecessarily.
        """
        now = self._clock()
        with self._lock:
            if self._noted is not None and now - self._noted < WRITE_INTERVAL:
                return
            self._noted = now
        try:
            self._times.set(_NAME, now)
        except RetryLater as retry_later:
            _log.debug("When process_queue last ran is not stored: %s", retry_later)

    def is_asleep(self, queues: Queues, claims: ClaimCheck) -> bool:
        """Return whether messages are due while the trigger does not run. Raises RetryLater."""
        latest = self._clock() - SLEEPING_AFTER
        due = any(_due(message, claims) <= latest for message in queues.peek(Queue.NOTIFICATIONS))
        if not due:
            return False
        last = self._times.get(_NAME)
        return last is None or last <= latest


def _due(message: QueuedMessage, claims: ClaimCheck) -> datetime:
    """Return when a visible message became due: at its retry time, or when it was enqueued."""
    try:
        history = attempts(
            read(parts(claims.open(message.text).text)[0])
        )  # envelopes that share a message were never tried
    except (Undeliverable, AlreadyProcessed):
        return message.enqueued
    planned = history[-1].retry_at if history else None
    return max(message.enqueued, planned or message.enqueued)
