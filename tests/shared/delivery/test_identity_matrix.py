"""Every kind of resource, by every source of events: one subject, and one id for each version.

The exceptions are those of docs/destination.md: events without content, and resources without a time of change.
"""

import json
import re
from datetime import timedelta
from typing import Any

import pytest

from shared.delivery.event import Event, event_of_content, event_read_back, event_without_content
from shared.errors import Undeliverable
from shared.graph.notification import Notification, read_notification
from shared.resources.identity import identify, read_path
from shared.resources.item_types import ITEM_TYPES, ItemType
from shared.resources.path import encoded
from tests.builders import NOW, TENANT, change, raw

LATER = NOW + timedelta(minutes=9)
GUID = "5d5d5d5d-0a0b-4c0d-8e0f-00000000000A"
ETAGS = {
    "Message": {"@odata.etag": 'W/"CQAAABYAAADHcgC8Hl9tRZ/hc1wEUs1TAAAwR4Hg"'},
    "Event": {"@odata.etag": 'W/"CQAAABYAAADHcgC8Hl9tRZ/hc1wEUs1TAAAwR4Hg"'},
    "Contact": {"@odata.etag": 'W/"CQAAABYAAADHcgC8Hl9tRZ/hc1wEUs1TAAAwR4Hg"'},
    "DriveItem": {"eTag": '"{12AD05BB-59B8-43AA-9456-77C44E9BC066},756"', "cTag": '"c:{12AD05BB},3"'},
    "ListItem": {"eTag": '"{12AD05BB-59B8-43AA-9456-77C44E9BC066},756"'},
}
UNDATED = {"User", "Group", "Chat", "Team", "Channel", "ConversationMember", "Presence", "CallTranscript"}
"""Kinds without a time of change: each arrival has its own id."""


def path_of(item: ItemType, spelling: str) -> str:
    """A path in that form, with ids like Graph's: GUIDs for objects of the directory."""
    ids = {"user": GUID, "team": GUID, "group": GUID, "chat": "19:a@thread.v2", "channel": "19:b@thread.tacv2"}
    return re.sub(r"\{(\w+)\}", lambda found: ids.get(found[1], f"{found[1]}-Aa1"), spelling)


def content_of(item: ItemType) -> dict[str, Any]:
    own = path_of(item, item.path).rpartition("/")[2]
    dated = {} if item.kind in UNDATED else {"lastModifiedDateTime": "2031-02-03T04:00:00Z"}
    if item.kind == "ChatMessage":
        root = {"replyToId": "root-Aa1"} if "replies" in item.path else {}
        place = {"teamId": GUID, "channelId": "19:b@thread.tacv2"}
        where = {"chatId": "19:a@thread.v2"} if item.path.startswith("chats") else {"channelIdentity": place, **root}
        return {"id": own, "etag": "1700000060000", **dated, **where}
    return {"id": own, **ETAGS.get(item.kind, {}), **dated, "subject": "x"}


def notification(path: str, change_type: str = "updated") -> Notification:
    return read_notification(raw(change(path, changeType=change_type, resourceData={"id": path.rpartition("/")[2]})))


def spellings(item: ItemType) -> list[str]:
    plain = [path_of(item, form) for form in (item.path, *item.spellings)]
    quoted = [re.sub(r"\b([a-z]+)/([^/]*[^a-z/][^/]*)", r"\1('\2')", path) for path in plain]
    capitals = [path.replace(GUID, f"{GUID.upper()}@{TENANT}") for path in plain if path.startswith("users/")]
    return [*plain, *quoted, *capitals, *(f"/{path.replace('users/', 'Users/', 1)}" for path in plain)]


def ways(item: ItemType, content: dict[str, Any]) -> dict[str, Event]:
    """Return the event of one version from each source of this kind."""
    written = json.dumps(content).encode()
    other_order = json.dumps({"@odata.context": "https://x/$metadata#y", **dict(reversed(content.items()))}).encode()
    found = {}
    for number, path in enumerate(spellings(item)):
        found[f"push {path}"] = event_of_content(written, notification(path), TENANT, NOW)
        found[f"re-send {path}"] = event_of_content(written, notification(path), TENANT, NOW + timedelta(hours=number))
        found[f"hydrate {path}"] = event_of_content(other_order, notification(path, "created"), TENANT, LATER)
        found[f"replay {path}"] = event_read_back(other_order, path, TENANT, LATER)
    for declared in item.declared:
        place = path_of(item, declared)
        if item.kind == "ChatMessage" or identify(place).type is None:
            try:
                found[f"sweep {place}"] = event_read_back(other_order, place, TENANT, LATER)
            except Undeliverable:
                continue  # the list at such a path is not read back
    return found


@pytest.mark.parametrize("item", ITEM_TYPES, ids=lambda item: item.path)
def test_a_version_has_one_subject_and_one_id_however_it_comes(item: ItemType) -> None:
    events = ways(item, content_of(item))
    assert len({(event.subject, event.source) for event in events.values()}) == 1, {
        way: event.subject for way, event in events.items()
    }
    assert {event.type.removeprefix("Microsoft.Graph.")[: len(item.kind)] for event in events.values()} == {item.kind}
    if item.kind not in UNDATED:
        assert len({event.id for event in events.values()}) == 1, {way: event.id for way, event in events.items()}


@pytest.mark.parametrize("item", ITEM_TYPES, ids=lambda item: item.path)
def test_a_deletion_is_of_the_same_subject(item: ItemType) -> None:
    (subject,) = {event.subject for event in ways(item, content_of(item)).values()}
    for path in spellings(item):
        gone = event_without_content(notification(path, "deleted"), TENANT, NOW)
        assert gone.subject == subject
        entry = event_read_back(json.dumps({"id": content_of(item)["id"], "@removed": {}}).encode(), path, TENANT, NOW)
        assert entry.subject == subject


@pytest.mark.parametrize("item", ITEM_TYPES, ids=lambda item: item.path)
def test_what_was_delivered_can_be_asked_for_again_by_its_subject(item: ItemType) -> None:
    identity = identify(path_of(item, item.path))
    assert identify(encoded(identity.parts)) == identity
    again = read_path(identity, path_of(item, item.declared[0]))
    assert again is not None
    assert identify(again) == identity
