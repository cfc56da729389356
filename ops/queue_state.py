"""The state of the queue and of the dead letters, without receiving a message."""

from collections import Counter
from datetime import datetime, timedelta

import msgspec

from ops.report import span
from shared.messages.backlog import backlog
from shared.messages.dead_letters import DeadLetters
from shared.relay import storage as storage_clients

OVERDUE_AFTER = timedelta(minutes=15)
"""Age at which a visible message needs attention; messages that wait for their next attempt are hidden."""


class QueueState(msgspec.Struct):
    """messages: approximate number, including those that wait for their next attempt.

    oldest_seconds: since the receipt of the oldest due message; None if none is due.
    """

    messages: int
    oldest_seconds: float | None = None

    @property
    def attention(self) -> str | None:
        """A sentence if the queue needs attention, otherwise None."""
        if (self.oldest_seconds or 0) < OVERDUE_AFTER.total_seconds():
            return None
        return "the queue is not being processed: does process_queue run?"


class DeadLettersState(msgspec.Struct):
    """count: approximate number; by_reason: of the first `looked_at` of them."""

    count: int
    by_reason: dict[str, int]
    looked_at: int

    @property
    def attention(self) -> str | None:
        """A sentence if the dead letters need attention, otherwise None."""
        return f"{self.count} dead letters: see `dead-letters list`" if self.count else None


def queue_state(now: datetime) -> QueueState:
    """Peek at the queue. Raises RetryLater."""
    found = backlog(storage_clients().queues, now)
    return QueueState(found.messages, None if found.waiting_seconds is None else max(0, round(found.waiting_seconds)))


def dead_letters_state() -> DeadLettersState:
    """Peek at the first dead letters. Raises RetryLater."""
    letters = DeadLetters(storage_clients().queues, storage_clients().claims)
    first = letters.first()
    counted = dict(Counter(letter.reason for letter in first).most_common())
    return DeadLettersState(max(letters.count(), len(first)), counted, len(first))


def reasons(by_reason: dict[str, int]) -> str:
    """Show counts by reason."""
    return ", ".join(f"{count} {reason}" for reason, count in by_reason.items()) or "none"


def oldest(queue: QueueState) -> str:
    """Show how long the oldest message waits, as the end of a sentence."""
    return "" if queue.oldest_seconds is None else f"; the oldest has waited {span(queue.oldest_seconds)}"
