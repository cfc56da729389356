"""Dead letters and the host's poison queue: list, replay or drop them.

A queue can't be listed, only received from: dead letters are hidden while they are listed, and released at the end. If
the process dies, they become visible again after the timeout. Nothing here decrypts content.
"""

from collections.abc import Generator
from dataclasses import dataclass
from datetime import datetime, timedelta

from shared.errors import AlreadyProcessed, Reason, Undeliverable
from shared.messages.account import Account
from shared.messages.admission import Admission
from shared.messages.envelope import Envelope, parts, read, read_dead_letter, size, write
from shared.storage.claim_check import ClaimCheck, Opened
from shared.storage.queues import Queue, QueuedMessage, Queues, Sender
from shared.threads import ContextThreadPool

DEAD_LETTER_QUEUES = (Queue.DEAD_LETTERS, Queue.POISON)

POISONED = "poison"
"""The reason of poison messages: storage was unavailable for too long, or the app has a fault."""

VISIBILITY_TIMEOUT = timedelta(minutes=10)
"""How long a dead letter is hidden while it is listed; listing 100,000 takes about a minute in Azure."""

_POISON_TIMEOUT = timedelta(minutes=5)
_POISON_PER_RUN = 1000
_THREADS = 8


@dataclass(frozen=True)
class ListedDeadLetter:
    """A dead letter. id: of its queue message. reason: one of errors.Reason, or "poison".

    since: when it was dead-lettered (UTC). envelopes: each with the text that authenticates it; a poison message can
    hold several. Empty if unreadable; `reason` then says why.
    """

    id: str
    reason: str
    since: datetime
    envelopes: tuple[tuple[str, Envelope], ...]
    queued: QueuedMessage
    opened: Opened

    @property
    def envelope(self) -> Envelope | None:
        """The envelope, or the first of several; None if unreadable."""
        return self.envelopes[0][1] if self.envelopes else None

    @property
    def can_be_replayed(self) -> bool:
        """Whether there is an envelope to replay."""
        return bool(self.envelopes)


class DeadLetters:
    """The dead letters of one storage account. Every method raises RetryLater if it is unavailable."""

    def __init__(self, queues: Queues, claims: ClaimCheck) -> None:
        self._queues = queues
        self._claims = claims
        self._received: dict[str, QueuedMessage] = {}

    def count(self) -> int:
        """Return the approximate number, including hidden ones; never too low."""
        return sum(self._queues.length(queue) for queue in DEAD_LETTER_QUEUES)

    def first(self) -> list[ListedDeadLetter]:
        """Peek at the first few of each queue."""
        return [self._read(queued) for queue in DEAD_LETTER_QUEUES for queued in self._queues.peek(queue)]

    def each(self) -> Generator[ListedDeadLetter]:
        """Yield all dead letters; those that are neither replayed nor dropped are released at the end.

        Close the generator if you stop early. It skips dead letters that arrive meanwhile: otherwise a replayed message
        that fails at once would come back endlessly.
        """
        try:
            for queue in DEAD_LETTER_QUEUES:
                yield from self._each_of(queue)
        finally:
            self._release()

    def replay(self, letter: ListedDeadLetter, admission: Admission, sender: Sender) -> None:
        """Enqueue the envelope again as a first attempt, then delete the dead letter. A crash in between duplicates it;
        the destination recognizes duplicates by the event id.

        sender: authenticates what it sends. A dead letter that is not authentic is verified like an anonymous POST
        first.

        Raises:
            Undeliverable: it has no envelope to replay.
            Refused: nothing in it is verified.
        """
        if not letter.envelopes:
            raise Undeliverable(Reason.MALFORMED, "the dead letter has no envelope to replay")
        for text, envelope in letter.envelopes:
            sender.send(write(admission.replayed(envelope, authentic=admission.is_authentic(text))))
        self.drop(letter)

    def drop(self, letter: ListedDeadLetter) -> None:
        """Delete a dead letter."""
        self._queues.delete(self._received.get(letter.id, letter.queued))
        self._received.pop(letter.id, None)
        self._claims.delete(letter.opened)

    def keep_poison(self, account: Account) -> None:
        """Give poison messages an unlimited lifetime: the host enqueues them for a week. Enter them in the account.

        If interrupted, a message may stay twice; its events have the same ids. A very full queue takes several runs:
        processed messages move to its end.
        """
        permanent: list[QueuedMessage] = []
        while len(permanent) < _POISON_PER_RUN and (received := self._queues.receive(Queue.POISON, _POISON_TIMEOUT)):
            for message in received:
                if message.never_expires:
                    permanent.append(message)
                else:
                    self._queues.send(message.text, Queue.POISON)
                    for _, envelope in self._read(message).envelopes:
                        account.ended(envelope, dead_lettered=size(envelope))
                        account.finished(envelope)
                    self._queues.delete(message)
        for message in permanent:
            self._queues.release(message)

    def _each_of(self, queue: Queue) -> Generator[ListedDeadLetter]:
        seen: set[str] = set()
        count = self._queues.length(queue)
        while len(seen) < count:
            received = self._queues.receive(queue, VISIBILITY_TIMEOUT)
            self._received |= {
                message.id: message for message in received
            }  # a message received again has a new receipt
            unseen = [message for message in received if message.id not in seen]
            if not unseen:
                return
            for message in unseen[: count - len(seen)]:
                seen.add(message.id)
                yield self._read(message)

    def _read(self, queued: QueuedMessage) -> ListedDeadLetter:
        reason: str = POISONED
        since, opened = queued.enqueued, Opened(queued.text)
        envelopes: tuple[tuple[str, Envelope], ...] = ()
        try:
            opened = self._claims.open(queued.text)
            if queued.queue is Queue.DEAD_LETTERS:
                letter = read_dead_letter(opened.text)
                reason, since, envelopes = letter.reason, letter.given_up, ((opened.text, letter.envelope),)
            else:
                envelopes = tuple((text, read(text)) for text in parts(opened.text))
        except (Undeliverable, AlreadyProcessed) as error:
            reason = error.reason
        return ListedDeadLetter(queued.id, reason, since, envelopes, queued, opened)

    def _release(self) -> None:
        received, self._received = self._received, {}
        with ContextThreadPool(_THREADS, thread_name_prefix="dead-letters") as pool:
            list(pool.map(self._queues.release, received.values()))
