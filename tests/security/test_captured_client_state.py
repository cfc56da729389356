"""An attacker who has captured one clientState, and nothing else: what it allows, and what it does not."""

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import requests

from graph_simulator.authority import Authority
from shared.configuration.declaration import declaration_id
from shared.graph.rate_limits import BURST
from shared.subscriptions.known import KnownSubscription
from tests.builders import CHAT, NOW, TENANT, change, chat_path, lifecycle, message, minted
from tests.security.attacked import AttackedRelay, attacked
from tests.servers import ScriptedResponse, in_json

CHATS = "/chats/getAllMessages"
USERS = "/users"
MESSAGE = f"chats/{CHAT.replace(':', '%3A').replace('@', '%40')}/messages/1700000000000"
DECLARED: list[dict[str, object]] = [
    {"resource": CHATS, "changeTypes": ["created", "updated", "deleted"], "includeResourceData": True},
    {"resource": USERS, "changeTypes": ["updated", "deleted"]},
]
INVENTED = {"@odata.type": "#Microsoft.Graph.chatMessage", "id": "1700000000000", "body": {"content": "Pay Mallory"}}


@pytest.fixture
def app(tmp_path: Path, authority: Authority, session: requests.Session) -> Iterator[AttackedRelay]:
    with attacked(tmp_path, authority, session, DECLARED) as running:
        yield running


@pytest.mark.parametrize("change_type", ["created", "updated", "deleted", "Deleted"])
def test_a_rich_subscription_delivers_only_what_graph_returns(app: AttackedRelay, change_type: str) -> None:
    app.resources[MESSAGE] = message()
    app.post(change(chat_path(), changeType=change_type, resourceData=INVENTED))
    app.settle()
    (event,) = app.events
    assert event["data"] == message()
    assert event["type"] != "Microsoft.Graph.ChatMessageDeleted"
    assert "partial" not in event


def test_a_resource_that_graph_does_not_have_is_delivered_as_deleted_only(app: AttackedRelay) -> None:
    app.post(change(chat_path(), changeType="created", resourceData=INVENTED))
    app.settle()
    (event,) = app.events
    assert event["type"] == "Microsoft.Graph.ChatMessageDeleted"
    assert "Mallory" not in json.dumps(event)


def test_a_forged_deletion_does_not_outlive_the_message(app: AttackedRelay) -> None:
    """Forged before our reader sees the message, it sorts below the version that is read back."""
    app.post(change(chat_path(), changeType="deleted"))
    app.drain()
    app.resources[MESSAGE] = message()
    app.post(change(chat_path(), changeType="updated"))
    app.drain()
    assert [event["type"].rpartition("Message")[2] for event in app.events] == ["Deleted", "Updated"]


@pytest.mark.parametrize("refusal", [403, 400])
def test_a_resource_that_graph_refuses_is_not_delivered(app: AttackedRelay, refusal: int) -> None:
    app.resources[MESSAGE] = in_json({"error": {"code": "Forbidden", "message": "no"}}, refusal)
    app.post(change(chat_path(), resourceData=INVENTED))
    app.drain()
    assert app.events == []
    assert app.waiting() == 1


def test_a_resource_withheld_by_a_policy_is_not_delivered(app: AttackedRelay) -> None:
    said = {"code": "Forbidden", "message": "No application access policy found for this app."}
    app.resources[MESSAGE] = in_json({"error": said}, 403)
    app.post(change(chat_path(), resourceData=INVENTED))
    app.settle()
    assert (app.events, app.waiting()) == ([], 0)


@pytest.mark.parametrize("path", ["things('1')", "chats", "chats('a')/things('1')"])
def test_changes_outside_the_declaration_are_not_delivered(app: AttackedRelay, path: str) -> None:
    app.post(change(path, resourceData=INVENTED))
    app.settle()
    assert (app.events, app.waiting()) == ([], 0)


def test_many_items_make_no_more_reads_than_a_burst_and_are_not_lost(app: AttackedRelay) -> None:
    number = BURST + 100
    app.resources["x"] = None
    for first in range(0, number, 100):
        names = [str(1_700_000_000_000 + first + number) for number in range(100)]
        app.post(*(change(chat_path(name), changeType="deleted") for name in names))
    app.drain()
    assert len(app.asked()) <= BURST
    assert len(app.events) == BURST
    app.clock.advance(minutes=3)
    app.drain()
    assert len(app.events) == number
    assert app.dead() == []


def test_a_bare_item_neither_ends_a_silence_nor_names_a_subscription(app: AttackedRelay) -> None:
    app.post(change(chat_path(), subscriptionId="3f1c0a52-7a3e-4d0e-9f0e-00000000dead"))
    app.drain()
    assert app.relay.last_seen.all() == []


@pytest.mark.parametrize(
    "item",
    [
        change(chat_path(), changeType="\x1b]0;All is well\x07"),
        change(chat_path(), changeType="renamed"),
        change(chat_path(), changeType="x" * 300),
        change("chats('\x1b[2J')/messages('1')"),
        change("chats('%1b[2J')/messages('1')"),
        change("users/%C2%9B2J"),
        change("x" * 5000),
        change(chat_path(), subscriptionId="x" * 300),
    ],
    ids=lambda item: ascii(item["changeType"] + item["resource"])[:30],
)
def test_fields_hold_nothing_but_what_graph_writes_into_them(app: AttackedRelay, item: dict[str, object]) -> None:
    app.post(item)
    assert app.waiting() == 0


