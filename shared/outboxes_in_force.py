"""The outboxes of the destinations in force. A change to one destination does not affect the outboxes of others."""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from shared.configuration.destinations import Destinations, DestinationSettings
from shared.delivery.destination import Destination
from shared.delivery.dispatcher import Dispatcher, Limits
from shared.delivery.ledger import Ledger
from shared.delivery.outbox import MisconfiguredDestination, Outbox, Outboxes
from shared.in_force import InForce

_log = logging.getLogger("graph_relay.relay")

INVOCATIONS = 24
"""Concurrent invocations of process_queue: batchSize and newBatchThreshold of host.json."""


class OutboxesInForce(Outboxes):
    """An outbox for each destination in force. Methods raise NotAttempted while the destinations can't be read at
    all.
    """

    def __init__(
        self,
        in_force: InForce[Destinations],
        destination: Callable[[DestinationSettings], Destination],
        ledger: Callable[[str], Ledger],
        clock: Callable[[], datetime],
    ) -> None:
        """destination: creates the sender for a destination. ledger: creates the ledger of the destination with that
        name.
        """
        super().__init__(())
        self._in_force = in_force
        self._new_destination = destination
        self._new_ledger = ledger
        self._clock = clock
        self._lock = threading.Lock()
        self._settings: Destinations | None = None
        self._destinations: dict[str, Destination] = {}
        self._dispatchers: dict[str, tuple[Limits, Dispatcher]] = {}
        self._built: dict[str, Outbox] = {}

    @property
    def settings(self) -> Destinations:
        """The settings of the destinations in force."""
        return self._in_force.get()

    @property
    def destinations(self) -> Mapping[str, Destination]:
        """The destinations with valid settings, by name."""
        self.by_name()
        return self._destinations

    @property
    def ledgers(self) -> Sequence[Ledger]:
        """The ledger of each destination."""
        return [outbox.ledger for outbox in self.by_name().values()]

    def by_name(self) -> Mapping[str, Outbox]:
        """See Outboxes."""
        if self._in_force.get() is not self._settings:
            with self._lock:
                settings = self._in_force.get()  # another thread may have read newer settings meanwhile
                if settings is not self._settings:
                    self._build(settings)
        return self._outboxes

    def knows(self, destination: str, since: datetime | None = None) -> bool:
        """See Outboxes. Reads the settings again before it returns False; raises NotAttempted if they can't be read."""
        if destination not in self.by_name():
            self._in_force.confirmed(since)
        return destination in self.by_name()

    def __getitem__(self, destination: str) -> Outbox:
        """Return the outbox of a destination, even if the destination was removed a moment ago."""
        outboxes = self.by_name()
        return outboxes[destination] if destination in outboxes else self._built[destination]

    def _build(self, settings: Destinations) -> None:
        before = {} if self._settings is None else self._settings.by_name
        kept = {
            setting.name: self._destinations[setting.name]
            for setting in settings
            if _is_same(setting, before) and not setting.invalid
        }
        valid = [setting for setting in settings if not setting.invalid]
        self._destinations = {
            setting.name: kept.get(setting.name) or self._new_destination(setting) for setting in valid
        }
        self._dispatchers = {
            setting.name: self._dispatcher(setting, len(valid), same=setting.name in kept) for setting in valid
        }
        self._outboxes = {setting.name: self._outbox(setting) for setting in settings}
        self._built |= self._outboxes
        for complaint in settings.complaints:
            _log.error("DESTINATIONS: %s. The other destinations work", complaint)
        self._settings = settings

    def _dispatcher(self, destination: DestinationSettings, number: int, *, same: bool) -> tuple[Limits, Dispatcher]:
        """Return the dispatcher of a destination; a new one if its settings changed, because their deliveries must not
        mix.

        With several destinations, none may use more than its share of the invocations.
        """
        limits = Limits(
            requests=destination.max_requests,
            rate=destination.max_rate,
            most_events=destination.max_events,
            most_bytes=destination.max_bytes,
        ).shared_by(number, INVOCATIONS)
        before = self._dispatchers.get(destination.name)
        if same and before is not None and before[0] == limits:
            return before
        return limits, Dispatcher(limits, self._clock)

    def _outbox(self, destination: DestinationSettings) -> Outbox:
        known = self._built.get(destination.name)
        ledger = known.ledger if known is not None else self._new_ledger(destination.name)
        if destination.invalid:
            return Outbox(MisconfiguredDestination(destination.invalid), ledger, destination.filter)
        return Outbox(
            self._destinations[destination.name], ledger, destination.filter, self._dispatchers[destination.name][1]
        )


def _is_same(destination: DestinationSettings, before: Mapping[str, DestinationSettings]) -> bool:
    return before.get(destination.name) == destination
