"""The dead letters and the poison queue, told apart by the version that each letter holds, and replayed."""

from collections import Counter
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass, field

from shared.errors import Reason
from shared.messages.dead_letters import POISONED
from shared.messages.envelope import ChangeBatch, Envelope, ReadbackPage, destination_of
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

    def look(self, destinations: Iterable[str]) -> dict[str, DeadLetteredItems]:
        """Return what lies there for each destination, and leave it there. What concerns no single one concerns all."""
        found = {destination: DeadLetteredItems() for destination in destinations}
        with closing(self._letters.each()) as letters:
            for letter in letters:
                for destination, items in found.items():
                    envelopes = [
                        envelope for _, envelope in letter.envelopes if destination_of(envelope) in ("", destination)
                    ]
                    items.reasons[letter.reason] += bool(envelopes) or not letter.envelopes
                    for envelope in envelopes:
                        self._note(envelope, items)
        return found

    def replay(self) -> None:
        """Queue again what may go better now."""
        with closing(self._letters.each()) as letters:
            for letter in letters:
                if letter.reason not in NOT_REPLAYED:
                    self._letters.replay(letter, self._app.admission, self._app.queues)

    def _note(self, envelope: Envelope, found: DeadLetteredItems) -> None:
        if isinstance(envelope, ReadbackPage):
            found.messages.add("/".join((envelope.tenant_id, *segments(envelope.resource))))
        for item in envelope.items if isinstance(envelope, ChangeBatch) else ():
            seen = self._notifications.recognise(item)
            found.versions |= {seen.version} if seen.version else set()
            found.messages |= {seen.message} if seen.message else set()
            found.forgeries |= {seen.forgery} if seen.forgery else set()
