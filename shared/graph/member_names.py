"""Members of Graph's JSON objects, found in any letter case (docs/graph.md, "Notifications")."""

from collections.abc import Mapping
from functools import cache

import msgspec

_members = msgspec.json.Decoder(dict[str, msgspec.Raw])


def in_known_case(text: bytes | msgspec.Raw, known: tuple[str, ...]) -> bytes | msgspec.Raw:
    """Return a JSON object with the members that are known under the names as we write them; others stay.

    A member that is there under its own name is the one that counts. What is no object is returned as it is, and so is
    an object in which every name is right: nothing is written again.
    """
    try:
        members = _members.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return text
    lowered = _by_lower_case(known)
    renamed = {name: lowered[name.lower()] for name in members.keys() - set(known) if name.lower() in lowered}
    if not renamed:
        return text
    written = {renamed[name]: value for name, value in members.items() if name in renamed}
    return msgspec.json.encode(written | {name: value for name, value in members.items() if name not in renamed})


@cache
def _by_lower_case(known: tuple[str, ...]) -> Mapping[str, str]:
    return {name.lower(): name for name in known}
