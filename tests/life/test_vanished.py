"""Missing and changed subscriptions: repaired within one run, with missed changes read back."""

from datetime import timedelta
from typing import Any

import pytest

from shared.storage.state import STATE
from tests.life.conftest import CHATS, TEAMS, AppEnvironment, declared, in_thread
from tests.waiting import LIMIT


def watching(world: AppEnvironment) -> set[str]:
    return {subscription.resource for subscription in world.graph.subscriptions()}


def test_a_deleted_subscription_is_created_within_one_run_and_its_gap_read_back(
    world: AppEnvironment,
) -> None:
    app = world.instance(declared(CHATS), declared(TEAMS))
    app.tick()
    world.graph.post("messages", count=2)
    app.work_until(world.delivered())
    [chats, _] = world.graph.subscriptions()
    world.graph.delete(f"subscriptions/{chats.id}")
    world.graph.post("messages", count=3)
    assert watching(world) == {TEAMS}
    app.tick()
    assert watching(world) == {CHATS, TEAMS}
    world.graph.post("messages", count=2)
    app.work_until(world.delivered())
    assert len(world.inbox.messages()) == 7
    assert app.dead_letters() == 0


def test_a_subscription_that_expired_while_nothing_ran_is_created_and_its_gap_read_back(world: AppEnvironment) -> None:
    app = world.instance(declared(CHATS))
    app.tick()
    world.graph.advance(days=4)
    world.graph.post("messages", count=3)
    assert watching(world) == set()
    app.tick()
    app.work_until(world.delivered())
    assert watching(world) == {CHATS}


def test_a_subscription_deleted_during_a_run_is_recreated_in_the_same_run(world: AppEnvironment) -> None:
    app = world.instance(declared(CHATS))
    app.tick()
    [old] = world.graph.subscriptions()
    world.graph.advance(hours=48)
    hold = world.graph.hold("PATCH", 1)
    run = in_thread(app.tick)
    assert hold.reached.wait(LIMIT)
    world.graph.delete(f"subscriptions/{old.id}")
    world.graph.post("messages", count=2)
    hold.gone.set()
    run.result()
    [new] = world.graph.subscriptions()
    assert new.id != old.id
    app.work_until(world.delivered())


@pytest.mark.parametrize(
    "change",
    [
        {"changeTypes": ["created", "updated"]},
        {"changeTypes": ["created"]},
        {"includeResourceData": False},
    ],
)
def test_a_subscription_that_differs_from_its_declaration_is_replaced(
    world: AppEnvironment, change: dict[str, Any]
) -> None:
    world.instance(declared(CHATS)).tick()
    changed = world.instance({**declared(CHATS), **change})
    changed.tick()
    [subscription] = world.graph.subscriptions()
    assert subscription.change_types == set(change.get("changeTypes", ["created", "updated", "deleted"]))
    assert subscription.rich == change.get("includeResourceData", True)
    changes = len(world.graph.calls("POST")) + len(world.graph.calls("DELETE"))
    changed.tick()
    assert len(world.graph.calls("POST")) + len(world.graph.calls("DELETE")) == changes


def test_an_undeclared_subscription_is_removed_and_a_foreign_one_stays(world: AppEnvironment) -> None:
    first = world.instance(declared(CHATS), declared(TEAMS))
    first.tick()
    elsewhere = "https://127.0.0.1:1/elsewhere"
    with_another_url = next(
        subscription for subscription in world.graph.subscriptions() if subscription.resource == TEAMS
    )
    with_another_url.notification_url = elsewhere
    # another deployment made it: this one has never seen it
    first.relay.storage.tables.remove(
        STATE, f"subscriptions-{first.settings.tenant_id}", str(with_another_url.id).lower()
    )
    world.instance(declared(CHATS)).tick()
    assert [
        (subscription.resource, subscription.notification_url == elsewhere)
        for subscription in world.graph.subscriptions()
    ] == [
        (CHATS, False),
        (TEAMS, True),
    ]


def test_two_runs_at_once_do_no_harm(azure_world: AppEnvironment) -> None:
    """Two instances, at every stage of a subscription's life: creation, renewal, a new key, loss."""
    world = azure_world
    first, second = world.instance(declared(CHATS), declared(TEAMS)), world.instance()

    def both() -> None:
        runs = [in_thread(first.tick), in_thread(second.tick)]
        for run in runs:
            run.result()

    both()
    first.tick()
    assert watching(world) == {CHATS, TEAMS}
    assert len(world.graph.subscriptions()) == 2
    world.graph.advance(hours=48)
    both()
    assert all(
        subscription.expires - world.graph.clock() > timedelta(hours=60) for subscription in world.graph.subscriptions()
    )
    first.relay.keys.create()
    both()
    [key] = {subscription.recipient.certificate_id for subscription in world.graph.subscriptions()}
    assert key == second.relay.keys.current().key_id
    world.graph.delete(f"subscriptions/{world.graph.subscriptions()[0].id}")
    world.graph.post("messages", count=3)
    both()
    first.tick()
    assert len(world.graph.subscriptions()) == 2
    first.work_until(world.delivered())
    assert first.dead_letters() == 0
