"""Challenges, pauses, removal, and changes without notifications."""

import pytest

from graph_simulator.server import GraphServer
from tests.graph_simulator.client import GraphClient
from tests.graph_simulator.receiver import Receiver
from tests.waiting import eventually

MINUTE = 60


def test_an_ordered_event_carries_the_client_state_and_nothing_of_a_resource(
    graph: GraphServer, app: GraphClient, receiver: Receiver
) -> None:
    subscription = app.subscribed()
    graph.post("lifecycle", subscriptionId=subscription["id"], event="reauthorizationRequired", times=3)
    eventually(lambda: len(receiver.items()) == 3)
    for item in receiver.items():
        assert item["clientState"] == "a-secret-of-the-test"
        assert item["subscriptionId"].lower() == subscription["id"]
        assert item["lifecycleEvent"] == "reauthorizationRequired"
        assert item.keys().isdisjoint({"changeType", "resource", "encryptedContent"})
    assert not receiver.posts[0].collection.get("validationTokens")


def test_teams_messages_never_get_missed_and_unknown_events_may_come(
    graph: GraphServer, app: GraphClient, receiver: Receiver
) -> None:
    subscription = app.subscribed()
    with pytest.raises(ValueError, match="sends no 'missed' for chatMessage"):
        graph.post("lifecycle", subscriptionId=subscription["id"], event="missed")
    mail = app.subscribed(resource="/users/x/messages?$select=subject", expirationDateTime=app.moment(hours=3))
    graph.post("lifecycle", subscriptionId=mail["id"], event="missed")
    graph.post("lifecycle", subscriptionId=subscription["id"], event="somethingNew")
    eventually(lambda: len(receiver.items()) == 2)
    assert sorted(receiver.lifecycle()) == ["missed", "somethingNew"]


def test_a_removed_subscription_is_gone(graph: GraphServer, app: GraphClient, receiver: Receiver) -> None:
    subscription = app.subscribed()
    graph.post("lifecycle", subscriptionId=subscription["id"], event="subscriptionRemoved")
    eventually(receiver.lifecycle)
    assert app.call("GET", f"subscriptions/{subscription['id']}").status_code == 404


def test_lifecycle_events_go_to_their_own_url(graph: GraphServer, app: GraphClient, receiver: Receiver) -> None:
    subscription = app.subscribed(lifecycleNotificationUrl=receiver.url + "/lifecycle?x=1")
    graph.post("lifecycle", subscriptionId=subscription["id"], event="reauthorizationRequired")
    eventually(receiver.posts.__len__)
    assert receiver.posts[0].target == "/hook/lifecycle?x=1"


def test_reauthorization_is_requested_before_it_lapses_and_then_every_15_minutes(
    graph: GraphServer, app: GraphClient, receiver: Receiver
) -> None:
    app.subscribed()
    graph.post("clock", advance_seconds=29 * MINUTE)
    graph.post("clock", advance_seconds=2 * MINUTE)
    eventually(lambda: len(receiver.lifecycle()) == 1)
    graph.post("clock", advance_seconds=16 * MINUTE)
    eventually(lambda: len(receiver.lifecycle()) == 2)
    assert set(receiver.lifecycle()) == {"reauthorizationRequired"}


def test_an_unanswered_challenge_pauses_delivery_and_what_happens_meanwhile_is_lost(
    graph: GraphServer, app: GraphClient, receiver: Receiver
) -> None:
    subscription = app.subscribed()
    graph.post("clock", advance_seconds=31 * MINUTE)
    eventually(receiver.lifecycle)
    graph.post("messages", text="still delivered")
    eventually(lambda: len(receiver.changes()) == 1)
    graph.post("clock", advance_seconds=30 * MINUTE)
    graph.post("messages", text="lost")
    assert graph.get("summary")["lost"] == 1
    app.tokens.clear()
    assert app.call("POST", f"subscriptions/{subscription['id']}/reauthorize").status_code == 204
    graph.post("messages", text="delivered again")
    eventually(lambda: len(receiver.changes()) == 2)


def test_a_renewal_answers_a_challenge_as_well(graph: GraphServer, app: GraphClient, receiver: Receiver) -> None:
    subscription = app.subscribed()
    graph.post("clock", advance_seconds=31 * MINUTE)
    eventually(receiver.lifecycle)
    renewal = {"expirationDateTime": app.moment(hours=70)}
    assert app.call("PATCH", f"subscriptions/{subscription['id']}", renewal).status_code == 200
    graph.post("clock", advance_seconds=31 * MINUTE)
    graph.post("messages")
    eventually(receiver.changes)
    assert graph.get("summary")["lost"] == 0


def test_without_a_lifecycle_url_nobody_is_challenged(graph: GraphServer, app: GraphClient, receiver: Receiver) -> None:
    app.subscribed(lifecycleNotificationUrl=None, expirationDateTime=app.moment(minutes=59))
    graph.post("clock", advance_seconds=58 * MINUTE)
    graph.post("messages")
    eventually(receiver.changes)
    assert receiver.lifecycle() == []


def test_without_consent_calls_are_refused_and_subscriptions_end(
    graph: GraphServer, app: GraphClient, receiver: Receiver
) -> None:
    subscription = app.subscribed()
    tenant = graph.registration.tenant
    graph.post("consent", tenant=tenant, granted=False)
    eventually(lambda: receiver.lifecycle() == ["reauthorizationRequired"])
    renewal = {"expirationDateTime": app.moment(hours=3)}
    refused = app.call("PATCH", f"subscriptions/{subscription['id']}", renewal)
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "Authorization_RequestDenied")
    graph.post("messages")
    assert graph.get("summary")["lost"] == 1
    graph.post("clock", advance_seconds=31 * MINUTE)
    eventually(lambda: "subscriptionRemoved" in receiver.lifecycle())
    assert graph.get("summary")["subscriptions"] == 0
    assert app.subscribe().status_code == 403
    graph.post("consent", tenant=tenant, granted=True)
    assert app.subscribe().status_code == 201


def test_time_cannot_be_turned_back(graph: GraphServer) -> None:
    with pytest.raises(ValueError, match="400"):
        graph.post("clock", advance_seconds=-1)
