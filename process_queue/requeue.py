"""Unfinished envelopes: requeued with the app's own delay, or dead-lettered.

They stay encrypted. The host's own retry would send a whole outage to the poison queue within minutes.
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

    chance: returns a number in [0, 1). All methods raise RetryLater if storage is unavailable: then nothing is changed,
    and the host retries the message. paths: stores dead-lettered items; None: disabled. account: records what was
    enqueued.
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
            # The destination may fail on one event: separate it from the others, step by step.
            for half in halves(envelope):
                self._later(half, failure)
        else:
            self._later(envelope, failure)

    def rejected(self, envelope: Envelope, status: int, event_id: str) -> None:
        """Dead-letter an envelope whose event the destination has rejected."""
        detail = f"the destination answers {status} to event {event_id}"
        attempt = FailedAttempt(self.clock(), detail, event=event_id, asked=True)
        self.dead_letter(failed(envelope, attempt), Reason.DESTINATION_REJECTED)

    def dead_letter(self, envelope: Envelope, reason: Reason) -> None:
        """Dead-letter an envelope, each item separately."""
        for single in singles(envelope):
            self.queues.send(write(DeadLetter(reason, self.clock(), single)), Queue.DEAD_LETTERS)
            telemetry.DEAD_LETTERED.add(1, {"reason": reason, "destination": destination_of(envelope)})
        if self.paths is not None:
            self.paths.dead_lettered(envelope, reason)
        self.account.ended(envelope, dead_lettered=size(envelope))

    def _later(self, envelope: Envelope, failure: RetryLater) -> None:
        first_seen = envelope.replayed or envelope.received
        # Throttled and unattempted items do not count as failed attempts; otherwise the backoff would grow to hours.
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
