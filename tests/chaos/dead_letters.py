"""The content of the dead letters and the poison queue, by version, and their replay."""

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
"""What a replay cannot fix: the forgeries with a valid token."""


@dataclass
class DeadLetteredItems:
    """Versions and forgeries, each once whatever the number of letters that hold it; letters by reason.

    messages: the messages with a rejected version that was read back, as the part of an event id before the version:
    from a sweep, or for an item without content.
    """

    versions: set[str] = field(default_factory=set)
    messages: set[str] = field(default_factory=set)
    forgeries: set[str] = field(default_factory=set)
    reasons: Counter[str] = field(default_factory=Counter)

    @property
    def poisoned(self) -> int:
        """How many messages the host moved to the poison queue."""
        return self.reasons[POISONED]


class DeadLetterReader:
    """Reads the dead letters of one account."""

    def __init__(self, app: Relay, notifications: NotificationLog) -> None:
        self._app = app
        self._letters = app.dead_letters()
        self._notifications = notifications

    def look(self, destinations: Iterable[str]) -> dict[str, DeadLetteredItems]:
        """Return the content for each destination, unchanged. A letter for no particular destination counts for all."""
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
        """Replay what a replay may fix."""
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
