"""A declaration applied to what is read back: the destination receives what a push would have brought, and no more."""

from datetime import datetime
from urllib.parse import parse_qsl, quote

import msgspec

from shared.configuration.declaration import Declaration
from shared.delivery.event import Event
from shared.delivery.resource import Resource, read_resource, time_of
from shared.resources.identity import identify, kinds_in

PINGED = frozenset({"DriveItem", "ListItem"})
"""Kinds of which Graph only says that something has changed (docs/graph.md, "Notifications")."""

_FILTERED_BY_GRAPH = frozenset({"Message", "Event", "Contact"})
"""Kinds whose list takes the `$filter` of a subscription beside a range of time."""


_DIRECTORY = frozenset({"User", "Group"})
_SELECTED_BY_GRAPH = _FILTERED_BY_GRAPH | {"TodoTask", *_DIRECTORY, *PINGED}


def options(resource: str) -> dict[str, str]:
    """Return the query options of a declared resource, names in lower case."""
    return {name.lower(): value for name, value in parse_qsl(resource.partition("?")[2])}


def selection(resource: str) -> str:
    """Return the query by which Graph shows of one resource, or of a list, what a declaration selects; "" for all.

    resource: what is declared, or a resource in it with the same query. Teams takes no selection.
    """
    kinds = kinds_in(resource) or {identify(resource).kind}
    given = options(resource)
    names = ("$select", "$expand") if kinds <= _SELECTED_BY_GRAPH else ()
    return "&".join(f"{name}={quote(given[name], safe=',')}" for name in names if name in given)


def is_pinged(declaration: Declaration) -> bool:
    """Whether notifications of a declaration name nothing that changed: its changes have to be asked for."""
    return bool(PINGED & kinds_in(declaration.resource))


def unfaithful(declaration: Declaration) -> str | None:
    """Return why what is read back would not be what the declaration asks for, as a sentence; None if it would."""
    given = options(declaration.resource)
    if "$search" in given:
        return "$search can't be applied to what is read back: declare the resource without it"
    if "$filter" in given and not kinds_in(declaration.resource) <= _FILTERED_BY_GRAPH:
        return "its $filter can't be applied to what is read back: declare the resource without it"
    return None


def as_declared(event: Event, declaration: Declaration, since: datetime) -> Event | None:
    """Return the event as a notification would have brought it; None if none would have come.

    since: the beginning of the range that was read back; what was created in it may be told as a creation.
    """
    told = event.type[-len("updated") :].lower()
    resource = read_resource(bytes(event.data))
    possible = _removals(resource, event.subject) if told == "deleted" else _changes(resource, since)
    wanted = possible if is_pinged(declaration) else possible.intersection(declaration.change_types)
    if not wanted:
        return None
    if told not in wanted:
        change = min(wanted)
        event = msgspec.structs.replace(event, type=f"{event.type[: -len(told)]}{change.capitalize()}")
    shows = declaration.include_resource_data or declaration.hydrate or is_pinged(declaration)
    return event if shows else _bare(event)


def _removals(resource: Resource, subject: str) -> set[str]:
    """Of the directory, a notification calls a soft deletion an update (docs/graph.md, "Notifications")."""
    is_soft = resource.removed is not None and resource.removed.get("reason") == "changed"
    return {"deleted", "updated"} if is_soft and identify(subject).kind in _DIRECTORY else {"deleted"}


def _changes(resource: Resource, since: datetime) -> set[str]:
    """The changes that a resource may have gone through since a time: it shows the last alone."""
    created = time_of(resource.created_date_time)
    if created is not None and created < since:
        return {"updated"}
    return {"created"} if created and resource.likely_change == "created" else {"created", "updated"}


def _bare(event: Event) -> Event:
    """What a notification without content says."""
    said = {
        "@odata.type": f"#Microsoft.Graph.{identify(event.subject).kind}",
        "@odata.id": event.subject,
        "id": read_resource(bytes(event.data)).id,
    }
    return msgspec.structs.replace(event, data=msgspec.Raw(msgspec.json.encode(said)), partial=True)
