"""Graph answers a third of all calls with 429."""

from datetime import datetime, timedelta

import pytest

from shared.subscriptions.wait_budget import WaitBudget
from shared.subscriptions.workers import Workers
from tests.builders import CHAT
from tests.life.conftest import CHATS, TEAMS, AppEnvironment, declared
from tests.life.instance import Instance
from tests.life.watched_graph import WatchedGraph

DECLARED = [
    declared(CHATS),
    declared(TEAMS),
    *(declared(f"/chats/19:{number}@thread.v2/messages") for number in range(4)),
]
UNTOLD = timedelta(seconds=1)
"""Where a 429 names no time, a client waits a second at least, then longer each time (docs/graph.md, "Errors")."""


def too_early(graph: WatchedGraph) -> list[datetime]:
    """Return the calls that came before the end of a Retry-After that Graph applies to them."""
    found: list[datetime] = []
    not_before: dict[object, datetime] = {}
    for call in graph.calls():
        collection, _, resource = call.path.strip("/").partition("/")
        limited = (collection, bool(resource), call.method == "GET")
        if limited in not_before and call.at < not_before[limited]:
            found.append(call.at)
        if call.status == 429:
            not_before[limited] = call.at + (call.retry_after or UNTOLD)
    return found


def one_by_one(app: Instance) -> Instance:
    """Return an instance whose steps follow each other: those that are under way when Graph refuses are not early."""
    app.relay.reconciler.workers = Workers(at_once=1)
    return app


@pytest.mark.parametrize("retry_after", [1, 30, 400, None])
def test_it_converges_and_honours_every_retry_after(world: AppEnvironment, retry_after: int | None) -> None:
    app = one_by_one(world.instance(*DECLARED))
    world.graph.post("faults", throttle=1 / 3, retry_after=retry_after)
    ticks = 0
    while len(world.graph.subscriptions()) < len(DECLARED):
        app.tick()
        app.work()
        world.graph.advance(minutes=5)
        ticks += 1
        assert ticks < 60, "it does not converge"
    app.relay.keys.create()
    key = app.relay.keys.current().key_id
    while {subscription.recipient.certificate_id for subscription in world.graph.subscriptions()} != {key}:
        app.tick()
        app.work()
        world.graph.advance(minutes=5)
        ticks += 1
        assert ticks < 120, "the rotation does not converge"
    assert len(world.graph.subscriptions()) == len(DECLARED)
    assert any(call.status == 429 for call in world.graph.calls())
    assert too_early(world.graph) == []


def test_a_run_waits_for_retry_after_so_that_one_run_is_enough(world: AppEnvironment) -> None:
    app = one_by_one(world.instance(*DECLARED))
    app.wait_budget = WaitBudget(timedelta(minutes=3), lambda wait: world.graph.advance(seconds=wait.total_seconds()))
    world.graph.post("faults", throttle=1 / 3, retry_after=2)
    app.tick()
    assert len(world.graph.subscriptions()) == len(DECLARED)
    assert any(call.status == 429 for call in world.graph.calls())
    assert too_early(world.graph) == []


def test_messages_are_read_back_through_it(world: AppEnvironment) -> None:
    app = world.instance(declared(f"/chats/{CHAT}/messages"))
    app.tick()
    [subscription] = world.graph.subscriptions()
    world.graph.delete(f"subscriptions/{subscription.id}")
    world.graph.post("messages", count=25, chat=CHAT)
    world.graph.post("faults", throttle=1 / 3, retry_after=1)
    while not world.graph.subscriptions():
        app.tick()
        world.graph.advance(minutes=5)
    app.tick()
    app.work_until(world.delivered())
    assert too_early(world.graph) == []
    assert app.dead_letters() == 0
