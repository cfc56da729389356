"""Whether a declaration covers the resource of a notification. This is a security boundary; a path may be neither.

`is_certainly_elsewhere`: reject a notification only if this is true. `is_certainly_within`: read a resource with our
own token only if this is true.
"""

from shared.resources.path import message_path, segments


def is_certainly_elsewhere(declared: str, named: str) -> bool:
    """Return whether a subscription to `declared` can't have sent a notification of `named`.

    True only if both are paths of Teams messages, and they differ.
    """
    prefix, message = _message_prefix(declared), message_path(named)
    if not prefix or message is None:
        return False
    return tuple(part.lower() for part in message.collection[: len(prefix)]) != prefix


def is_certainly_within(declared: str, named: str) -> bool:
    """Return whether `named` is certainly a resource that a subscription to `declared` covers.

    An attacker who knows the clientState of one declaration must not make us read another resource.
    """
    if _message_prefix(declared):
        return message_path(named) is not None and not is_certainly_elsewhere(declared, named)
    declared_parts, parts = ([part.lower() for part in segments(path)] for path in (declared, named))
    if not declared_parts or len(parts) < 2:
        return False
    return (
        _is_member(declared_parts, parts)
        if len(declared_parts) == 1
        else _is_ancestor(declared_parts, parts) or _is_descendant(declared_parts, parts)
    )


def _is_member(declared_parts: list[str], parts: list[str]) -> bool:
    """Whether `parts` is a direct member of a collection such as `users`."""
    return len(parts) == 2 and parts[0] == declared_parts[0]


def _is_ancestor(declared_parts: list[str], parts: list[str]) -> bool:
    """Whether `parts` is an ancestor of the declared resource."""
    return parts == declared_parts[: len(parts)]


def _is_descendant(declared_parts: list[str], parts: list[str]) -> bool:
    """Whether `parts` is a descendant. Its path may differ from the subscription's, such as `Messages` instead of
    `mailFolders('inbox')/messages`: only the last collection is the same.
    """
    is_get_all = declared_parts[1].startswith(_GET_ALL)
    last = next(reversed(_collections(declared_parts)), "").removeprefix(_GET_ALL)
    return (
        parts[:1] == declared_parts[:1]
        and (is_get_all or parts[1] == declared_parts[1])
        and _collections(parts)[-1:] == [last]
    )


_GET_ALL = "getall"
"""Prefix of the last path segment that stands for all collections of that name."""


def _collections(parts: list[str]) -> list[str]:
    """The collection names in a path of raw parts, lower case: they have letters only, while ids have digits."""
    return [part for part in parts if part.isascii() and part.isalpha()]


def _message_prefix(declared: str) -> tuple[str, ...]:
    """The path prefix of the messages of a declared resource, lower case: a chat, a channel, all chats or channels."""
    parts = tuple(part.lower() for part in segments(declared))
    match parts:
        case ("chats", _, "messages") | ("teams", _, "channels", _, "messages"):
            return parts
        case ("chats" | "teams", "getallmessages"):
            return parts[:1]
        case ("users", _, "chats", "getallmessages"):
            return ("chats",)
    return ()
