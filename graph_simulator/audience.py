"""Which subscriptions a change concerns, and what each subscription gets (docs/graph.md, "Subscriptions")."""

import re
from urllib.parse import parse_qsl

from graph_simulator.conversation import Change
from graph_simulator.resource_store import ResourceChange
from graph_simulator.watchable import WatchedResource

_MENTION = re.compile(r"mentions/any\(u:\s*u/mentioned/user/id eq '([^']+)'\)", re.IGNORECASE)

_HIDDEN_TYPE = (b'"messageType":"systemEventMessage"', b'"messageType":"unknownFutureValue"')


def concerns(watched: WatchedResource, change: Change) -> bool:
    """Whether a subscription's resource includes a message."""
    return _covers(watched, change) and _passes(watched.query, change)


def shown_types(message: bytes, knows_all_types: bool) -> bytes:
    """Return a message (JSON) as shown to a caller that does, or does not, ask for all message types."""
    return message if knows_all_types else message.replace(*_HIDDEN_TYPE, 1)


def _covers(watched: WatchedResource, change: Change) -> bool:
    place, segments = change.place, watched.segments
    match watched.template:
        case "teams/getAllMessages":
            return place.team is not None
        case "chats/getAllMessages" | "appCatalogs/teamsApps/{}/installedToChats/getAllMessages":
            return place.chat is not None
        case "teams/{}/channels/{}/messages":
            return (segments[1].lower(), segments[3]) == (place.team, place.channel)
        case "chats/{}/messages":
            return segments[1] == place.chat
        case "users/{}/chats/getAllMessages":
            return place.chat is not None and any(person.id == segments[1].lower() for person in place.members)
        case _:
            return False


def _passes(query: str, change: Change) -> bool:
    options = dict(parse_qsl(query))
    word = options.get("$search", "").strip('"').lower()
    mention = _MENTION.search(options.get("$filter", ""))
    return word in change.text.lower() and (mention is None or mention[1] in change.mentioned)


def concerns_stored(watched: WatchedResource, change: ResourceChange, principal_name: str) -> bool:
    """Whether a subscription's resource includes any other resource. `principal_name`: of the user that owns it."""
    stored, segments = change.stored, tuple(segment.lower() for segment in watched.segments)
    match watched.template:
        case "users" | "users/{}" | "groups" | "groups/{}":
            own = f"{stored.type.name.lower()}s"
            return segments[0] == own and segments[1:] in ((), (stored.id.lower(),))
        case "drives/{}/root" | "sites/{}/drives/{}/root":
            return stored.type.name == "DriveItem" and stored.owner.lower() == f"drives/{segments[-2]}"
        case "sites/{}/lists/{}":
            return stored.type.name == "ListItem" and stored.owner.lower() == "/".join(segments)
    owners = (stored.owner.lower(), f"users/{principal_name.lower()}")
    if segments[0] != "users" or f"users/{segments[1]}" not in owners:
        return False
    names = {"messages": "Message", "events": "Event", "contacts": "Contact", "tasks": "TodoTask"}
    folder = segments[-2] if len(segments) > 3 else stored.container.lower()
    is_there = names.get(segments[-1]) == stored.type.name and folder == stored.container.lower()
    return is_there and _admits(watched, change)


def _admits(watched: WatchedResource, change: ResourceChange) -> bool:
    """Whether a resource has the values that a `$filter` demands; a deleted resource always passes."""
    equal = _EQUALS.findall(dict(parse_qsl(watched.query)).get("$filter", ""))
    fields = change.stored.fields
    return fields is None or all(str(fields.get(name)).lower() == value.lower() for name, value in equal)


_EQUALS = re.compile(r"(\w+) eq '?([^' ]+)'?", re.IGNORECASE)
