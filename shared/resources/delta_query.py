"""Which resources have a delta query, and what its entries are (docs/graph.md, "Delta queries")."""

import re
from dataclasses import dataclass
from typing import NamedTuple

from shared.resources.path import climbs, encoded, segments


class _Watched(NamedTuple):
    """A pattern over the raw path of what is watched, names in any case; the path that asks for its changes, "" if
    Graph documents none, and that of one entry, of the encoded path itself, the one above it, and the entry's id; what
    an entry is called.
    """

    pattern: str
    changes: str
    entry: str
    kind: str


_WATCHED = (
    _Watched(r"users", "users/delta", "users/{id}", "User"),
    _Watched(r"groups", "groups/delta", "groups/{id}", "Group"),
    _Watched(r"users/[^/]+/mailfolders/[^/]+/messages", "{itself}/delta", "{itself}/{id}", "Message"),
    _Watched(r"users/[^/]+/contactfolders/[^/]+/contacts", "{itself}/delta", "{itself}/{id}", "Contact"),
    _Watched(r"users/[^/]+/contacts", "", "{itself}/{id}", "Contact"),  # Graph has delta queries of folders alone
    _Watched(
        r"((sites/[^/]+/)?drives/[^/]+|(users|groups|sites)/[^/]+/drive)/root",
        "{itself}/delta",
        "{above}/items/{id}",
        "DriveItem",
    ),
    _Watched(r"sites/[^/]+/lists/[^/]+", "{itself}/items/delta", "{itself}/items/{id}", "ListItem"),
    _Watched(r"users/[^/]+/todo/lists/[^/]+/tasks", "{itself}/delta", "{itself}/{id}", "TodoTask"),
)


@dataclass(frozen=True)
class Entry:
    """One entry of a resource that has a delta query, `collection`: its raw `id`, and the `path` to read it by."""

    collection: str
    id: str
    path: str


def delta_path(resource: str) -> str | None:
    """Return the path of a resource's first delta query; None if there is none."""
    parts = segments(resource)
    watched = _watched(parts)
    return watched.changes.format(itself=encoded(parts)) if watched and watched.changes else None


def kind_of(resource: str) -> str | None:
    """Return what an entry of a resource is called, as in `@odata.type`; None if it is not read back by entries."""
    watched = _watched(segments(resource))
    return watched.kind if watched else None


def entry(resource: str) -> Entry | None:
    """Return the entry that a path names, its id behind what is watched; None if it names something else."""
    *above, last = segments(resource) or ("",)
    collection = tuple(above)
    watched = _watched(collection)
    if watched is None or climbs((*collection, last)):
        return None
    path = watched.entry.format(itself=encoded(collection), above=encoded(collection[:-1]), id=encoded((last,)))
    return Entry(encoded(collection), last, path)


def _watched(parts: tuple[str, ...]) -> _Watched | None:
    path = "/".join(parts)
    return next((one for one in _WATCHED if re.fullmatch(one.pattern, path, re.IGNORECASE)), None)
