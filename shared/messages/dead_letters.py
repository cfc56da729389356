"""Dead letters and the host's poison queue, for a person: looked through, put back on the queue, or dropped.

A queue can't be listed, only taken from: letters are hidden while they are looked through, and given back at the
end; should this process die, they show up again by themselves. Nothing here opens what Graph has sealed.
"""

from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta

import msgspec

from shared.errors import Reason, Undeliverable
from shared.messages.envelope import Envelope, read, read_dead_letter, write
from shared.storage.queues import Claimed, Queue, QueuedMessage, Storage

DEAD_LETTER_QUEUES = (Queue.DEAD_LETTERS, Queue.POISON)

POISONED = "poison"
"""Stands in for a reason where the host has given up: storage was away too long, or the app has a fault."""

HIDDEN = timedelta(minutes=10)
"""For so long a letter is hidden while it is looked at; looking through 100,000 takes about a minute in Azure."""

_WORKERS = 8


@dataclass(frozen=True)
class ListedDeadLetter:
    """Something given up: `id` names its queue message, `reason` is one of errors.Reason or "poison".

    `since` is when it was given up (UTC). `envelope` is None if it can't be read, which `reason` then tells.
    """

    id: str
    reason: str
    since: datetime
    envelope: Envelope | None
    queued: QueuedMessage
    claim: str | None = None

    @property
    def can_be_replayed(self) -> bool:
        """Whether there is anything to put back."""
        return self.envelope is not None


class DeadLetters:
    """The letters of one storage account. Every method raises RetryLater if it is away."""

    def __init__(self, storage: Storage, clock: Callable[[], datetime]) -> None:
        self._storage = storage
        self._clock = clock
        self._held: dict[str, QueuedMessage] = {}

    def count(self) -> int:
        """Return how many there are, hidden ones too: never fewer than there are."""
        return sum(self._storage.length(shelf) for shelf in DEAD_LETTER_QUEUES)

    def first(self) -> list[ListedDeadLetter]:
        """Return the first few of each queue, and leave them untouched."""
        return [self._read(queued) for shelf in DEAD_LETTER_QUEUES for queued in self._storage.peek(shelf)]

    def each(self) -> Generator[ListedDeadLetter]:
        """Take one letter after the other; those that are neither replayed nor dropped are given back at the end.

        Close it if you stop before. What is given up meanwhile is left for the next time, so that a letter that is
        replayed and fails at once does not come round for ever.
        """
        try:
            for shelf in DEAD_LETTER_QUEUES:
                yield from self._each_of(shelf)
        finally:
            self._give_back()

    def replay(self, letter: ListedDeadLetter) -> None:
        """Queue what a letter holds as if for the first time, then remove the letter: a crash in between doubles it,
        and the destination tells doubles: its event has the id that it would have had.
        """
        if letter.envelope is None:
            raise Undeliverable(Reason.MALFORMED, "there is nothing in the letter to be replayed")
        self._storage.put(write(self._afresh(letter.envelope)))
        self.drop(letter)

    def drop(self, letter: ListedDeadLetter) -> None:
        """Remove a letter for good."""
        self._storage.remove(self._held.get(letter.id, letter.queued))
        self._held.pop(letter.id, None)
        self._storage.discard(Claimed("", letter.claim))

    def _each_of(self, shelf: Queue) -> Generator[ListedDeadLetter]:
        seen: set[str] = set()
        there = self._storage.length(shelf)
        while len(seen) < there:
            taken = self._storage.take(shelf, HIDDEN)
            self._held |= {queued.id: queued for queued in taken}  # one that came round again has a new receipt
            fresh = [queued for queued in taken if queued.id not in seen]
            if not fresh:
                return
            for queued in fresh[: there - len(seen)]:
                seen.add(queued.id)
                yield self._read(queued)

    def _read(self, queued: QueuedMessage) -> ListedDeadLetter:
        reason: str = POISONED
        since, claim = queued.put, None
        envelope: Envelope | None = None
        try:
            claimed = self._storage.fetch(queued.text)
            claim = claimed.claim
            if queued.shelf is Queue.DEAD_LETTERS:
                letter = read_dead_letter(claimed.text)
                reason, since, envelope = letter.reason, letter.given_up, letter.envelope
            else:
                envelope = read(claimed.text)
        except Undeliverable as undeliverable:
            reason = undeliverable.reason
        return ListedDeadLetter(queued.id, reason, since, envelope, queued, claim)

    def _give_back(self) -> None:
        held, self._held = self._held, {}
        with ThreadPoolExecutor(_WORKERS, thread_name_prefix="dead-letters") as pool:
            list(pool.map(self._storage.give_back, held.values()))

    def _afresh(self, envelope: Envelope) -> Envelope:
        """`received` stays: validation tokens are judged as of then."""
        return msgspec.structs.replace(envelope, attempt=0, replayed=self._clock())
