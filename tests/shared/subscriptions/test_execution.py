"""Many steps of one run: what Graph answers to one decides about the others."""

from datetime import timedelta
from typing import Any

import pytest

from shared.errors import NotAttempted
from shared.subscriptions.results import Reconciled
from shared.subscriptions.subscription import Action
from shared.subscriptions.workers import AT_ONCE, Workers
from tests.builders import TENANT, declaration
from tests.in_process import HANGS
from tests.servers import ScriptedResponse
from tests.shared.subscriptions.tenants_in_memory import DEAD_ENDPOINT, TenantsInMemory, refused

MAIL = [declaration(f"/users/{number}/messages", rich=False) for number in range(120)]


@pytest.fixture
def world() -> TenantsInMemory:
    """A tenant with 120 subscriptions, which all have to be renewed."""
    world = TenantsInMemory(*MAIL)
    world.reconcile(share=None)
    world.clock.now = max(each.expiration_date_time for each in world.app.subscriptions.list(TENANT))
    world.clock.advance(minutes=-30)
    world.asked.clear()
    return world


def of(world: TenantsInMemory, **changes: Any) -> Reconciled:
    result = world.reconcile(**changes)[TENANT]
    assert isinstance(result, Reconciled)
    return result


@pytest.mark.parametrize("at_once", [1, AT_ONCE])
def test_a_dead_endpoint_ends_creations_in_place_of_what_is_gone_when_it_is_renewed(
    world: TenantsInMemory, at_once: int
) -> None:
    def refuse(method: str, held: dict[str, Any]) -> ScriptedResponse | None:
        """They are gone, and the list does not know it yet."""
        if method in ("PATCH", "DELETE"):
            return refused(404, "ResourceNotFound")
        return DEAD_ENDPOINT if method == "POST" else None

    world.refuse = refuse
    world.app.reconciler.workers = Workers(at_once=at_once)
    reconciled = of(world)
    assert len([call for call in world.asked if call.startswith("POST")]) == 1
    assert len(world.calls("PATCH")) == 120
    assert reconciled.failing == {each.id for each in MAIL}
    assert sum(outcome.attempted for outcome in reconciled.outcomes) == 1
    world.refuse = lambda *_: None
    of(world, minutes=5)
    assert len(world.alive()) == 120


def test_a_refusal_of_what_a_renewal_carries_is_no_fault_of_the_endpoint() -> None:
    """Graph names `notificationUrl` in many words. The certificate changes with a new subscription then."""
    world = TenantsInMemory(*[declaration(f"/chats/{number}/messages") for number in range(3)])
    world.run()
    nothing = refused(400, "InvalidRequest", "expirationDateTime or notificationUrl is required to update.")
    world.refuse = lambda method, _: nothing if method == "PATCH" else None
    world.rotate()
    world.run(minutes=5)
    assert {held["encryptionCertificateId"] for held in world.alive()} == {"enc-2"}


@pytest.mark.parametrize("left", [10, 20])
def test_what_has_no_stand_in_is_deleted_only_with_time_left_to_create_it_again(left: int) -> None:
    """Teams takes one subscription for a resource, whatever its change types."""
    chats = declaration("/chats/getAllMessages")
    world = TenantsInMemory(chats)
    world.run()
    (first,) = world.alive()
    full = refused(403, "Forbidden", "Subscription limit reached.")
    world.refuse = lambda method, _: full if method == "POST" and world.alive() else None
    world.takes = {"POST": 2, "PATCH": 5}
    world.declare(declaration("/chats/getAllMessages", types="created"))
    world.reconcile(minutes=5, share=timedelta(seconds=left))
    assert [held["id"] for held in world.alive()] == [first["id"]]
    assert world.unserved == []
    world.reconcile(minutes=5)
    assert [held["changeType"] for held in world.alive()] == ["created"]


def test_both_the_replacement_and_the_renewal_in_its_place_are_reported(
    world: TenantsInMemory, caplog: pytest.LogCaptureFixture
) -> None:
    forbidden = refused(403, "Forbidden")
    world.refuse = lambda method, _: forbidden if method in ("POST", "PATCH") else None
    world.declare(*[declaration(each.resource, rich=False, types="created") for each in MAIL[:3]])
    reconciled = of(world)
    failed = [outcome.step.action for outcome in reconciled.outcomes if outcome.error is not None]
    assert sorted(failed) == [Action.RENEW] * 3 + [Action.REPLACE] * 3
    assert "renew /users/0/messages in tenant" in caplog.text


def test_the_time_that_ends_while_something_is_renewed_in_place_of_a_replacement_ends_the_steps(
    world: TenantsInMemory,
) -> None:
    def refuse(method: str, held: dict[str, Any]) -> ScriptedResponse | None:
        return HANGS if method == "PATCH" else refused(403, "Forbidden") if method == "POST" else None

    world.refuse = refuse
    world.declare(*[declaration(each.resource, rich=False, types="created") for each in MAIL])
    reconciled = of(world)
    assert len(world.calls("PATCH")) == 1
    assert any(isinstance(outcome.error, NotAttempted) for outcome in reconciled.outcomes)
    assert any(outcome.step.action is Action.RENEW for outcome in reconciled.outcomes)
