"""Whether a notification's resource is one that a declaration watches: a security boundary, so doubt has a direction.

`is_certainly_elsewhere`: reject a notification only for this. `is_certainly_within`: read with our own token only for
this. A path may be neither.
"""

from shared.resources.path import message_path, segments


def is_certainly_elsewhere(declared: str, named: str) -> bool:
    """Tell whether a subscription to `declared` can't have sent a notification of `named`.

    True only if both are places of Teams messages, and they differ.
    """
    place, message = _place(declared), message_path(named)
    if not place or message is None:
        return False
    return tuple(part.lower() for part in message.collection[: len(place)]) != place


def is_certainly_within(declared: str, named: str) -> bool:
    """Tell whether `named` is certain to be one of the resources that a subscription to `declared` is about.

    Whoever has learnt the clientState of one declaration must not have us read another resource.
    """
    if _place(declared):
        return message_path(named) is not None and not is_certainly_elsewhere(declared, named)
    wanted, parts = ([part.lower() for part in segments(path)] for path in (declared, named))
    if not wanted or len(parts) < 2:
        return False
    return _is_member(wanted, parts) if len(wanted) == 1 else _is_above(wanted, parts) or _is_beneath(wanted, parts)


def _is_member(wanted: list[str], parts: list[str]) -> bool:
    """Of a collection such as `users`: the resources in it, nothing beneath them."""
    return len(parts) == 2 and parts[0] == wanted[0]


def _is_above(wanted: list[str], parts: list[str]) -> bool:
    """What the declared resource is in."""
    return parts == wanted[: len(parts)]


def _is_beneath(wanted: list[str], parts: list[str]) -> bool:
    """Beneath a resource, names differ from those subscribed to, `mailFolders('inbox')/messages` from `Messages`: only
    the last collection is the same.
    """
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
