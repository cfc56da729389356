"""Graph delivers to an event hub: subscriptions, messages, and what happens to their lives, without one POST to us."""

from dataclasses import replace

import pytest

from notify_event_hub.take import take
from shared.messages.ingest import ExpectedRecipient
from shared.messages.retry import WaitBudget
from shared.subscriptions.reconcile import reconcile
from tests.life.conftest import CHATS, TEAMS, World, declared
from tests.life.relay import Relay
from tests.life.test_secrets import client_state_secret

HUB_URL = "EventHub:https://relay.servicebus.windows.net/eventhubname/graph?tenantId=contoso.example"


@pytest.fixture
def relay(world: World) -> Relay:
    hub = {"NOTIFICATION_URL": HUB_URL, "EventHubConnection__fullyQualifiedNamespace": "relay.servicebus.windows.net"}
    return world.relay(declared(CHATS), declared(TEAMS), **hub)


def hand_over(world: World, relay: Relay) -> None:
    """Do what `notify_event_hub` does with what has come to the hub."""
    recipient = ExpectedRecipient(relay.settings.tenant_id, relay.settings.client_state_secrets)
    take(world.graph.events(), recipient, relay.storage, relay.clock())


def test_messages_come_by_way_of_the_hub_and_none_is_refused(world: World, relay: Relay) -> None:
    relay.tick()
    assert {one.notification_url for one in world.graph.subscriptions()} == {HUB_URL}
    world.graph.post("messages", count=20)
    hand_over(world, relay)
    relay.work_until(world.delivered())
    assert world.endpoint.asked == []
    relay.tick()
    assert len(world.graph.calls("POST")) == 2  # what was made is as it should be
    assert relay.dead_letters() == 0


def test_a_challenge_that_comes_by_way_of_the_hub_is_acted_upon(world: World, relay: Relay) -> None:
    relay.tick()
    world.graph.advance(hours=20)
    world.graph.post("lifecycle", subscriptionId=world.graph.subscriptions()[0].id, event="reauthorizationRequired")
    hand_over(world, relay)
    relay.work_until(lambda: world.graph.calls("PATCH"))


def test_made_anew_every_subscription_has_the_new_secret(world: World, relay: Relay) -> None:
    """Nothing that Graph shows of a subscription to a hub tells which secret it has, so a person has to say so."""
    relay.tick()
    old, new = world.environ["CLIENT_STATE_SECRET"], client_state_secret()
    before = {one.client_state for one in world.graph.subscriptions()}
    relay = world.relay(CLIENT_STATE_SECRET=f"{new},{old}")
    relay.tick()
    assert {one.client_state for one in world.graph.subscriptions()} == before
    world.graph.post("messages", count=3)
    settings, desired = relay.settings, replace(relay.desired(), anew=True)
    reconcile(
        settings.tenant_id,
        settings.declarations,
        desired,
        relay.subscriptions,
        lambda _: None,
        relay.clock,
        WaitBudget.none(),
    )
    assert {one.client_state for one in world.graph.subscriptions()}.isdisjoint(before)
    world.graph.post("messages", count=3)
    hand_over(world, relay)
    relay.work_until(world.delivered())
    relay = world.relay(CLIENT_STATE_SECRET=new)
    world.graph.post("messages", count=3)
    hand_over(world, relay)
    relay.work_until(world.delivered())
