"""The backlog: how much lies on the queue and how long it has waited, looked at without touching it."""

from dataclasses import dataclass
from datetime import datetime

from shared import telemetry
from shared.errors import Undeliverable
from shared.messages.dead_letters import DEAD_LETTER_QUEUES
from shared.messages.envelope import read
from shared.storage.queues import Queue, QueuedMessage, Storage


@dataclass(frozen=True)
class Backlog:
    """messages: all of them, those that wait for their next attempt too, roughly.

    waiting_seconds: since Graph sent the oldest of those that wait for nothing; None if there is none.
    """

    messages: int
    waiting_seconds: float | None


def backlog(storage: Storage, now: datetime) -> Backlog:
    """Look at the queue. Raises RetryLater."""
    ages = [(now - _received(queued)).total_seconds() for queued in storage.peek(Queue.NOTIFICATIONS)]
    return Backlog(storage.length(Queue.NOTIFICATIONS), max(ages, default=None))


def report(storage: Storage, now: datetime) -> None:
    """Gauge the queue and the dead letters: who works them off can't tell that nobody does. Raises RetryLater."""
    found = backlog(storage, now)
    telemetry.QUEUE_LENGTH.set(found.messages)
    telemetry.QUEUE_WAITING_SECONDS.set(found.waiting_seconds or 0)
    telemetry.DEAD_LETTERS.set(sum(storage.length(shelf) for shelf in DEAD_LETTER_QUEUES))


def _received(queued: QueuedMessage) -> datetime:
    """A claim is not fetched for this, and what is not ours says nothing."""
    try:
        return read(queued.text).received
    except Undeliverable:
        return queued.put
