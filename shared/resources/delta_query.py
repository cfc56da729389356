"""The resources that have a delta query, and their entries (docs/graph.md, "Delta queries")."""

import re
from dataclasses import dataclass
from typing import NamedTuple

from shared.resources.path import encoded, has_dot_segments, segments


class _DeltaResource(NamedTuple):
    """A pattern over the raw path of what is watched, names in any case; the path that asks for its changes, "" if
    Graph documents none, and that of one entry, of the encoded path itself, the one above it, and the entry's id; what
    an entry is called.
    """

    pattern: str
    changes: str
    entry: str
    kind: str


_DELTA_RESOURCES = (
    _DeltaResource(r"users", "users/delta", "users/{id}", "User"),
    _DeltaResource(r"groups", "groups/delta", "groups/{id}", "Group"),
    _DeltaResource(r"users/[^/]+/mailfolders/[^/]+/messages", "{itself}/delta", "{itself}/{id}", "Message"),
    _DeltaResource(r"users/[^/]+/contactfolders/[^/]+/contacts", "{itself}/delta", "{itself}/{id}", "Contact"),
    _DeltaResource(r"users/[^/]+/contacts", "", "{itself}/{id}", "Contact"),  # Graph has delta queries of folders alone
    _DeltaResource(
        r"((sites/[^/]+/)?drives/[^/]+|(users|groups|sites)/[^/]+/drive)/root",
        "{itself}/delta",
        "{above}/items/{id}",
        "DriveItem",
    ),
    _DeltaResource(r"sites/[^/]+/lists/[^/]+", "{itself}/items/delta", "{itself}/items/{id}", "ListItem"),
    _DeltaResource(r"users/[^/]+/todo/lists/[^/]+/tasks", "{itself}/delta", "{itself}/{id}", "TodoTask"),
)


@dataclass(frozen=True)
class Entry:
    """One entry of a `collection` that has a delta query: its raw `id` and its `path`."""

    collection: str
    id: str
    path: str


def delta_path(resource: str) -> str | None:
    """Return the path of a resource's first delta query; None if there is none."""
    parts = segments(resource)
    delta_resource = _delta_resource(parts)
    return delta_resource.changes.format(itself=encoded(parts)) if delta_resource and delta_resource.changes else None


def kind_of(resource: str) -> str | None:
    """Return what an entry of a resource is called, as in `@odata.type`; None if it is not read back by entries."""
    delta_resource = _delta_resource(segments(resource))
    return delta_resource.kind if delta_resource else None


def entry(resource: str) -> Entry | None:
    """Return the entry that a path names; None if the path names something else."""
    *above, last = segments(resource) or ("",)
    collection = tuple(above)
    delta_resource = _delta_resource(collection)
    if delta_resource is None or has_dot_segments((*collection, last)):
        return None
    path = delta_resource.entry.format(itself=encoded(collection), above=encoded(collection[:-1]), id=encoded((last,)))
    return Entry(encoded(collection), last, path)


def _delta_resource(parts: tuple[str, ...]) -> _DeltaResource | None:
    path = "/".join(parts)
    return next(
        (candidate for candidate in _DELTA_RESOURCES if re.fullmatch(candidate.pattern, path, re.IGNORECASE)),
        None,
    )
