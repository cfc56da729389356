"""Members of Graph's JSON objects, found in any letter case (docs/graph.md, "Notifications")."""

from collections.abc import Mapping
from functools import cache

import msgspec

_members = msgspec.json.Decoder(dict[str, msgspec.Raw])


def in_known_case(text: bytes | msgspec.Raw, known: tuple[str, ...]) -> bytes | msgspec.Raw:
    """Return a JSON object with its known members renamed to their usual case; others stay.

    A member in the usual case has precedence. A text that is not an object is returned unchanged, as is an object whose
    names are all usual.
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
