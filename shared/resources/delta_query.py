"""The resources that have a delta query (docs/graph.md, "Delta queries")."""

import re
from typing import NamedTuple

from shared.resources.path import encoded, segments


class _DeltaResource(NamedTuple):
    """A pattern over the raw path of what is watched, names in any case; the path that asks for its changes."""

    pattern: str
    changes: str


_DELTA_RESOURCES = (
    _DeltaResource(r"users", "users/delta"),
    _DeltaResource(r"groups", "groups/delta"),
    _DeltaResource(r"users/[^/]+/mailfolders/[^/]+/messages", "{itself}/delta"),
    _DeltaResource(r"users/[^/]+/contactfolders/[^/]+/contacts", "{itself}/delta"),
    _DeltaResource(r"((sites/[^/]+/)?drives/[^/]+|(users|groups|sites)/[^/]+/drive)/root", "{itself}/delta"),
    _DeltaResource(r"sites/[^/]+/lists/[^/]+", "{itself}/items/delta"),
    _DeltaResource(r"users/[^/]+/todo/lists/[^/]+/tasks", "{itself}/delta"),
)


def delta_path(resource: str) -> str | None:
    """Return the path of a resource's first delta query; None if there is none."""
    parts = segments(resource)
    path = "/".join(parts)
    found = next((one for one in _DELTA_RESOURCES if re.fullmatch(one.pattern, path, re.IGNORECASE)), None)
    return found.changes.format(itself=encoded(parts)) if found else None
