"""The content of event hubs, for subscriptions that name a hub instead of a webhook (docs/graph.md, "Event Hubs").

A stand-in for the hubs themselves: it keeps Graph's events until a control fetches them.
"""

import re
from collections import deque

import msgspec

_FORM = re.compile(
    r"EventHub:https://[^/?#]+\.vault\.[^/?#]+/secrets/[^/?#]+\?tenantId=[^&#]+"
    r"|EventHub:https://[^/?#]+\.servicebus\.[^/?#]+/eventhubname/[^/?#]+\?tenantId=[^&#]+"
)


def is_event_hub(url: str) -> bool:
    """Whether a notification URL has one of the two forms that name an event hub."""
    return _FORM.fullmatch(url) is not None


class EventHubs:
    """All hubs as one: a fetch returns the events of every hub."""

    def __init__(self) -> None:
        self._events: deque[bytes] = deque()

    def announce(self) -> None:
        """Send the event that Graph sends on creation, in place of a handshake: `NA` in every field."""
        fields = ("subscriptionId", "subscriptionExpirationDateTime", "clientState", "resource", "tenantId")
        item = {**dict.fromkeys(fields, "NA"), "changeType": "Validation: Testing client application reachability"}
        self.send(msgspec.Raw(msgspec.json.encode(item)))

    def send(self, item: msgspec.Raw) -> None:
        """Send a notification: in the form of a collection, without validation tokens."""
        self._events.append(msgspec.json.encode({"value": [item]}))

    def fetched(self) -> list[msgspec.Raw]:
        """Return the events, collections in JSON, since the last fetch."""
        events = [msgspec.Raw(event) for event in self._events]
        self._events.clear()
        return events
