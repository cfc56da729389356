"""The recorded paths of notifications, read from the app's storage as `python -m ops find` reads them."""

import random
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import msgspec

from shared.configuration.settings import StorageSettings
from shared.delivery.ledger import Ledger
from shared.errors import RetryLater
from shared.paths import LastRetry, Path, Paths, Step, advice, read_path, steps
from shared.storage.clients import StorageClients

_KEPT = timedelta(days=60)


class AppFailure(msgspec.Struct, frozen=True):
    """A notification that the app refused or dead-lettered. on_receipt: refused before it was queued."""

    at: datetime
    outcome: str
    on_receipt: bool
    reason: str
    subject: str
    subscription: str
    advice: str
    steps: list[Step]


class EventPath(msgspec.Struct, frozen=True):
    """The recorded steps of the events of one message, oldest first."""

    steps: list[Step]


class RelayPaths:
    """Reads the paths of one app. While its storage is unavailable, there are none."""

    def __init__(self, settings: StorageSettings) -> None:
        tables = StorageClients.of(settings).tables
        self._paths = Paths(tables, _now, random.random, "")
        self._ledger = Ledger(tables, _KEPT)

    def of_events(self, event_ids: Iterable[str]) -> EventPath:
        """Return the recorded steps of events."""
        found: list[Path] = []
        with suppress(RetryLater):
            for event_id in event_ids:
                details = self._ledger.details(event_id)
                found += [] if details is None else [read_path(details)]
        return EventPath([step for path in found for step in steps(path)])

    def failures(self) -> list[AppFailure]:
        """Return the last failures, newest first."""
        with suppress(RetryLater):
            return [_failure(path) for path in self._paths.failures()]
        return []

    def retries(self) -> list[LastRetry]:
        """Return why notifications wait, the last failure first."""
        with suppress(RetryLater):
            return self._paths.retries()
        return []


def _failure(path: Path) -> AppFailure:
    return AppFailure(
        at=path.at,
        outcome=path.outcome,
        on_receipt=path.on_receipt,
        reason=path.reason,
        subject=path.resource,
        subscription=path.subscription,
        advice=advice(path),
        steps=steps(path),
    )


def _now() -> datetime:
    return datetime.now(UTC)
