"""How the versions of one resource order: as strings; the greatest is the newest.

A version is a time in microseconds and a suffix that distinguishes versions of the same time. The widths are fixed,
so that strings compare.
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

    at: the best time in the resource, or the arrival. The version adds the arrival and a hash of the content: equal
    content that arrived together is one version; a change and its reversal are three.
    """
    return of_modification(at, f"{_microseconds(arrived)}.{hashlib.sha256(content).hexdigest()}")


def of_bare_notification(received: datetime, etag: str, change_type: str | None, data: bytes) -> str:
    """Return the version of a notification without content.

    The notification carries no version. We use the time of receipt and a hash of its content: a re-send may be
    delivered twice, but two changes never share a version.
    """
    digest = hashlib.sha256(f"{change_type}:".encode() + data).hexdigest()
    return f"{of_modification(received, etag)}.{digest}"


def created_at(message_id: str) -> datetime | None:
    """Return when a Teams message was created: its id is that time, in milliseconds. None for any other id."""
    if not re.fullmatch(r"\d{12,14}", message_id, re.ASCII):
        return None
    return _EPOCH + timedelta(milliseconds=int(message_id))


def _microseconds(timestamp: datetime) -> str:
    return f"{(timestamp - _EPOCH) // timedelta(microseconds=1):018d}"
