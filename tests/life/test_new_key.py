"""A new encryption key on virtual time: when it is created, whether Graph uses it, and when the old key is retired."""

import os
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from local.child import Child
from local.host.process import ROOT
from shared.storage.queues import Queue
from tests.life.conftest import CHATS, TEAMS, AppEnvironment, declared, in_thread
from tests.life.instance import Instance, bring
from tests.waiting import LIMIT

OVERLAP = timedelta(hours=8)


def in_use(world: AppEnvironment) -> set[str]:
    return {subscription.recipient.certificate_id for subscription in world.graph.subscriptions()}


def run(world: AppEnvironment, **time: float) -> None:
    """Advance the time by an hour at a time, with a run of the timer and all work done after each."""
    app = world.instances[-1]
    for _ in range(timedelta(**time) // timedelta(hours=1)):
        world.graph.advance(hours=1)
        app.tick()
        app.work()


def keys(app: Instance) -> Path:
    return Path(app.settings.key_store.removeprefix("file:"))


def early(world: AppEnvironment, app: Instance) -> str:
    """Create a new key ahead of schedule, as an operator may, and return its id. A key's age is in whole seconds."""
    world.graph.advance(minutes=1)
    return app.relay.keys.create().key_id


def test_a_key_is_replaced_in_time_and_retired_after_the_overlap(world: AppEnvironment) -> None:
    app = world.instance(declared(CHATS), declared(TEAMS), KEY_OVERLAP_HOURS="8")
    bring(keys(app), "old", world.graph.clock() - timedelta(days=90) + timedelta(hours=3))
    run(world, hours=1)
    world.graph.post("messages", count=5)
    assert in_use(world) == {"old"}
    run(world, hours=3)
    [new] = in_use(world)
    assert new != "old"
    assert len(world.graph.calls("DELETE")) == 0
    world.graph.post("messages", count=5)
    run(world, hours=OVERLAP // timedelta(hours=1) - 2)
    assert app.key_store.ids() == sorted(["old", new])
    app.work_until(world.delivered())
    for _ in range(3):
        world.graph.advance(hours=1)
        # A message may need the key, even a challenge to reauthorize: while one waits, the key stays.
        app.work_until(lambda: app.queued() == 0)
        app.tick()
    assert app.key_store.ids() == [new]
    assert in_use(world) == {new}
    assert app.dead_letters() == 0


def test_a_certificate_that_expires_before_long_is_followed_by_another(world: AppEnvironment) -> None:
    app = world.instance(declared(CHATS))
    bring(keys(app), "short-lived", world.graph.clock() - timedelta(days=1), timedelta(days=12))
    app.tick()
    assert in_use(world) == {"short-lived"}
    world.graph.advance(days=2)
    app.tick()
    assert in_use(world) != {"short-lived"}


def test_a_second_run_makes_no_second_key(world: AppEnvironment) -> None:
    app = world.instance(declared(CHATS))
    bring(keys(app), "old", world.graph.clock() - timedelta(days=100))
    for _ in range(3):
        app.tick()
    assert len(app.key_store.ids()) == 2
    assert in_use(world).isdisjoint({"old"})
    assert len(world.graph.calls("PATCH")) == 0


def test_an_old_key_stays_while_messages_wait_on_the_queue(world: AppEnvironment) -> None:
    app = world.instance(declared(CHATS), KEY_OVERLAP_HOURS="8")
    app.tick()
    [old] = in_use(world)
    world.graph.post("messages", count=3)
    app.work_until(lambda: world.graph.get("summary")["pending"] == 0)
    early(world, app)
    queues = app.storage.queues
    queues.send("waiting")
    for _ in range(6):
        world.graph.advance(hours=3)
        app.tick()
    assert old in app.key_store.ids()
    while messages := queues.receive(Queue.NOTIFICATIONS, timedelta(minutes=1)):
        for message in messages:
            queues.delete(message)
    app.tick()
    assert old not in app.key_store.ids()


@pytest.mark.parametrize("certificates", ["stay", "are refused"])
def test_a_subscription_that_keeps_its_old_certificate_is_replaced_and_the_gap_read_back(
    world: AppEnvironment, certificates: str
) -> None:
    app = world.instance(declared(CHATS), declared(TEAMS))
    app.tick()
    old = {subscription.id for subscription in world.graph.subscriptions()}
    world.graph.watch.certificates = certificates  # type: ignore[assignment]
    new = early(world, app)
    hold = world.graph.hold("DELETE", 1, done_first=True)
    run = in_thread(app.tick)
    assert hold.reached.wait(LIMIT)
    world.graph.post("messages", count=4)
    hold.gone.set()
    run.result()
    assert in_use(world) == {new}
    assert old.isdisjoint(subscription.id for subscription in world.graph.subscriptions())
    app.work_until(world.delivered())
    changes = len(world.graph.calls("POST")) + len(world.graph.calls("PATCH")) + len(world.graph.calls("DELETE"))
    app.tick()
    assert changes == len(world.graph.calls("POST")) + len(world.graph.calls("PATCH")) + len(
        world.graph.calls("DELETE")
    )


def test_a_subscription_that_keeps_using_the_old_key_is_replaced(
    world: AppEnvironment,
) -> None:
    """Graph shows the new certificate, and continues to use the old one."""
    app = world.instance(declared(CHATS), KEY_OVERLAP_HOURS="8")
    app.tick()
    world.graph.post("faults", stuck_certificates=True)
    [before] = [subscription.id for subscription in world.graph.subscriptions()]
    [old] = app.key_store.ids()
    new = early(world, app)
    for _ in range(18):
        world.graph.advance(hours=3)
        app.tick()
        world.graph.post("messages", count=1)
        app.work_until(world.delivered())
        [now] = [subscription.id for subscription in world.graph.subscriptions()]
        assert old in app.key_store.ids() or now != before
    assert in_use(world) == {new}
    assert now != before
    app.tick()
    assert [subscription.id for subscription in world.graph.subscriptions()] == [now]  # and once is enough
    assert app.dead_letters() == 0


def test_other_certificates_of_ours_do_not_keep_a_subscription_from_being_renewed(world: AppEnvironment) -> None:
    """A renewal succeeds where Graph refuses certificates: it carries none, since the key is the same."""
    app = world.instance(declared(CHATS))
    app.tick()
    world.graph.watch.certificates = "are refused"
    world.graph.advance(hours=48)
    app.tick()
    [subscription] = world.graph.subscriptions()
    assert subscription.expires - world.graph.clock() > timedelta(hours=70)


@pytest.mark.parametrize("when", ["before", "after"])
def test_the_next_run_completes_a_run_that_was_killed_around_retiring_a_key(
    azure_world: AppEnvironment, tmp_path: Path, when: str
) -> None:
    world = azure_world
    app = world.instance(declared(CHATS), declared(TEAMS), KEY_OVERLAP_HOURS="8")
    bring(keys(app), "old", world.graph.clock() - timedelta(days=10))
    app.tick()
    world.graph.post("messages", count=5)
    new = early(world, app)
    run(world, hours=1)
    assert in_use(world) == {new}
    world.graph.advance(hours=9)
    world.graph.post("messages", count=5)
    app.work_until(world.delivered())
    ahead = (world.graph.clock() - datetime.now(UTC)).total_seconds()
    child = Child(
        "a run",
        [sys.executable, "-m", "tests.life.killed_run", str(ahead), when],
        log=tmp_path / "run.log",
        environment={**os.environ, **world.environ},
        directory=ROOT,
    )
    try:
        child.wait_until(lambda: "halted" in child.tail())
    finally:
        child.kill()
    assert ("old" in app.key_store.ids()) == (when == "before")
    for _ in range(2):
        app.tick()
        assert app.key_store.ids() == [new]
    assert (keys(app) / "old.retired").exists()
    world.graph.post("messages", count=5)
    app.work_until(world.delivered())
    assert app.dead_letters() == 0
