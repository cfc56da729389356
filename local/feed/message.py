"""Messages, conversations and requests as the feed shows them."""

from dataclasses import dataclass
from datetime import datetime

import msgspec


class Message(msgspec.Struct, frozen=True):
    """A message in its last version. Times are ISO 8601 in UTC, `lag_ms` is arrival minus the change's time."""

    position: int  # order of first arrival; an edit keeps it
    conversation: str
    source: str
    subject: str
    type: str
    version: str
    time: str
    arrived: str
    lag_ms: float
    deleted: bool
    partial: bool
    revisions: int  # versions seen, 1 for a message that is new
    author_id: str | None
    author: str | None
    data: msgspec.Raw


class Conversation(msgspec.Struct, frozen=True):
    """A chat, a channel, or the collection of another kind of resource."""

    conversation: str
    name: str | None
    people: list[str]  # authors, most frequent first, at most three
    messages: int
    latest: int  # position of its newest message


class Counts(msgspec.Struct, frozen=True):
    """Totals by result."""

    events: int
    duplicates: int
    messages: int
    deleted: int
    refused: dict[str, int]


@dataclass(frozen=True)
class ReceivedRequest:
    """A request to the feed: its time, its signature headers (None: absent), and its size."""

    at: datetime
    webhook_id: str | None
    signed_at: str | None
    bytes: int


class DeliveryRow(msgspec.Struct, frozen=True):
    """One delivery of one version of a message: the event, and the signed request that brought it."""

    event_id: str
    type: str
    version: str
    time: str
    arrived: str
    webhook_id: str | None
    signed_at: str | None
    events: int
    bytes: int


class RefusedRequest(msgspec.Struct, frozen=True):
    """A refused request: its status and reason. Its content is not stored."""

    number: int
    at: str
    webhook_id: str | None
    signed_at: str | None
    status: int
    reason: str
    bytes: int
