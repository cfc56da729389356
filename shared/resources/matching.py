"""Whether a declaration covers the resource of a notification. This is a security boundary; a path may be neither.

`is_certainly_elsewhere`: reject a notification only if this is true. `is_certainly_within`: read a resource with our
own token only if this is true.
"""

from dataclasses import replace

from shared.resources.identity import Identity, belongs, identify, kinds_in


def is_certainly_elsewhere(declared: str, item: Identity) -> bool:
    """Return whether a subscription to `declared` can't have sent a notification of `item`.

    True only for a Teams message: if `declared` is of other kinds, or the chat or channel differs. Which user some
    paths begin with is not documented.
    """
    kinds = kinds_in(declared)
    if item.kind not in _NEVER_RENAMED or not kinds:
        return False
    if item.kind not in kinds:
        return True
    if "user" in item.ids:
        item = replace(item, ids={name: value for name, value in item.ids.items() if name != "user"})
    return belongs(declared, item) is False


def is_certainly_within(declared: str, named: str) -> bool:
    """Return whether `named` is certainly a resource that a subscription to `declared` covers.

    An attacker who knows the clientState of one declaration must not make us read another resource: the whole path is
    compared, and what only might be within it is not. A user principal name and a GUID are not known to be one user.
    """
    return belongs(declared, identify(named)) is True


_NEVER_RENAMED = frozenset({"ChatMessage"})
"""Kinds that Graph always names by the ids of their place."""
