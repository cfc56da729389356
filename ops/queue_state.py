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
    """messages: all of them, those that wait for their next attempt too, roughly.

    oldest_seconds: since Graph sent the oldest of those that wait for nothing; None if there is none.
    """

    messages: int
    oldest_seconds: float | None = None

    @property
    def attention(self) -> str | None:
        """What needs attention, as a sentence; None if nothing does."""
        if (self.oldest_seconds or 0) < OVERDUE_AFTER.total_seconds():
            return None
        return "the queue is not being processed: does process_queue run?"


class LettersState(msgspec.Struct):
    """count: of all, roughly; by_reason: of the first `looked_at` of them."""

    count: int
    by_reason: dict[str, int]
    looked_at: int

    @property
    def attention(self) -> str | None:
        """What needs attention, as a sentence; None if nothing does."""
        return f"{self.count} dead letters: see `dead-letters list`" if self.count else None


def queue_state(now: datetime) -> QueueState:
    """Look at the queue. Raises RetryLater."""
    found = backlog(storage_clients().queues, now)
    return QueueState(found.messages, None if found.waiting_seconds is None else max(0, round(found.waiting_seconds)))


def letters_state() -> LettersState:
    """Look at the first dead letters. Raises RetryLater."""
    letters = DeadLetters(storage_clients().queues, storage_clients().claims)
    first = letters.first()
    counted = dict(Counter(letter.reason for letter in first).most_common())
    return LettersState(max(letters.count(), len(first)), counted, len(first))


def reasons(by_reason: dict[str, int]) -> str:
    """Show counts by reason."""
    return ", ".join(f"{count} {reason}" for reason, count in by_reason.items()) or "none"


def oldest(queue: QueueState) -> str:
    """Show how long the oldest message waits, as the end of a sentence."""
    return "" if queue.oldest_seconds is None else f"; the oldest has waited {span(queue.oldest_seconds)}"
