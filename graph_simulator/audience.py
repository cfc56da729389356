"""Which subscriptions a change concerns, and what each of them gets (docs/graph.md, "Subscriptions")."""

import re
from urllib.parse import parse_qsl

from graph_simulator.conversation import Change
from graph_simulator.watchable import Watched

_MENTION = re.compile(r"mentions/any\(u:\s*u/mentioned/user/id eq '([^']+)'\)", re.IGNORECASE)

_HIDDEN_TYPE = (b'"messageType":"systemEventMessage"', b'"messageType":"unknownFutureValue"')


def concerns(watched: Watched, change: Change) -> bool:
    """Tell whether a change of a message belongs to what is watched."""
    return _covers(watched, change) and _passes(watched.query, change)


def shown_types(message: bytes, knows_all_types: bool) -> bytes:
    """Return a message (JSON) as told to a caller that does, or does not, ask for all message types."""
    return message if knows_all_types else message.replace(*_HIDDEN_TYPE, 1)


def _covers(watched: Watched, change: Change) -> bool:
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
