"""Graph delivers to an event hub: subscriptions, messages and lifecycle events, without a POST to the app."""

from dataclasses import replace

import pytest

from notify_event_hub.receive import receive
from shared.subscriptions.wait_budget import WaitBudget
from tests.life.conftest import CHATS, TEAMS, AppEnvironment, declared
from tests.life.instance import Instance
from tests.life.test_secrets import client_state_secret

HUB_URL = "EventHub:https://relay.servicebus.windows.net/eventhubname/graph?tenantId=contoso.example"


@pytest.fixture
def app(world: AppEnvironment) -> Instance:
    hub = {"NOTIFICATION_URL": HUB_URL, "EventHubConnection__fullyQualifiedNamespace": "relay.servicebus.windows.net"}
    return world.instance(declared(CHATS), declared(TEAMS), **hub)


def hand_over(world: AppEnvironment, app: Instance) -> None:
    """Pass the new events of the hub to `notify_event_hub`."""
    relay = app.relay
    receive(world.graph.events(), relay.recipient, relay.queues, app.clock(), relay.paths, relay.account)


def test_messages_arrive_through_the_hub_and_none_is_refused(world: AppEnvironment, app: Instance) -> None:
    app.tick()
    assert {subscription.notification_url for subscription in world.graph.subscriptions()} == {HUB_URL}
    world.graph.post("messages", count=20)
    hand_over(world, app)
    app.work_until(world.delivered())
    assert world.endpoint.asked == []
    app.tick()
    assert len(world.graph.calls("POST")) == 2  # existing subscriptions are correct
    assert app.dead_letters() == 0


def test_a_challenge_that_comes_by_way_of_the_hub_is_acted_upon(world: AppEnvironment, app: Instance) -> None:
    app.tick()
    world.graph.advance(hours=20)
    world.graph.post("lifecycle", subscriptionId=world.graph.subscriptions()[0].id, event="reauthorizationRequired")
    hand_over(world, app)
    app.work_until(lambda: world.graph.calls("PATCH"))


def test_every_recreated_subscription_has_the_new_secret(world: AppEnvironment, app: Instance) -> None:
    """Nothing that Graph shows of a subscription to a hub reveals its secret, so an operator has to recreate it."""
    app.tick()
    old, new = world.environ["CLIENT_STATE_SECRET"], client_state_secret()
    before = {subscription.client_state for subscription in world.graph.subscriptions()}
    app = world.instance(CLIENT_STATE_SECRET=f"{new},{old}")
    app.tick()
    assert {subscription.client_state for subscription in world.graph.subscriptions()} == before
    world.graph.post("messages", count=3)
    relay = app.relay
    desired = replace(relay.desired_state(relay.keys.current()), recreate=True)
    relay.reconciler.tenant(app.settings.tenant_id, desired, lambda _: None, WaitBudget.none())
    assert {subscription.client_state for subscription in world.graph.subscriptions()}.isdisjoint(before)
    world.graph.post("messages", count=3)
    hand_over(world, app)
    app.work_until(world.delivered())
    app = world.instance(CLIENT_STATE_SECRET=new)
    world.graph.post("messages", count=3)
    hand_over(world, app)
    app.work_until(world.delivered())
