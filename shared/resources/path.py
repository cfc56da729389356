"""The path of a resource, in any of Graph's notations (docs/graph.md, "Resource strings")."""

import re
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import quote, unquote

_SEGMENT = re.compile(r"([^/(]+)\('((?:[^']|'')*)'\)|([^/]+)")


@dataclass(frozen=True)
class MessagePath:
    """A Teams message: `collection` ends in `messages` or `replies`; ids are raw, not percent-encoded."""

    collection: tuple[str, ...]
    message_id: str

    @property
    def subject(self) -> str:
        """The path of the message relative to the Graph root, ids raw."""
        return "/".join((*self.collection, self.message_id))

    @property
    def source(self) -> str:
        """The path of the collection relative to the Graph root, ids percent-encoded."""
        return encoded(self.collection)


def segments(resource: str) -> tuple[str, ...]:
    """Split a path, `messages('1')` or `messages/1`, with or without a leading slash or a query, into raw parts."""
    parts: list[str] = []
    for name, key, plain in _SEGMENT.findall(resource.partition("?")[0]):
        parts += [name, unquote(key.replace("''", "'"))] if name else [unquote(plain)]
    return tuple(parts)


@lru_cache(maxsize=4096)
def encoded(parts: tuple[str, ...]) -> str:
    """Join raw parts to a percent-encoded path."""
    return "/".join(quote(part, safe="") for part in parts)


def has_dot_segments(parts: tuple[str, ...]) -> bool:
    """Whether a path of these raw parts contains `.` or `..`, which an HTTP client resolves before it sends."""
    return any(part in (".", "..") for part in parts)


def message_path(resource: str) -> MessagePath | None:
    """Return the Teams message that `resource` names, or None if it names something else."""
    parts = segments(resource)
    if len(parts) > 2 and parts[0].lower() == "users":
        parts = parts[2:]  # some user-scoped subscriptions name the user first
    names = tuple(part.lower() for part in parts[0::2])
    keys = parts[1::2]
    if len(keys) == len(names) and names in _MESSAGE_COLLECTIONS and keys[-1].lower() != "delta":  # a function, no id
        if names[0] == "teams":
            keys = (keys[0].lower(), *keys[1:])  # a GUID, whose letter case may vary between notifications
        collection = [part for pair in zip(names, keys, strict=True) for part in pair][:-1]
        return MessagePath(tuple(collection), keys[-1])
    return None


_MESSAGE_COLLECTIONS = {
    ("chats", "messages"),
    ("teams", "channels", "messages"),
    ("teams", "channels", "messages", "replies"),
}
