"""A shortened form of `make bench ARGS=subscriptions`: the same phases for a dozen subscriptions."""

import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from shared.subscriptions.subscription import DesiredState
from shared.subscriptions.wait_budget import WaitBudget
from tests.builders import TENANT
from tests.scale.graph import ENDPOINT, Killed
from tests.scale.kills import CHANGES, deaths
from tests.scale.phases import COURSES, Course, Members
from tests.scale.world import Scale, mailboxes


@pytest.mark.parametrize("course", COURSES)
def test_nothing_is_lost_and_no_limit_exceeded_whatever_happens_to_many_subscriptions(
    course: Callable[[int], Course],
) -> None:
    assert {phase.name: phase.broken for phase in course(12).phases() if phase.broken} == {}


def test_members_of_a_list_without_delta_query() -> None:
    phases = Members(12, "/users?$filter=accountEnabled eq true").phases()
    assert {phase.name: phase.broken for phase in phases if phase.broken} == {}


@pytest.mark.parametrize("change", CHANGES)
def test_a_process_that_dies_in_any_call_deletes_nothing_that_has_no_successor(change: str) -> None:
    found = list(deaths(change, 1))
    assert len(found) > 4
    assert [death for death in found if death.broken] == []


def test_calls_that_are_made_at_once_lose_nothing_where_the_process_dies_among_them() -> None:
    world = Scale(mailboxes(40), threads=True)
    world.run_until(world.is_complete)
    world.declare(NOTIFICATION_URL=f"{ENDPOINT}/api/notifications?code=2")
    with world.measured() as figures:
        world.graph.kill_at = world.graph.calls + 90
        with pytest.raises(Killed):
            world.run()
        world.graph.kill_at = None
        world.start()
        world.run_until(world.is_complete)
    assert world.graph.unserved == []
    assert figures.most_writes <= 400


@pytest.fixture(scope="module")
def world() -> Scale:
    """A world of 23 subscriptions, which Graph lists in three pages or more."""
    world = Scale(mailboxes(23))
    world.graph.simulator.subscriptions_at_once = 10
    world.run_until(world.is_complete)
    return world


def listed(world: Scale) -> list[str]:
    return [
        asked
        for asked in world.graph.asked
        if asked.startswith("GET /v1.0/subscriptions") and "/subscriptions/" not in asked
    ]


def test_a_list_goes_on_from_the_page_at_which_graph_throttled_it(world: Scale) -> None:
    """It began again at the first page each time, and came to no end with more than 25 pages."""
    world.graph.asked.clear()
    world.run()
    first, second, *_ = listed(world)
    assert "$skiptoken" in second
    world.graph.asked.clear()
    world.graph.throttled_page = 2
    with world.measured() as figures:
        world.run()
    pages = listed(world)
    assert pages.count(first) == 1
    assert figures.refused == 1
    assert pages[1] == pages[2]  # after the time that Graph asked for
    assert set(figures.calls) == {"list"}


def test_known_subscriptions_are_renewed_while_graph_lists_nothing(world: Scale) -> None:
    before = {held.id: held.expires for held in world.subscriptions()}
    world.graph.lists_fail = True
    world.clock.advance(hours=15)
    for _ in range(2):
        world.run()
    world.graph.lists_fail = False
    assert all(held.expires > before[held.id] for held in world.subscriptions())
    assert world.is_complete()


def desired(world: Scale, *, take_over: bool = False) -> DesiredState:
    return replace(world.relay.desired_state(world.relay.keys.current()), take_over=take_over)


def test_another_deployments_subscription_is_reported_and_taken_over_only_on_request(
    caplog: pytest.LogCaptureFixture,
) -> None:
    world = Scale(mailboxes(3))
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
    world = Scale(mailboxes(3))
    world.run_until(world.is_complete)
    before = {held.id for held in world.subscriptions()}
    (dead, *_) = world.relay.declarations
    world.clock.advance(hours=2)
    changes = [world.clock() - timedelta(minutes=20 + minute) for minute in range(5)]
    world.relay.recovered_changes.note(dead.id, changes)
    for _ in range(3):
        world.run()
    after = {held.id for held in world.subscriptions()}
    assert len(before - after) == 1
    assert world.is_complete()


def test_a_list_that_takes_long_is_not_asked_for_in_each_run() -> None:
    """At ten thousand, listing takes two of the three minutes that a run has for subscriptions."""
    world = Scale(mailboxes(60))
    world.graph.simulator.subscriptions_at_once = 1
    world.run_until(world.is_complete)
    (gone, *_) = world.subscriptions()
    with world.measured() as figures:
        for _ in range(2):
            world.run()
    assert 0 < figures.calls["list"] < 2 * 60
    world.graph.simulator.subscriptions.remove(gone.id)
    world.run_until(world.is_complete, most=10)  # the list is good for a while, and no longer


def test_of_many_subscriptions_one_that_graph_has_removed_is_restored_without_a_list() -> None:
    world = Scale(mailboxes(3))
    world.run_until(world.is_complete)
    (gone, *_) = world.subscriptions()
    (declaration,) = [each for each in world.relay.declarations if each.resource == gone.resource]
    world.graph.simulator.subscriptions.remove(gone.id)
    world.graph.asked.clear()
    for _ in range(2):  # the second time, Graph has one already, which is ours
        outcome = world.relay.reconciler.restore(declaration, gone.id, desired(world), lambda _: None)
        assert outcome is not None
        assert outcome.error is None
    assert listed(world) == []
    assert world.is_complete()
    assert outcome is not None
    assert (alive := outcome.subscription) is not None
    assert world.relay.reconciler.restore(declaration, alive.id, desired(world), lambda _: None) is None


def test_what_was_given_a_new_key_while_the_list_went_on_is_not_given_it_again() -> None:
    """The list takes more than its share, so its first pages show the former key."""
    world = Scale(mailboxes(100))
    world.graph.simulator.subscriptions_at_once = 1
    world.run_until(world.is_complete)
    world.rotate()
    with world.measured() as figures:
        world.run_until(world.is_complete)
    assert figures.calls["PATCH"] == 100
