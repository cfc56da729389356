"""The dead letters and the poison queue, told apart by the version that each letter holds, and replayed."""

from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field

from shared.errors import Reason
from shared.messages.dead_letters import POISONED, ListedDeadLetter
from shared.messages.envelope import ChangeBatch, ReadbackPage
from shared.relay import Relay
from shared.resources.path import segments
from tests.chaos.received import NotificationLog

NOT_REPLAYED = frozenset({Reason.CONTENT_UNREADABLE})
"""What a replay cannot mend: the forgeries among those that carry a valid token."""


@dataclass
class DeadLetteredItems:
    """What lies there: versions and forgeries, each once however many letters hold it; letters by their reason.

    messages: those of which a version that was read back was rejected, as the part of an event id before the version:
    by a sweep, or for an item that came without content.
    """

    versions: set[str] = field(default_factory=set)
    messages: set[str] = field(default_factory=set)
    forgeries: set[str] = field(default_factory=set)
    reasons: Counter[str] = field(default_factory=Counter)

    @property
    def poisoned(self) -> int:
        """How many messages the host gave up."""
        return self.reasons[POISONED]


class DeadLetterReader:
    """The letters of one account."""

    def __init__(self, app: Relay, notifications: NotificationLog) -> None:
        self._app = app
        self._letters = app.dead_letters()
        self._notifications = notifications

    def look(self) -> DeadLetteredItems:
        """Return what lies there, and leave it there."""
        found = DeadLetteredItems()
        with closing(self._letters.each()) as letters:
            for letter in letters:
                self._note(letter, found)
        return found

    def replay(self) -> None:
        """Queue again what may go better now."""
        with closing(self._letters.each()) as letters:
            for letter in letters:
                if letter.reason not in NOT_REPLAYED:
                    self._letters.replay(letter, self._app.admission, self._app.queues)

    def _note(self, letter: ListedDeadLetter, found: DeadLetteredItems) -> None:
        found.reasons[letter.reason] += 1
        if isinstance(letter.envelope, ReadbackPage):
            found.messages.add("/".join((letter.envelope.tenant_id, *segments(letter.envelope.resource))))
        for item in letter.envelope.items if isinstance(letter.envelope, ChangeBatch) else ():
            seen = self._notifications.recognise(item)
            found.versions |= {seen.version} if seen.version else set()
            found.messages |= {seen.message} if seen.message else set()
            found.forgeries |= {seen.forgery} if seen.forgery else set()
