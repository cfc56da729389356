"""What becomes of what can't be finished now: queued again with a delay of our own, or put away. Still sealed."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import msgspec

from shared import telemetry
from shared.errors import Reason, RetryLater
from shared.messages.envelope import DeadLetter, Envelope, ReadbackPage, write
from shared.messages.retry import GiveUp, after_failure
from shared.storage.queues import Storage


@dataclass(frozen=True)
class Requeue:
    """Puts envelopes back on the queue, or among the dead letters.

    `chance` returns a number in [0, 1). All methods raise RetryLater if storage is away: nothing is settled then, and
    the host offers the message again.
    """

    storage: Storage
    horizon: timedelta
    clock: Callable[[], datetime]
    chance: Callable[[], float]

    def postpone(self, envelope: Envelope, why: RetryLater) -> None:
        """Try an envelope once more, later; past the horizon, give it up."""
        if envelope.attempt and why.reason is Reason.DESTINATION_ERROR:
            # One event may be what the destination stumbles over: part it from its neighbours, step by step.
            for half in _halves(envelope):
                self._postpone(half, why)
        else:
            self._postpone(envelope, why)

    def _postpone(self, envelope: Envelope, why: RetryLater) -> None:
        now = self.clock()
        begun = envelope.replayed or envelope.received
        # Being told to wait is no failure: light throttling must not drift into delays of hours.
        told = why.reason is Reason.GRAPH_THROTTLED
        decision = after_failure(
            0 if told else envelope.attempt, begun, now, self.horizon, why.retry_after, self.chance
        )
        if isinstance(decision, GiveUp):
            self.give_up(envelope, why.reason)
            return
        again = msgspec.structs.replace(envelope, attempt=envelope.attempt + (not told))
        self.storage.put(write(again), delay=decision.delay)
        telemetry.RETRIED.add(_size(envelope), {"reason": why.reason})

    def give_up(self, envelope: Envelope, reason: Reason) -> None:
        """Keep an envelope among the dead letters, each item of its own."""
        for alone in _singly(envelope):
            self.storage.put_dead_letter(write(DeadLetter(reason, self.clock(), alone)))
            telemetry.DEAD_LETTERED.add(1, {"reason": reason})


def _size(envelope: Envelope) -> int:
    return 1 if isinstance(envelope, ReadbackPage) else len(envelope.items)


def _halves(envelope: Envelope) -> Iterator[Envelope]:
    if isinstance(envelope, ReadbackPage) or len(envelope.items) < 2:
        yield envelope
        return
    middle = len(envelope.items) // 2
    for half in (envelope.items[:middle], envelope.items[middle:]):
        yield msgspec.structs.replace(envelope, items=half)


def _singly(envelope: Envelope) -> Iterator[Envelope]:
    if isinstance(envelope, ReadbackPage):
        yield envelope
        return
    for item in envelope.items:
        yield msgspec.structs.replace(envelope, items=(item,))