def user_item(**resource_data: object) -> dict[str, object]:
    return change("users/5d", clientState=minted(TENANT, USERS), changeType="updated", resourceData=resource_data)


@pytest.mark.parametrize(
    "name",
    ["#Microsoft.Graph.user\x1b[2J", "#Microsoft.Graph." + "x" * 300, "é", "#Microsoft.Graph.user</script>", " "],
)
def test_a_kind_is_a_name(app: AttackedRelay, name: str) -> None:
    app.post(user_item(**{"@odata.type": name, "id": "5d"}))
    app.drain()
    (event,) = app.events
    assert event["type"] in ("Microsoft.Graph.ResourceUpdated", "Microsoft.Graph.UserUpdated")


@pytest.mark.parametrize("etag", ["\x1b[2J", "x" * 3000, "é"])
def test_a_version_is_short_and_printable(app: AttackedRelay, etag: str) -> None:
    app.post(user_item(**{"@odata.etag": etag, "id": "5d"}))
    app.drain()
    (event,) = app.events
    assert len(event["version"]) < 500
    assert (event["version"] + event["id"]).isprintable()


def test_a_basic_subscription_delivers_only_the_resource_that_it_names(app: AttackedRelay) -> None:
    app.post(user_item(**{"@odata.type": "#Microsoft.Graph.user", "id": "6e", "displayName": "Mallory"}))
    app.post(user_item(**{"@odata.id": "users/6e", "displayName": "Mallory"}))
    app.post(user_item(**{"@odata.id": "Users/5d", "id": "5d", "displayName": "Ada"}))
    app.drain()
    assert ["Mallory" in json.dumps(event) for event in app.events] == [False, False, False]
    assert [event["data"].get("displayName") for event in app.events] == [None, None, "Ada"]


def test_a_clientstate_of_what_is_no_longer_declared_is_good_for_nothing(app: AttackedRelay) -> None:
    app.post(change("users/5d/messages/AA", clientState=minted(TENANT, "users/5d/messages"), resourceData=INVENTED))
    for _ in range(10):
        app.drain()
        app.clock.advance(minutes=10)
    assert (app.events, app.asked(), app.waiting()) == ([], [], 0)


def test_a_clientstate_for_users_delivers_no_chat(app: AttackedRelay) -> None:
    app.post(change(chat_path(), clientState=minted(TENANT, USERS), resourceData=INVENTED))
    app.drain()
    assert (app.events, app.asked(), app.waiting()) == ([], [], 0)


def test_an_answer_of_graph_other_than_a_message_is_not_delivered(app: AttackedRelay) -> None:
    app.resources[MESSAGE] = ScriptedResponse(200, b"<html>")
    app.post(change(chat_path()))
    app.drain()
    assert app.events == []


OURS = "3f1c0a52-7a3e-4d0e-9f0e-0c6a4f2d9b11"


def known(app: AttackedRelay, resource: str = CHATS) -> None:
    """Let Graph's list contain a subscription of the app."""
    served = KnownSubscription(declaration_id(TENANT, resource), NOW + timedelta(hours=1))
    app.relay.known_subscriptions.note(TENANT, {OURS: served})


def test_any_number_of_missed_events_starts_one_comparison_in_ten_minutes(app: AttackedRelay) -> None:
    known(app)
    app.resources["users"] = {"value": []}
    app.relay.sweep.start(app.relay.declarations, (), NOW)
    app.drain()
    app.asked()
    for _ in range(10):
        app.clock.advance(seconds=30)
        app.post(*(lifecycle(lifecycleEvent="missed", subscriptionId=OURS) for _ in range(10)))
        app.drain()
        app.relay.sweep.start(app.relay.declarations, (), app.clock())  # like renew_timer
        app.drain()
    assert app.listings() == 1
    app.clock.advance(minutes=10)  # and the last of them is not forgotten
    app.relay.sweep.start(app.relay.declarations, (), app.clock())
    app.drain()
    assert app.listings() == 1


@pytest.mark.parametrize("event", ["reauthorizationRequired", "subscriptionRemoved", "missed"])
def test_a_thousand_invented_subscriptions_cost_no_call(app: AttackedRelay, event: str) -> None:
    known(app)
    invented = [f"3f1c0a52-7a3e-4d0e-9f0e-{number:012x}" for number in range(1000)]
    app.post(*(lifecycle(lifecycleEvent=event, subscriptionId=subscription_id) for subscription_id in invented))
    for _ in range(5):
        app.drain()
        app.clock.advance(minutes=10)
    assert (app.asked(), app.waiting(), app.dead()) == ([], 0, [])


def test_a_subscription_is_requested_once_in_ten_minutes(app: AttackedRelay) -> None:
    known(app)
    for _ in range(10):
        app.post(*(lifecycle(subscriptionId=OURS) for _ in range(10)))
        app.drain()
        app.clock.advance(seconds=59)
    assert len([call for call in app.asked() if call.endswith(OURS)]) <= 1


def test_a_clientstate_is_not_good_for_another_subscription_of_the_tenant(app: AttackedRelay) -> None:
    known(app, USERS)
    app.post(lifecycle(subscriptionId=OURS, clientState=minted(TENANT, CHATS)))
    app.drain()
    assert (app.asked(), app.waiting()) == ([], 0)
