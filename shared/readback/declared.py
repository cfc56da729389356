"""Applies a declaration to what is read back: the destination receives the same events as after a push, and no
others.
"""

from datetime import datetime
from urllib.parse import parse_qsl, quote

import msgspec

from shared.configuration.declaration import Declaration
from shared.delivery.event import Event
from shared.delivery.resource import Resource, read_resource, time_of
from shared.resources.identity import identify, kinds_in

PINGED = frozenset({"DriveItem", "ListItem"})
"""Kinds whose notifications only say that something has changed (docs/graph.md, "Notifications")."""

_FILTERED_BY_GRAPH = frozenset({"Message", "Event", "Contact"})
"""Kinds whose list accepts the `$filter` of a subscription together with a time range."""


_DIRECTORY = frozenset({"User", "Group"})
_SELECTED_BY_GRAPH = _FILTERED_BY_GRAPH | {"TodoTask", *_DIRECTORY, *PINGED}


def options(resource: str) -> dict[str, str]:
    """Return the query options of a declared resource, names in lower case."""
    return {name.lower(): value for name, value in parse_qsl(resource.partition("?")[2])}


def selection(resource: str) -> str:
    """Return the query that selects the declared properties of a resource or a list; "" for all.

    resource: the declared one, or one within it with the same query. Teams accepts no selection.
    """
    kinds = kinds_in(resource) or {identify(resource).kind}
    given = options(resource)
    names = ("$select", "$expand") if kinds <= _SELECTED_BY_GRAPH else ()
    return "&".join(f"{name}={quote(given[name], safe=',')}" for name in names if name in given)


def is_pinged(declaration: Declaration) -> bool:
    """Whether the notifications of a declaration do not name the changed resource: the app has to query the changes."""
    return bool(PINGED & kinds_in(declaration.resource))


def unfaithful(declaration: Declaration) -> str | None:
    """Return why read-back can't match the declaration, as a sentence; None if it can."""
    given = options(declaration.resource)
    if "$search" in given:
        return "$search can't be applied to what is read back: declare the resource without it"
    if "$filter" in given and not kinds_in(declaration.resource) <= _FILTERED_BY_GRAPH:
        return "its $filter can't be applied to what is read back: declare the resource without it"
    return None


def as_declared(event: Event, declaration: Declaration, since: datetime) -> Event | None:
    """Return the event that a notification would have caused; None if there would have been none.

    since: the beginning of the range that was read back; a resource created within it may become a `created` event.
    """
    change_type = event.type[-len("updated") :].lower()
    resource = read_resource(bytes(event.data))
    possible = _removals(resource, event.subject) if change_type == "deleted" else _changes(resource, since)
    wanted = possible if is_pinged(declaration) else possible.intersection(declaration.change_types)
    if not wanted:
        return None
    if change_type not in wanted:
        change = min(wanted)
        event = msgspec.structs.replace(event, type=f"{event.type[: -len(change_type)]}{change.capitalize()}")
    shows = declaration.include_resource_data or declaration.hydrate or is_pinged(declaration)
    return event if shows else _bare(event)


def _removals(resource: Resource, subject: str) -> set[str]:
    """For the directory, a notification reports a soft deletion as an update (docs/graph.md, "Notifications")."""
    is_soft = resource.removed is not None and resource.removed.get("reason") == "changed"
    return {"deleted", "updated"} if is_soft and identify(subject).kind in _DIRECTORY else {"deleted"}


def _changes(resource: Resource, since: datetime) -> set[str]:
    """The possible changes of a resource since a time: Graph shows only the last state."""
    created = time_of(resource.created_date_time)
    if created is not None and created < since:
        return {"updated"}
    return {"created"} if created and resource.likely_change == "created" else {"created", "updated"}


def _bare(event: Event) -> Event:
    """The event of a notification without content."""
    said = {
        "@odata.type": f"#Microsoft.Graph.{identify(event.subject).kind}",
        "@odata.id": event.subject,
        "id": read_resource(bytes(event.data)).id,
    }
    return msgspec.structs.replace(event, data=msgspec.Raw(msgspec.json.encode(said)), partial=True)
