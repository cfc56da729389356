"""How the versions of one resource order: as strings, the greatest is the newest.

A version is a time in microseconds, then whatever tells apart two versions of that time; fixed widths, so that
strings compare.
"""

import hashlib
import re
from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def of_modification(at: datetime, etag: str | None) -> str:
    """Return the version of a resource that says when it changed."""
    return f"{_microseconds(at)}.{(etag or '').rjust(15, '0')}"


def of_arrival(at: datetime, arrived: datetime, content: bytes) -> str:
    """Return the version of a resource that does not say when it changed.

    `at` is the best it says, or the arrival. The arrival makes the version, and a hash of the content beside it: only
    what is equal and arrived together is one version, and what was changed back is a third.
    """
    return of_modification(at, f"{_microseconds(arrived)}.{hashlib.sha256(content).hexdigest()}")


def of_bare_notification(received: datetime, etag: str, change_type: str | None, data: bytes) -> str:
    """Return the version of a notification without content.

    It carries no version. The time of receipt and a hash of what it says make one: a re-send may be delivered twice,
    but two changes never share a version.
    """
    said = hashlib.sha256(f"{change_type}:".encode() + data).hexdigest()
    return f"{of_modification(received, etag)}.{said}"


def created_at(message_id: str) -> datetime | None:
    """Return when a Teams message was created: its id is that time, in milliseconds. None for any other id."""
    if not re.fullmatch(r"\d{12,14}", message_id, re.ASCII):
        return None
    return _EPOCH + timedelta(milliseconds=int(message_id))


def _microseconds(moment: datetime) -> str:
    return f"{(moment - _EPOCH) // timedelta(microseconds=1):018d}"
