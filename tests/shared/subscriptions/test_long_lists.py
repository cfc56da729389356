"""Lists that take long: what lives is renewed meanwhile, and a list of before is believed only as far as nothing is
known better.
"""

from datetime import timedelta

import pytest

from shared.configuration.declaration import Declaration
from shared.subscriptions.known import REMEMBERED
from shared.subscriptions.reconcile import LONG_LIST
from shared.subscriptions.results import ListingFailed, Reconciled
from tests.builders import TENANT, declaration
from tests.servers import ScriptedResponse
from tests.shared.subscriptions.tenants_in_memory import NOT_FOUND, TenantsInMemory


def mail(*numbers: int) -> list[Declaration]:
    return [declaration(f"/users/{number:03}/messages", rich=False) for number in numbers]


def lists(world: TenantsInMemory) -> int:
    return len(world.calls("LIST"))


@pytest.fixture
def slow() -> TenantsInMemory:
    """100 subscriptions, soon to expire; their list takes 200 s."""
    world = TenantsInMemory(*mail(*range(100)))
    world.reconcile(share=None)
    world.clock.now = max(each.expiration_date_time for each in world.app.subscriptions.list(TENANT))
    world.clock.advance(minutes=-30)
    world.page_size, world.takes = 1, {"LIST": 2.0}
    world.declare(*mail(*range(101)))
    world.asked.clear()
    return world


def test_what_is_known_is_renewed_while_a_list_takes_longer_than_a_run(slow: TenantsInMemory) -> None:
    slow.reconcile()
    assert len(slow.calls("PATCH")) == 100
    for _ in range(3):
        slow.reconcile(minutes=5)
    assert len(slow.alive()) == 101  # the one that waited for the list too
    slow.clock.advance(minutes=30)
    assert len(slow.alive()) == 101


def test_a_list_goes_on_where_the_last_run_has_left_it(slow: TenantsInMemory) -> None:
    for _ in range(2):
        slow.reconcile()
    assert lists(slow) < 130  # 100 pages; each was asked for once


def test_where_the_link_leads_nowhere_the_list_begins_at_its_first_page(slow: TenantsInMemory) -> None:
    slow.reconcile()
    slow.refuse = lambda method, held: NOT_FOUND if method == "LIST" else None
    assert isinstance(slow.reconcile(minutes=5)[TENANT], ListingFailed)
    slow.refuse = lambda *_: None
    for _ in range(3):
        slow.reconcile(minutes=5)
    assert len(slow.alive()) == 101


def test_what_was_left_of_a_list_is_not_used_the_next_day(slow: TenantsInMemory) -> None:
    slow.reconcile()
    lists(slow)
    slow.reconcile(minutes=24 * 60, share=None)
    assert lists(slow) >= 100


def test_what_was_renewed_since_its_page_was_read_is_not_renewed_again(slow: TenantsInMemory) -> None:
    for _ in range(3):
        slow.reconcile(minutes=5)
    assert len(slow.calls("PATCH")) == 100


@pytest.fixture
def kept() -> TenantsInMemory:
    """A list that is long enough to be kept, and was read a moment ago."""
    world = TenantsInMemory(*mail(*range(LONG_LIST + 5)), page_size=1)
    world.reconcile(share=None)
    world.reconcile(minutes=5, share=None)
    world.asked.clear()
    return world


def test_a_long_list_is_good_for_a_while(kept: TenantsInMemory) -> None:
    kept.reconcile(minutes=1)
    assert lists(kept) == 0
    (gone, *_) = kept.alive()
    del kept.held[TENANT][gone["id"]]
    kept.reconcile(minutes=10)
    assert lists(kept) >= LONG_LIST
    assert len(kept.alive()) == LONG_LIST + 5


def test_waiting_makes_no_list_a_long_one() -> None:
    busy = ScriptedResponse(429, headers={"Retry-After": "30"})
    world = TenantsInMemory(*mail(1, 2, 3))
    world.reconcile()
    refusals = [busy]
    world.refuse = lambda method, _: refusals.pop() if method == "LIST" and refusals else None
    world.reconcile(minutes=5)
    world.asked.clear()
    world.reconcile(minutes=1)
    assert lists(world) == 1


def test_no_stored_list_hides_a_subscription_that_graph_reports_as_removed(kept: TenantsInMemory) -> None:
    (gone, *_) = kept.alive()
    del kept.held[TENANT][gone["id"]]
    app = kept.app
    desired = app.desired_state(app.keys.current())
    app.reconciler.tenant(TENANT, desired, lambda _: None, kept.budget())
    assert len(kept.alive()) == LONG_LIST + 5


def test_what_was_restored_stays_known_and_what_is_gone_does_not_though_a_list_is_kept(kept: TenantsInMemory) -> None:
    app, (gone, *_) = kept.app, kept.alive()
    del kept.held[TENANT][gone["id"]]
    (declared, *_) = [each for each in mail(*range(30)) if each.resource == gone["resource"]]
    restored = app.reconciler.restore(declared, gone["id"], app.desired_state(app.keys.current()), lambda _: None)
    assert restored is not None
    assert restored.subscription is not None
    for _ in range(3):
        result = kept.reconcile(minutes=1)[TENANT]
        assert isinstance(result, Reconciled)
        known = app.known_subscriptions.all(TENANT)
        assert restored.subscription.id in known
        assert gone["id"] not in known
        assert result.serving[declared.id].id == restored.subscription.id
        assert len(known) == len(kept.alive()) == LONG_LIST + 5


def test_another_instance_with_an_older_list_does_nothing_again(kept: TenantsInMemory) -> None:
    other, declared = kept.instance(), {each.resource: each for each in mail(*range(LONG_LIST + 5))}
    for found in other.subscriptions.list(TENANT, kept.budget().wait)[:3]:
        wanted = other.desired_state(other.keys.current())
        assert other.reconciler.replace(declared[found.resource], found, wanted, lambda _: None).error is None
    alive = {held["id"] for held in kept.alive()}
    kept.asked.clear()
    kept.reconcile(minutes=1)
    assert {call.split()[0] for call in kept.asked} == {"GET"}  # three that it does not know, three that it has lost
    assert len(kept.asked) == 6
    assert {held["id"] for held in kept.alive()} == alive
    assert set(kept.app.known_subscriptions.all(TENANT)) == alive


def test_what_another_noted_during_a_run_is_not_gone() -> None:
    world = TenantsInMemory(*mail(1))
    world.run()
    known = world.app.known_subscriptions
    before = known.snapshot(TENANT)
    (name, memory), *_ = known.all(TENANT).items()
    known.add(TENANT, {"another": memory})
    known.note(TENANT, {name: memory}, before)
    assert set(known.all(TENANT)) == {name, "another"}


def test_a_subscription_that_is_lost_is_remembered_for_a_day() -> None:
    world = TenantsInMemory(*mail(1))
    world.run()
    known = world.app.known_subscriptions
    (name, memory), *_ = known.all(TENANT).items()
    known.mark_deleted(TENANT, name.upper())
    known.mark_deleted(TENANT, "unknown")
    assert known.all(TENANT) == {}
    assert known.declaration_of(TENANT, name) == memory.declaration
    world.clock.now += REMEMBERED + timedelta(seconds=1)
    known.note(TENANT, {})
    assert known.declaration_of(TENANT, name) is None
