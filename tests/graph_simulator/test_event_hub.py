"""Subscriptions that name an event hub instead of a webhook."""

import pytest

from graph_simulator.server import GraphServer
from tests.graph_simulator.client import GraphClient

BY_ROLE = "EventHub:https://relay.servicebus.windows.net/eventhubname/graph?tenantId=contoso.example"
BY_SECRET = "EventHub:https://relay.vault.azure.net/secrets/connection?tenantId=contoso.example"


@pytest.mark.parametrize("url", [BY_ROLE, BY_SECRET])
def test_no_handshake_is_made_and_a_test_event_comes_for_each_url(
    app: GraphClient, graph: GraphServer, url: str
) -> None:
    app.subscribed(notificationUrl=url, lifecycleNotificationUrl=url)
    events = graph.post("event-hubs/fetch")["events"]
    assert [event["value"][0]["subscriptionId"] for event in events] == ["NA", "NA"]
    assert all(event["value"][0]["changeType"].startswith("Validation:") for event in events)


def test_what_comes_to_a_hub_has_content_and_no_tokens(app: GraphClient, graph: GraphServer) -> None:
    app.subscribed(notificationUrl=BY_ROLE, lifecycleNotificationUrl=BY_ROLE)
    graph.post("event-hubs/fetch")
    graph.post("messages", count=3)
    events = graph.post("event-hubs/fetch")["events"]
    assert [set(event) for event in events] == [{"value"}] * 3
    assert all("encryptedContent" in event["value"][0] for event in events)
    assert graph.post("event-hubs/fetch")["events"] == []


@pytest.mark.parametrize(
    "url", ["EventHub:", "EventHub:https://relay.servicebus.windows.net/eventhubname/graph", f"{BY_ROLE}#x", "eventhub"]
)
def test_other_forms_are_refused(app: GraphClient, url: str) -> None:
    assert app.subscribe(notificationUrl=url).status_code == 400
