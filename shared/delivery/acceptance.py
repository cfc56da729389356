"""When a destination last accepted something, for all instances: what tells a bad event from a bad endpoint."""

import logging
import threading
from collections.abc import Callable
from datetime import datetime, timedelta

from shared.configuration.destinations import DEFAULT
from shared.errors import RetryLater
from shared.storage.state import Times
from shared.storage.tables import Tables

_log = logging.getLogger("graph_relay.acceptance")

WRITE_INTERVAL = timedelta(seconds=10)
"""So that a busy destination costs six writes a minute and process."""


class Acceptance:
    """What is known of one destination's acceptances; one object serves all threads. Never raises RetryLater.

    Without tables, this process alone knows it.
    """

    def __init__(self, clock: Callable[[], datetime], tables: Tables | None = None, destination: str = DEFAULT) -> None:
        self._clock = clock
        self._accepted = None if tables is None else Times(tables, "accepted", "at")
        self._given_up = None if tables is None else Times(tables, "given-up", "at")
        self._destination = destination
        self._lock = threading.Lock()
        self._last: datetime | None = None
        self._written: datetime | None = None
        self._last_given_up: datetime | None = None

    def note(self) -> None:
        """Note that the destination has accepted something now."""
        now = self._clock()
        with self._lock:
            self._last = now
            if self._accepted is None or (self._written is not None and now - self._written < WRITE_INTERVAL):
                return
            self._written = now
        try:
            self._accepted.set(self._destination, now)
        except RetryLater as retry_later:
            _log.debug("Not noted: %s", retry_later)

    def since(self, time: datetime) -> bool:
        """Tell whether the destination has accepted something since a time, as far as is known."""
        last = self._last
        if last is None or last < time:
            last = self._latest(self._accepted, last)
        return last is not None and last >= time

    def may_give_up(self) -> bool:
        """Tell whether one event may be given up without proof: once after each acceptance, for each destination.

        The answer True counts as that once. Instances that ask in the same moment may each be told so.
        """
        with self._lock:
            accepted = self._latest(self._accepted, self._last)
            given_up = self._latest(self._given_up, self._last_given_up)
            if accepted is None or (given_up is not None and given_up >= accepted):
                return False
            now = self._clock()
            if self._given_up is not None:
                try:
                    self._given_up.set(self._destination, now)
                except RetryLater as retry_later:
                    _log.debug("Kept: %s", retry_later)
                    return False
            self._last_given_up = now
            return True

    def _latest(self, times: Times | None, known: datetime | None) -> datetime | None:
        if times is None:
            return known
        try:
            stored = times.get(self._destination)
        except RetryLater as retry_later:
            _log.debug("Not known: %s", retry_later)
            return known
        return max(filter(None, (stored, known)), default=None)
