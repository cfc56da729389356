"""The backlog: how many messages wait and how long they have waited, looked at without touching them."""

from dataclasses import dataclass
from datetime import datetime

from shared import telemetry
from shared.errors import Undeliverable
from shared.messages.dead_letters import DEAD_LETTER_QUEUES
from shared.messages.envelope import read
from shared.storage.queues import Queue, QueuedMessage, Queues


@dataclass(frozen=True)
class Backlog:
    """messages: all of them, those that wait for their next attempt too, roughly.

    waiting_seconds: since Graph sent the oldest of those that wait for nothing; None if there is none.
    """

    messages: int
    waiting_seconds: float | None


def backlog(queues: Queues, now: datetime) -> Backlog:
    """Look at the queue. Raises RetryLater."""
    ages = [(now - _received(message)).total_seconds() for message in queues.peek(Queue.NOTIFICATIONS)]
    return Backlog(queues.length(), max(ages, default=None))


def report(queues: Queues, now: datetime) -> None:
    """Gauge the queue and the dead letters, from outside the function that works them off. Raises RetryLater."""
    found = backlog(queues, now)
    telemetry.QUEUE_LENGTH.set(found.messages)
    telemetry.QUEUE_WAITING_SECONDS.set(found.waiting_seconds or 0)
    telemetry.DEAD_LETTERS.set(sum(queues.length(queue) for queue in DEAD_LETTER_QUEUES))


def _received(message: QueuedMessage) -> datetime:
    """A claim is not opened for this, and what is not ours says nothing."""
    try:
        return read(message.text).received
    except Undeliverable:
        return message.enqueued
