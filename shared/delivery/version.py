"""Versions of a resource: strings that sort by age; the greatest is the newest.

A version is a time in microseconds and a suffix that distinguishes versions of the same time, both of fixed width.
"""

import base64
import binascii
import hashlib
import re
from datetime import UTC, datetime, timedelta

import msgspec

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def of_modification(at: datetime, suffix: str | None) -> str:
    """Return the version of a resource with a modification time; `suffix` is of `sortable` or `of_content`."""
    return f"{_microseconds(at)}.{(suffix or '').rjust(15, '0')}"


def sortable(etag: str | None) -> str | None:
    """Return an etag in a form in which later ones compare greater as strings; None if it can't be ordered.

    Teams counts milliseconds. SharePoint ends in a number: `"{guid},10"`. Outlook's change keys are Base64, whose
    letters sort differently than the bytes that they encode (docs/graph.md, "Versions").
    """
    bare = (etag or "").removeprefix("W/").strip('"')
    if re.fullmatch(r"\d{1,40}", bare, re.ASCII):
        return bare
    if counted := re.fullmatch(r"[^,]*,(\d{1,15})", bare, re.ASCII):
        return counted[1].rjust(15, "0")
    if len(bare) < _SHORTEST_CHANGE_KEY:
        return None
    try:
        return f"x{base64.b64decode(bare, validate=True).hex()}"
    except (binascii.Error, ValueError):
        return None


def of_content(content: bytes) -> str:
    """Return the suffix for versions without a sortable etag: a hash of the JSON content.

    Differences between two reads of one version are ignored: annotations, and the order of members.
    """
    try:
        members = msgspec.json.decode(content, type=dict[str, object])
        own = {name: value for name, value in members.items() if "@" not in name}
        content = msgspec.json.encode(own, order="sorted")
    except (ValueError, RecursionError):
        pass  # lone surrogates or unbounded numbers: use the original bytes
    return hashlib.sha256(content).hexdigest()


def of_arrival(at: datetime, arrived: datetime, content: bytes) -> str:
    """Return the version of a resource without a modification time.

    at: the best time in the resource, or the arrival. The version adds the arrival and a hash of the content: equal
    content that arrived together is one version; a change and its reversal are three.
    """
    return of_modification(at, f"{_microseconds(arrived)}.{hashlib.sha256(content).hexdigest()}")


def of_bare_notification(received: datetime, etag: str, change_type: str | None, data: bytes) -> str:
    """Return the version of a notification without content.

    The notification carries no version. The time of receipt and a hash of its content replace it: a resent notification
    may be delivered twice, but two changes never share a version.
    """
    digest = hashlib.sha256(f"{change_type}:".encode() + data).hexdigest()
    return f"{of_modification(received, etag)}.{digest}"


def created_at(message_id: str) -> datetime | None:
    """Return the creation time of a Teams message: its id, in milliseconds. None for any other id."""
    if not re.fullmatch(r"\d{12,14}", message_id, re.ASCII):
        return None
    return _EPOCH + timedelta(milliseconds=int(message_id))


def _microseconds(timestamp: datetime) -> str:
    return f"{(timestamp - _EPOCH) // timedelta(microseconds=1):018d}"


_SHORTEST_CHANGE_KEY = 16
"""Characters; shorter text that happens to be Base64 is not a change key."""
