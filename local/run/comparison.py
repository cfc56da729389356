"""Compares the feed with the written messages: every message, in its last state, once, and no others."""

from collections import Counter
from collections.abc import Iterable
from typing import Any
from urllib.parse import unquote

Line = dict[str, Any]
Key = tuple[str, str]


def differences(written: Iterable[Line], held: Iterable[Line]) -> list[str]:
    """Compare the simulator's messages with the feed's contents; return a line for each differing message.

    Reports ids and names of fields only, never content.
    """
    truth = {(line["tenant"], line["path"]): line for line in written}
    found = [(key_of(line), line) for line in held]
    contents = dict(found)
    times = Counter(key for key, _ in found)
    return [
        *(f"missing: {name(key)}" for key in truth.keys() - contents.keys()),
        *(f"never written: {name(key)}" for key in contents.keys() - truth.keys()),
        *(f"held {count} times: {name(key)}" for key, count in times.items() if count > 1),
        *(
            f"different: {name(key)} in {', '.join(fields)}"
            for key in truth.keys() & contents.keys()
            if (fields := differing(truth[key], contents[key]))
        ),
    ]


def key_of(line: Line) -> Key:
    """Return tenant and path of one message of the feed; ids in a source or subject may be percent-encoded."""
    tenant = line["source"].split("/")[2]
    return tenant, unquote(line["subject"])


def differing(written: Line, held: Line) -> list[str]:
    """Return the names of the fields of a stored message that differ from what was last written."""
    if written["deleted"] and held["deleted"] and not _is_kept(written):
        return []  # of a permanently deleted resource, Graph shows at most an id
    resource, data = written["resource"], held["data"] or {}
    fields = sorted(field for field in resource.keys() | data.keys() if resource.get(field) != data.get(field))
    return fields + (["deleted"] if written["deleted"] != held["deleted"] else [])


def _is_kept(line: Line) -> bool:
    """Whether a deleted resource can still be read, as a message of Teams can."""
    return not line["resource"].keys() & {"@removed", "deleted"}


def name(key: Key) -> str:
    """Return the name of a message."""
    return f"{key[1]} of tenant {key[0]}"
