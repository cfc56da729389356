"""Two deployments of one app registration, which share CLIENT_STATE_SECRET against advice."""

import pytest

from tests.builders import declaration
from tests.memory import MemoryAccount
from tests.shared.subscriptions.tenants_in_memory import URL, TenantsInMemory

CHATS = declaration("/chats/getAllMessages")


@pytest.fixture
def world() -> TenantsInMemory:
    world = TenantsInMemory(CHATS)
    world.run()
    return world


def test_neither_touches_the_subscriptions_of_the_other(
    world: TenantsInMemory, caplog: pytest.LogCaptureFixture
) -> None:
    (first,) = world.alive()
    other = world.instance(
        MemoryAccount(world.clock), NOTIFICATION_URL=f"{URL}/api/notifications?deployment=2", SUBSCRIPTIONS="[]"
    )
    world.run(minutes=5, app=other)
    assert world.alive() == [first]
    assert f"Subscription {first['id']} to {CHATS.resource}" in caplog.text
    assert "give each its own" in caplog.text


def test_one_that_declares_the_same_names_the_subscription_in_its_way(
    world: TenantsInMemory, caplog: pytest.LogCaptureFixture
) -> None:
    (first,) = world.alive()
    other = world.instance(MemoryAccount(world.clock), NOTIFICATION_URL=f"{URL}/api/notifications?deployment=2")
    for _ in range(2):
        world.run(minutes=5, app=other)
        world.run(minutes=5)
    assert [held["id"] for held in world.alive()] == [first["id"]]
    assert world.unserved == []
    assert f"subscription {first['id']} at graph.example, which is marked with CLIENT_STATE_SECRET" in caplog.text


def test_another_url_of_the_same_deployment_replaces_what_its_tables_name(world: TenantsInMemory) -> None:
    (first,) = world.alive()
    world.declare(CHATS, NOTIFICATION_URL=f"{URL}/api/notifications?moved=1")
    world.run(minutes=5)
    (second,) = world.alive()
    assert second["id"] != first["id"]
    assert "moved=1" in second["notificationUrl"]


def test_what_is_declared_no_more_after_a_move_is_removed(world: TenantsInMemory) -> None:
    world.declare(NOTIFICATION_URL=f"{URL}/api/notifications?moved=1")
    world.run(minutes=5)
    assert world.alive() == []
