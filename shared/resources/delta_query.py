"""The resources that have a delta query (docs/graph.md, "Delta queries")."""

import re
from typing import NamedTuple

from shared.resources.path import encoded, segments


class _DeltaResource(NamedTuple):
    """A pattern over the raw path of what is watched, names in any case; the path that asks for its changes; the query
    that begins from now on, "" where Graph offers none; whether entries say when they changed; whether it is of a range
    of dates; what it lists, if something that it calls removed may only have left its folder or range of dates.
    """

    pattern: str
    changes: str
    latest: str = ""
    dated: bool = True
    ranged: bool = False
    listed: str = ""


_DIRECTORY_LATEST, _FILES_LATEST = "$deltatoken=latest", "token=latest"

_DELTA_RESOURCES = (
    _DeltaResource(r"users", "users/delta", _DIRECTORY_LATEST, dated=False),
    _DeltaResource(r"groups", "groups/delta", _DIRECTORY_LATEST, dated=False),
    _DeltaResource(r"users/[^/]+/mailfolders/[^/]+/messages", "{itself}/delta", listed="messages"),
    _DeltaResource(r"users/[^/]+/contactfolders/[^/]+/contacts", "{itself}/delta", listed="contacts"),
    _DeltaResource(r"drives/[^/]+/root", "{itself}/delta", _FILES_LATEST),
    _DeltaResource(r"sites/[^/]+/drives/[^/]+/root", "{drive}/delta", _FILES_LATEST),  # documented without the site
    _DeltaResource(r"(users|groups|sites)/[^/]+/drive/root", "{itself}/delta", _FILES_LATEST),
    _DeltaResource(r"sites/[^/]+/lists/[^/]+", "{itself}/items/delta", _FILES_LATEST),
    _DeltaResource(r"users/[^/]+/todo/lists/[^/]+/tasks", "{itself}/delta"),
    _DeltaResource(r"users/[^/]+/(calendars/[^/]+/)?calendarview", "{itself}/delta", ranged=True, listed="events"),
)

_EVENTS = re.compile(r"(users/[^/]+/)(?:calendar/)?((?:calendars/[^/]+/)?)events", re.IGNORECASE)


def delta_path(resource: str) -> str | None:
    """Return the path of a resource's first delta query; None if there is none."""
    parts = segments(resource)
    found = _delta_resource(parts)
    return found.changes.format(itself=encoded(parts), drive=encoded(parts[2:])) if found else None


def latest(resource: str) -> str:
    """Return the query by which a first delta query begins from now on; "" if it can only list everything first."""
    found = _delta_resource(segments(resource))
    return found.latest if found else ""


def says_when(resource: str) -> bool:
    """Whether the entries of a delta query say when they changed."""
    found = _delta_resource(segments(resource))
    return found is not None and found.dated


def is_ranged(resource: str) -> bool:
    """Whether a delta query is of a range of dates, and calls removed what changed outside it too."""
    found = _delta_resource(segments(resource))
    return found is not None and found.ranged


def collection_left(resource: str) -> str | None:
    """Return the path that has what a delta query calls removed, if that has only been moved, or is outside the range;
    None where what is removed is gone.

    Graph says "deleted" of a mail that was moved to another folder (docs/graph.md, "Delta queries").
    """
    parts = segments(resource)
    found = _delta_resource(parts)
    return encoded((*parts[:2], found.listed)) if found and found.listed else None


def view_of(resource: str) -> str | None:
    """Return the calendar view whose delta query tells which events of a resource were deleted; None if there is none.

    A list of events by the time of their change does not name those that are gone.
    """
    found = _EVENTS.fullmatch(encoded(segments(resource)))
    return f"{found[1]}{found[2]}calendarView" if found else None


def keeps_link(resource: str) -> bool:
    """Whether reading a declared resource back goes on from a stored delta link."""
    return delta_path(resource) is not None or view_of(resource) is not None


def _delta_resource(parts: tuple[str, ...]) -> _DeltaResource | None:
    path = "/".join(parts)
    return next(
        (candidate for candidate in _DELTA_RESOURCES if re.fullmatch(candidate.pattern, path, re.IGNORECASE)), None
    )
