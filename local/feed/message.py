"""What the feed shows of a message and of the conversation it belongs to."""

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
    people: list[str]  # who writes there, most first, three at most
    messages: int
    latest: int  # position of its newest message


class Counts(msgspec.Struct, frozen=True):
    """How much came, and what became of it."""

    events: int
    duplicates: int
    messages: int
    deleted: int
    refused: dict[str, int]
