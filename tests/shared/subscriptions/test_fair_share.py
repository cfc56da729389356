"""Who gets the time of a run: every tenant in its turn, and no creation that Graph refuses before another one."""

from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest

from shared.configuration.declaration import Declaration
from shared.subscriptions.failed_creations import CreationPostponed
from shared.subscriptions.results import Reconciled
from shared.subscriptions.workers import Workers
from tests.builders import OTHER_TENANT, TENANT, declaration
from tests.servers import ScriptedResponse
from tests.shared.subscriptions.tenants_in_memory import DEAD_ENDPOINT, NOT_FOUND, TenantsInMemory, refused

THIRD = "c7d1e2f3-0a0b-4c0d-8e0f-000000000009"
ROOMS, PEOPLE = range(40), range(40, 55)


def mail(*numbers: int, tenant: str = TENANT, rich: bool = False) -> list[Declaration]:
    return [declaration(f"/users/{number:02}/messages", rich=rich, tenant=tenant) for number in numbers]


def rooms_have_no_mailbox(method: str, held: dict[str, Any]) -> ScriptedResponse | None:
    return NOT_FOUND if method == "POST" and int(held["resource"].split("/")[2]) in ROOMS else None


def posts(world: TenantsInMemory) -> int:
    return len(world.calls("POST"))


def test_every_tenant_has_its_turn_however_much_the_others_have_to_do() -> None:
    world = TenantsInMemory(*mail(*range(99)), *mail(*range(99), tenant=OTHER_TENANT), *mail(1, tenant=THIRD))
    world.takes = {"LIST": 1, "POST": 12}
    for _ in range(3):
        world.reconcile(minutes=5)
    made = {tenant: len(world.alive(tenant)) for tenant in (TENANT, OTHER_TENANT, THIRD)}
    assert made[THIRD] == 1
    assert min(made[TENANT], made[OTHER_TENANT]) >= 10
    for _ in range(6):
        world.reconcile(minutes=5)
    later = {tenant: len(world.alive(tenant)) for tenant in (TENANT, OTHER_TENANT)}
    assert min(later[tenant] - made[tenant] for tenant in later) >= 25


def test_what_graph_refuses_keeps_nothing_else_from_being_created_or_renewed() -> None:
    """Each creation takes so long that a run has time for 30."""
    old = mail(*range(60, 70), rich=True)
    world = TenantsInMemory(*old)
    world.reconcile()
    world.declare(*mail(*ROOMS), *mail(*PEOPLE), *old)
    world.refuse, world.takes = rooms_have_no_mailbox, {"POST": 6, "PATCH": 1}
    world.rotate()
    for _ in range(4):
        world.reconcile(minutes=5)
    assert len(world.alive()) == len(PEOPLE) + len(old)
    assert {held["encryptionCertificateId"] for held in world.alive() if "encryptionCertificateId" in held} == {"enc-2"}


def test_a_refused_creation_is_retried_at_growing_intervals_and_at_once_on_request() -> None:
    (room,) = mail(1)
    world = TenantsInMemory(room)
    world.refuse = rooms_have_no_mailbox
    tried = []
    for run in range(200):
        result = world.reconcile(minutes=5)[TENANT]
        assert isinstance(result, Reconciled)
        assert result.failing == {room.id}
        tried += [run] * posts(world)
    gaps = [later - earlier for earlier, later in pairwise(tried)]
    assert gaps == sorted(gaps)
    assert 5 < len(tried) < 10
    assert isinstance(result, Reconciled)
    (outcome,) = result.outcomes
    assert isinstance(outcome.error, CreationPostponed)
    assert "`python -m ops reconcile` requests it now" in str(outcome.error)
    world.refuse = lambda *_: None
    world.reconcile(minutes=5)
    assert world.alive() == []
    world.reconcile(minutes=5, insists=True)
    assert len(world.alive()) == 1
    assert list(world.app.refusals.all(TENANT)) == []


@pytest.mark.parametrize("status", [403, 409])
def test_what_another_clears_the_way_for_is_created_within_an_hour(status: int) -> None:
    world = TenantsInMemory(*mail(1))
    world.refuse = lambda method, _: refused(status, "Forbidden") if method == "POST" else None
    for _ in range(100):
        world.reconcile(minutes=30)
    world.refuse = lambda *_: None
    world.reconcile(minutes=60)
    assert len(world.alive()) == 1


def test_a_dead_endpoint_is_no_refusal_of_what_was_to_be_created() -> None:
    world = TenantsInMemory(*mail(1))
    world.refuse = lambda method, _: DEAD_ENDPOINT if method == "POST" else None
    for _ in range(20):
        world.reconcile(minutes=5)
        assert posts(world) == 1
    world.refuse = lambda *_: None
    world.reconcile(minutes=5)
    assert len(world.alive()) == 1


def test_without_tables_each_is_asked_for_in_each_run(caplog: pytest.LogCaptureFixture) -> None:
    world = TenantsInMemory(*mail(1))
    world.refuse = rooms_have_no_mailbox
    world.account.tables.available = False
    for _ in range(5):
        world.reconcile(minutes=5)
        assert posts(world) == 1
    assert "The refused creations of tenant" in caplog.text


def test_what_is_declared_no_more_is_forgotten() -> None:
    world = TenantsInMemory(*mail(1))
    world.refuse = rooms_have_no_mailbox
    world.reconcile()
    assert len(world.app.refusals.all(TENANT)) == 1
    world.declare()
    world.reconcile(minutes=5)
    assert world.app.refusals.all(TENANT) == {}


def test_after_refusals_of_their_own_creations_are_tried_more_at_once_each_time() -> None:
    """One at a time until one succeeded, 40 took 40 times as long as one."""
    world = TenantsInMemory(*mail(*ROOMS))
    world.refuse = rooms_have_no_mailbox
    sizes: list[int] = []

    class Counting(Workers):
        def map(self, do: Any, arguments: Any) -> list[Any]:
            given = list(arguments)
            sizes.append(len(given))
            return super().map(do, given)

    world.app.reconciler.workers = Counting(at_once=1)
    world.reconcile(share=timedelta(hours=1))
    assert sizes == [1, 2, 4, 8, 16, 9]
