"""A shortened form of `make bench ARGS=subscriptions`: the same phases for a few dozen subscriptions."""

import logging
from dataclasses import replace
from datetime import timedelta

import pytest

from shared.subscriptions.subscription import DesiredState
from shared.subscriptions.wait_budget import WaitBudget
from tests.builders import TENANT
from tests.scale.phases import Course
from tests.scale.world import Scale


def test_nothing_is_lost_and_no_limit_exceeded_whatever_happens_to_many_subscriptions() -> None:
    phases = list(Course(24).phases(quiet_runs=1))
    assert {phase.name: phase.broken for phase in phases if phase.broken} == {}
    quiet = phases[1].figures
    assert set(quiet.calls) == {"list"}


@pytest.fixture(scope="module")
def world() -> Scale:
    """A world of 230 subscriptions, which Graph lists in three pages or more."""
    world = Scale(230)
    world.run_until(world.is_complete)
    return world


def listed(world: Scale) -> list[str]:
    return [
        asked for asked in world.asked if asked.startswith("GET /v1.0/subscriptions") and "/subscriptions/" not in asked
    ]


def test_a_list_goes_on_from_the_page_at_which_graph_throttled_it(world: Scale) -> None:
    """It began again at the first page each time, and came to no end with more than 25 pages."""
    world.asked.clear()
    world.run()
    first, second, *_ = listed(world)
    assert "$skiptoken" in second
    world.asked.clear()
    world.throttle_page(2)
    with world.measured() as figures:
        world.run()
    pages = listed(world)
    assert pages.count(first) == 1
    assert figures.refused == 0
    assert pages[1] == pages[2]  # after the time that Graph asked for
    assert set(figures.calls) == {"list"}


def test_known_subscriptions_are_renewed_while_graph_lists_nothing(world: Scale) -> None:
    before = {held.id: held.expires for held in world.subscriptions()}
    world.lists_fail = True
    world.clock.advance(hours=15)
    for _ in range(2):
        world.run()
    world.lists_fail = False
    assert all(held.expires > before[held.id] for held in world.subscriptions())
    assert world.is_complete()


def desired(world: Scale, *, take_over: bool = False) -> DesiredState:
    return replace(world.relay.desired_state(world.relay.keys.current()), take_over=take_over)


def test_another_deployments_subscription_is_named_left_alone_and_taken_over_when_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    world = Scale(3)
    theirs = replace(desired(world), notification_url="https://other.example.org/hook", client_state_secret=b"o" * 32)
    world.relay.reconciler.tenant(TENANT, theirs, lambda _: None, WaitBudget.none())
    before = {held.id for held in world.subscriptions()}
    world.account.tables._tables.clear()  # it is the other deployment that remembers them
    with caplog.at_level(logging.ERROR, "graph_relay.subscriptions"):
        world.run()
    assert {held.id for held in world.subscriptions()} == before
    assert "at other.example.org, which is not this app's, has the resource" in caplog.text
    assert "ops reconcile --take-over" in caplog.text
    world.relay.reconciler.tenant(TENANT, desired(world, take_over=True), lambda _: None, WaitBudget.none())
    assert world.is_complete()


def test_a_subscription_that_brings_nothing_is_replaced_once_and_by_itself() -> None:
    world = Scale(3)
    world.run_until(world.is_complete)
    before = {held.id for held in world.subscriptions()}
    (dead, *_) = world.relay.declarations
    world.clock.advance(hours=2)
    changes = [world.clock() - timedelta(minutes=20 + minute) for minute in range(5)]
    world.relay.recoveries.note(dead.id, changes)
    for _ in range(3):
        world.run()
    after = {held.id for held in world.subscriptions()}
    assert len(before - after) == 1
    assert world.is_complete()


def test_a_list_that_takes_long_is_not_asked_for_in_each_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """At ten thousand, listing takes two of the three minutes that a run has for subscriptions."""
    world = Scale(60)
    world.run_until(world.is_complete)
    monkeypatch.setattr("shared.subscriptions.reconcile.LONG_LIST", 0)
    monkeypatch.setattr("shared.subscriptions.reconcile.GOOD_FOR_EACH_PAGE", timedelta(minutes=6))
    (gone, *_) = world.subscriptions()
    with world.measured() as figures:
        for _ in range(2):
            world.run()
    assert figures.calls["list"] <= 2  # of an empty page and a full one
    world.simulator.subscriptions.remove(gone.id)
    world.run_until(world.is_complete, most=10)  # the list is good for a while, and no longer


def test_of_many_subscriptions_one_that_graph_has_removed_is_restored_without_a_list() -> None:
    world = Scale(3)
    world.run_until(world.is_complete)
    (gone, *_) = world.subscriptions()
    (declaration,) = [each for each in world.relay.declarations if each.resource == gone.resource]
    world.simulator.subscriptions.remove(gone.id)
    world.asked.clear()
    for _ in range(2):  # the second time, Graph has one already, which is ours
        outcome = world.relay.reconciler.restore(declaration, gone.id, desired(world), lambda _: None)
        assert outcome is not None
        assert outcome.error is None
    assert listed(world) == []
    assert world.is_complete()
    assert outcome is not None
    assert (alive := outcome.subscription) is not None
    assert world.relay.reconciler.restore(declaration, alive.id, desired(world), lambda _: None) is None
