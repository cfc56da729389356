"""Dead letters and the host's poison queue, for a person: looked through, put back on the queue, or dropped.

A queue can't be listed, only received from: letters are hidden while they are looked through, and released at the
end; should this process die, they become visible again by themselves. Nothing here opens what Graph has sealed.
"""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from datetime import datetime, timedelta

import msgspec

from shared.errors import AlreadyProcessed, Reason, Undeliverable
from shared.messages.envelope import Envelope, read, read_dead_letter, write
from shared.storage.claim_check import ClaimCheck, Opened
from shared.storage.queues import Queue, QueuedMessage, Queues
from shared.threads import ContextThreadPool

DEAD_LETTER_QUEUES = (Queue.DEAD_LETTERS, Queue.POISON)

POISONED = "poison"
"""Stands in for a reason where the host has given up: storage was unavailable too long, or the app has a fault."""

VISIBILITY_TIMEOUT = timedelta(minutes=10)
"""How long a letter is hidden while it is looked at; looking through 100,000 takes about a minute in Azure."""

_POISON_TIMEOUT = timedelta(minutes=5)
_POISON_A_RUN = 1000
_THREADS = 8


@dataclass(frozen=True)
class ListedDeadLetter:
    """Something given up: `id` names its queue message, `reason` is one of errors.Reason or "poison".

    `since` is when it was given up (UTC). `envelope` is None if it can't be read, which `reason` then says.
    """

    id: str
    reason: str
    since: datetime
    envelope: Envelope | None
    queued: QueuedMessage
    opened: Opened

    @property
    def can_be_replayed(self) -> bool:
        """Whether there is anything to put back."""
        return self.envelope is not None


class DeadLetters:
    """The dead letters of one storage account. Every method raises RetryLater if it is unavailable."""

    def __init__(self, queues: Queues, claims: ClaimCheck, clock: Callable[[], datetime]) -> None:
        self._queues = queues
        self._claims = claims
        self._clock = clock
        self._held: dict[str, QueuedMessage] = {}

    def count(self) -> int:
        """Return how many there are, hidden ones too: never fewer than there are."""
        return sum(self._queues.length(queue) for queue in DEAD_LETTER_QUEUES)

    def first(self) -> list[ListedDeadLetter]:
        """Return the first few of each queue, and leave them untouched."""
        return [self._read(queued) for queue in DEAD_LETTER_QUEUES for queued in self._queues.peek(queue)]

    def each(self) -> Generator[ListedDeadLetter]:
        """Receive one letter after the other; those that are neither replayed nor dropped are released at the end.

        Close it if you stop before. What is given up meanwhile is left for the next time, so that a letter that is
        replayed and fails at once does not come round endlessly.
        """
        try:
            for queue in DEAD_LETTER_QUEUES:
                yield from self._each_of(queue)
        finally:
            self._release()

    def replay(self, letter: ListedDeadLetter) -> None:
        """Enqueue what a letter holds as if for the first time, then delete the letter: a crash in between doubles it,
        and the destination recognizes the duplicate by the event's id.
        """
        if letter.envelope is None:
            raise Undeliverable(Reason.MALFORMED, "there is nothing in the letter to be replayed")
        # `received` stays: validation tokens are judged as of then.
        again = msgspec.structs.replace(letter.envelope, attempt=0, replayed=self._clock())
        self._queues.send(write(again))
        self.drop(letter)

    def drop(self, letter: ListedDeadLetter) -> None:
        """Delete a letter."""
        self._queues.delete(self._held.get(letter.id, letter.queued))
        self._held.pop(letter.id, None)
        self._claims.delete(letter.opened)

    def keep_poison(self) -> None:
        """Keep what the host has given up until a person deals with it: the host keeps it for a week.

        Interrupted, it may leave a message twice; replayed twice, its events have the same ids. A queue that is very
        full is looked through in several runs: what was looked at goes behind the others.
        """
        permanent: list[QueuedMessage] = []
        while len(permanent) < _POISON_A_RUN and (received := self._queues.receive(Queue.POISON, _POISON_TIMEOUT)):
            for message in received:
                if message.never_expires:
                    permanent.append(message)
                else:
                    self._queues.send(message.text, Queue.POISON)
                    self._queues.delete(message)
        for message in permanent:
            self._queues.release(message)

    def _each_of(self, queue: Queue) -> Generator[ListedDeadLetter]:
        seen: set[str] = set()
        there = self._queues.length(queue)
        while len(seen) < there:
            received = self._queues.receive(queue, VISIBILITY_TIMEOUT)
            self._held |= {message.id: message for message in received}  # one that came round again has a new receipt
            fresh = [message for message in received if message.id not in seen]
            if not fresh:
                return
            for message in fresh[: there - len(seen)]:
                seen.add(message.id)
                yield self._read(message)

    def _read(self, queued: QueuedMessage) -> ListedDeadLetter:
        reason: str = POISONED
        since, opened = queued.enqueued, Opened(queued.text)
        envelope: Envelope | None = None
        try:
            opened = self._claims.open(queued.text)
            if queued.queue is Queue.DEAD_LETTERS:
                letter = read_dead_letter(opened.text)
                reason, since, envelope = letter.reason, letter.given_up, letter.envelope
            else:
                envelope = read(opened.text)
        except (Undeliverable, AlreadyProcessed) as error:
            reason = error.reason
        return ListedDeadLetter(queued.id, reason, since, envelope, queued, opened)

    def _release(self) -> None:
        held, self._held = self._held, {}
        with ContextThreadPool(_THREADS, thread_name_prefix="dead-letters") as pool:
            list(pool.map(self._queues.release, held.values()))
