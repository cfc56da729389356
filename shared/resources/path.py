"""The path of a resource, in whichever of Graph's spellings it comes (Graph contract §9, "`resource` strings")."""

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
    """Join raw parts to a path that can stand in a URL."""
    return "/".join(quote(part, safe="") for part in parts)


def climbs(parts: tuple[str, ...]) -> bool:
    """Whether a path of these raw parts leads elsewhere than it says: an HTTP client resolves `..` before it asks."""
    return any(part in (".", "..") for part in parts)


def covers(declared: str, named: str) -> bool:
    """Return whether a subscription to `declared` can speak of `named`.

    Only what is certain counts against it: that both are places of messages, and that they differ (Graph contract
    §9, "`resource` strings").
    """
    place, message = _place(declared), message_path(named)
    if not place or message is None:
        return True
    return tuple(part.lower() for part in message.collection[: len(place)]) == place


def belongs(declared: str, named: str) -> bool:
    """Return whether `named` is certain to be of what a subscription to `declared` tells of.

    For what is asked of Graph with our own token, where `covers` is too lenient: whoever has learnt the clientState of
    one declaration must not have us read another resource.
    """
    if _place(declared):
        return message_path(named) is not None and covers(declared, named)
    wanted, parts = ([part.lower() for part in segments(path)] for path in (declared, named))
    if not wanted or len(parts) < 2:
        return False
    if len(wanted) == 1:  # a collection: of the resources in it, nothing beneath them
        return len(parts) == 2 and parts[0] == wanted[0]
    if parts == wanted[: len(parts)]:  # what it lies in
        return True
    # Beneath a resource names differ from those subscribed to, `mailFolders('inbox')/messages` from `Messages`: only
    # the last collection is the same.
    everywhere = wanted[1].startswith(_EVERYWHERE)
    last = next(reversed(_collections(wanted)), "").removeprefix(_EVERYWHERE)
    return parts[:1] == wanted[:1] and (everywhere or parts[1] == wanted[1]) and _collections(parts)[-1:] == [last]


_EVERYWHERE = "getall"
"""Begins the last part of a path that stands for a collection in each of many places."""


def _collections(parts: list[str]) -> list[str]:
    """The names of collections in a path of raw parts, lower case: they hold letters alone, where ids hold digits."""
    return [part for part in parts if part.isascii() and part.isalpha()]


def _place(declared: str) -> tuple[str, ...]:
    """Where the messages of a declared resource lie, lower case: one chat, one channel, all chats or all channels."""
    parts = tuple(part.lower() for part in segments(declared))
    match parts:
        case ("chats", _, "messages") | ("teams", _, "channels", _, "messages"):
            return parts
        case ("chats" | "teams", "getallmessages"):
            return parts[:1]
        case ("users", _, "chats", "getallmessages"):
            return ("chats",)
    return ()


def message_path(resource: str) -> MessagePath | None:
    """Return the Teams message that `resource` names, or None if it names something else."""
    parts = segments(resource)
    if len(parts) > 2 and parts[0].lower() == "users":
        parts = parts[2:]  # some user-scoped subscriptions name the user first
    names = tuple(part.lower() for part in parts[0::2])
    keys = parts[1::2]
    if len(keys) == len(names) and names in _MESSAGE_SHAPES:
        if names[0] == "teams":
            keys = (keys[0].lower(), *keys[1:])  # a GUID, whose case may differ from one notification to the next
        collection = [part for pair in zip(names, keys, strict=True) for part in pair][:-1]
        return MessagePath(tuple(collection), keys[-1])
    return None


_MESSAGE_SHAPES = {
    ("chats", "messages"),
    ("teams", "channels", "messages"),
    ("teams", "channels", "messages", "replies"),
}
