"""The rights of the app's identity, tested by use, because assigned roles take minutes to become effective.

`renew_timer` tests them at each run with the deployed identity, `ops doctor` with that of its user. The test removes
what it writes.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime

from shared.errors import Reason, RelayError, RetryLater
from shared.keys.key import newest_valid
from shared.keys.ring import KeyRing
from shared.storage.clients import StorageClients
from shared.storage.state import Times


@dataclass(frozen=True)
class Access:
    """What was tested, in one word, and the error; None if it succeeded."""

    to: str
    error: RelayError | None = None


def storage_access(storage: StorageClients, now: datetime) -> Iterator[Access]:
    """Try to write to the queue, the blobs and the tables."""
    yield _tried("queue", storage.queues.try_write)
    yield _tried("blobs", lambda: storage.claims.delete(storage.claims.open(storage.claims.check_in("access"))))
    yield _tried("tables", lambda: _write_row(Times(storage.tables, "access", "at"), now))


def key_access(keys: KeyRing, now: datetime) -> Access:
    """Try to read the keys; one of them must be valid."""
    return _tried("keys", lambda: _read_keys(keys, now))


def _tried(to: str, do: Callable[[], object]) -> Access:
    try:
        do()
    except RelayError as error:
        return Access(to, error)
    return Access(to)


def _write_row(times: Times, now: datetime) -> None:
    times.set("tried", now)
    times.forget("tried")


def _read_keys(keys: KeyRing, now: datetime) -> None:
    if newest_valid(keys.all(), now) is None:
        raise keys.unreadable() or RetryLater(Reason.KEY_STORE, "there is no valid key")
