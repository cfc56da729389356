"""The backlog: how many messages wait, and how long they have waited. Only peeks at messages."""

from dataclasses import dataclass
from datetime import datetime

from shared import telemetry
from shared.errors import Undeliverable
from shared.messages.dead_letters import DEAD_LETTER_QUEUES
from shared.messages.envelope import parts, read
from shared.storage.queues import Queue, QueuedMessage, Queues


@dataclass(frozen=True)
class Backlog:
    """messages: approximate number, including messages delayed until their next attempt.

    waiting_seconds: since the receipt of the oldest visible message; None if there is none.
    """

    messages: int
    waiting_seconds: float | None


def backlog(queues: Queues, now: datetime) -> Backlog:
    """Peek at the queue. Raises RetryLater."""
    ages = [(now - _received(message)).total_seconds() for message in queues.peek(Queue.NOTIFICATIONS)]
    return Backlog(queues.length(), max(ages, default=None))


def report(queues: Queues, now: datetime) -> None:
    """Record the gauges of the queue and the dead letters. Raises RetryLater."""
    current = backlog(queues, now)
    telemetry.QUEUE_LENGTH.set(current.messages)
    telemetry.QUEUE_WAITING_SECONDS.set(current.waiting_seconds or 0)
    telemetry.DEAD_LETTERS.set(sum(queues.length(queue) for queue in DEAD_LETTER_QUEUES))


def _received(message: QueuedMessage) -> datetime:
    """Return the time of receipt; the enqueueing time for a claim, which is not opened here, or a foreign message."""
    try:
        return min(read(part).received for part in parts(message.text))
    except Undeliverable:
        return message.enqueued
