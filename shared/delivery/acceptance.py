"""When each destination last accepted an event, for all instances: this tells a bad event from a bad endpoint."""

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
"""A busy destination costs six writes per minute and process."""

GIVE_UP_INTERVAL = timedelta(hours=6)
"""Minimum time between two events that are given up without an acceptance in between. A receiver that rejects
everything for a day causes four dead letters; bad events of a quiet tenant wait for hours instead of until their
horizon."""


class Acceptance:
    """The acceptances of one destination; one object serves all threads. Never raises RetryLater.

    Without tables, it covers only this process.
    """

    def __init__(self, clock: Callable[[], datetime], tables: Tables | None = None, destination: str = DEFAULT) -> None:
        self._clock = clock
        self._accepted = _Latest(None if tables is None else Times(tables, "accepted", "at"), destination)
        self._given_up = _Latest(None if tables is None else Times(tables, "given-up", "at"), destination)
        self._lock = threading.Lock()
        self._written: datetime | None = None
        self._giving_up = threading.Lock()

    def note(self) -> None:
        """Note that the destination has accepted an event now."""
        now = self._clock()
        self._accepted.learn(now)
        with self._lock:
            if self._written is not None and now - self._written < WRITE_INTERVAL:
                return
            self._written = now
        try:
            self._accepted.write(now)
        except RetryLater as retry_later:
            _log.debug("When the destination last accepted an event is not stored: %s", retry_later)

    def last(self, wanted: datetime) -> datetime | None:
        """Return the last known time at which the destination accepted an event.

        Reads the table only if this process knows no acceptance since `wanted`.
        """
        known = self._accepted.at
        return known if known is not None and known >= wanted else self._accepted.read()

    def may_give_up(self) -> bool:
        """Return whether one event may be given up without proof: once after each acceptance, then every six hours
        (GIVE_UP_INTERVAL), for each destination; never before its first acceptance.

        True uses up that permission. Several instances that ask at the same time may each get it. While one thread asks
        the tables, the others get False, so that they do not wait for storage that hangs.
        """
        if not self._giving_up.acquire(blocking=False):
            return False
        try:
            return self._is_first_to_give_up()
        except RetryLater as retry_later:
            _log.debug("Kept: %s", retry_later)
            return False
        finally:
            self._giving_up.release()

    def _is_first_to_give_up(self) -> bool:
        """Return whether an event may be given up now, and store that. Raises RetryLater."""
        accepted, given_up, now = self._accepted.read(), self._given_up.read(), self._clock()
        if accepted is None:
            return False
        if given_up is not None and given_up >= accepted and now - given_up < GIVE_UP_INTERVAL:
            return False
        self._given_up.write(now)
        self._given_up.learn(now)
        return True


class _Latest:
    """The latest time (UTC) stored by any instance; never replaced by an earlier one.

    at: the value in this process. No storage request is made under the lock.
    """

    def __init__(self, times: Times | None, name: str) -> None:
        """times: the stored values; None: in memory only."""
        self._times = times
        self._name = name
        self._lock = threading.Lock()
        self.at: datetime | None = None

    def learn(self, at: datetime | None) -> datetime | None:
        """Note a time; return the latest."""
        with self._lock:
            self.at = max(filter(None, (at, self.at)), default=None)
            return self.at

    def read(self) -> datetime | None:
        """Return the latest time; while storage is unavailable, the one in this process."""
        try:
            return self.learn(None if self._times is None else self._times.get(self._name))
        except RetryLater as retry_later:
            _log.debug("When the destination last accepted an event is not known: %s", retry_later)
            return self.at

    def write(self, at: datetime) -> None:
        """Store a time for the other instances. Raises RetryLater."""
        if self._times is not None:
            self._times.set(self._name, at)
