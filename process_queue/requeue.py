"""What becomes of an envelope that can't be finished now: enqueued again with a delay of our own, or dead-lettered.

Still sealed. The host's own retry would send a whole outage to the poison queue within minutes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import msgspec

from shared import telemetry
from shared.errors import ANSWERED_BY_DESTINATION, Isolable, NotAttempted, Reason, RetryLater
from shared.messages.account import Account
from shared.messages.envelope import (
    DeadLetter,
    Envelope,
    FailedAttempt,
    destination_of,
    failed,
    halves,
    singles,
    size,
    write,
)
from shared.messages.retry import DeadLetterNow, after_failure
from shared.paths import Paths
from shared.storage.queues import Queue, Sender


@dataclass(frozen=True)
class Requeue:
    """Puts envelopes back on the queue, or among the dead letters.

    `chance` returns a number in [0, 1). All methods raise RetryLater if storage is unavailable: nothing is settled
    then, and the host offers the message again. `paths` notes what was dead-lettered, None: notes are off;
    `account` enters what was enqueued.
    """

    queues: Sender
    horizon: timedelta
    clock: Callable[[], datetime]
    chance: Callable[[], float]
    paths: Paths | None
    account: Account

    def later(self, envelope: Envelope, failure: RetryLater) -> None:
        """Try an envelope once more, later; past the horizon, dead-letter it."""
        if envelope.attempt and isinstance(failure, Isolable):
            # One event may be what the destination fails on: separate it from its neighbours, step by step.
            for half in halves(envelope):
                self._later(half, failure)
        else:
            self._later(envelope, failure)

    def rejected(self, envelope: Envelope, status: int, event_id: str) -> None:
        """Dead-letter an envelope whose event the destination has answered with a status that rejects it."""
        detail = f"the destination answers {status} to event {event_id}"
        attempt = FailedAttempt(self.clock(), detail, event=event_id, asked=True)
        self.dead_letter(failed(envelope, attempt), Reason.DESTINATION_REJECTED)

    def dead_letter(self, envelope: Envelope, reason: Reason) -> None:
        """Keep an envelope among the dead letters, each item by itself."""
        for single in singles(envelope):
            self.queues.send(write(DeadLetter(reason, self.clock(), single)), Queue.DEAD_LETTERS)
            telemetry.DEAD_LETTERED.add(1, {"reason": reason, "destination": destination_of(envelope)})
        if self.paths is not None:
            self.paths.dead_lettered(envelope, reason)
        self.account.ended(envelope, dead_lettered=size(envelope))

    def _later(self, envelope: Envelope, failure: RetryLater) -> None:
        first_seen = envelope.replayed or envelope.received
        # What was throttled or not even tried does not count as a failed attempt; else the backoff would grow to hours.
        is_no_attempt = failure.reason is Reason.GRAPH_THROTTLED or isinstance(failure, NotAttempted)
        attempt = 0 if is_no_attempt else envelope.attempt
        decision = after_failure(attempt, first_seen, self.clock(), self.horizon, failure.retry_after, self.chance)
        if isinstance(decision, DeadLetterNow):
            self.dead_letter(failed(envelope, _attempt(failure, self.clock())), failure.reason)
            return
        now = self.clock()
        attempted = failed(envelope, _attempt(failure, now, now + decision.delay))
        again = msgspec.structs.replace(attempted, attempt=envelope.attempt + (not is_no_attempt))
        self.queues.send(write(again), delay=decision.delay)
        self.account.enqueued(again)
        telemetry.RETRIED.add(size(envelope), {"reason": failure.reason, "destination": destination_of(envelope)})
        if self.paths is not None:
            self.paths.retried(envelope, failure, now + decision.delay)


def _attempt(failure: RetryLater, at: datetime, retry_at: datetime | None = None) -> FailedAttempt:
    asked = failure.reason in ANSWERED_BY_DESTINATION and not isinstance(failure, NotAttempted)
    return FailedAttempt(at, str(failure), retry_at, asked=asked)
