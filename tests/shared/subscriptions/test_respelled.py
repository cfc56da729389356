"""A declaration that names the same thing in another spelling: its subscription is replaced, never just deleted."""

from collections.abc import Callable
from typing import Any

import pytest

from shared.configuration.declaration import Declaration
from shared.graph.client import GraphRequestError
from shared.subscriptions.results import Reconciled
from tests.builders import TENANT, declaration
from tests.servers import ScriptedResponse
from tests.shared.subscriptions.tenants_in_memory import TenantsInMemory, refused

SPELLINGS = [
    ("/users/ada/mailFolders('inbox')/messages", "/users/ada/mailFolders/inbox/messages"),
    ("/users/ada@example.org/messages", "/users/ada/messages"),
]
BUSY = ScriptedResponse(503, headers={"Retry-After": "600"})


def mail(resource: str) -> Declaration:
    return declaration(resource, rich=False)


def respelled(
    before: str, after: str, refuse: Callable[[str, dict[str, Any]], ScriptedResponse | None]
) -> TenantsInMemory:
    world = TenantsInMemory(mail(before))
    world.run()
    world.refuse = refuse
    world.declare(mail(after))
    return world


@pytest.mark.parametrize(("before", "after"), SPELLINGS)
def test_what_is_declared_in_another_spelling_is_replaced_and_never_without_a_subscription(
    before: str, after: str
) -> None:
    world = respelled(before, after, lambda *_: None)
    for _ in range(3):
        world.run(minutes=5)
        (held,) = world.alive()
        assert held["resource"] == after
        assert f"declarationId={mail(after).id}" in held["notificationUrl"]
    assert world.unserved == []


@pytest.mark.parametrize(("before", "after"), SPELLINGS)
def test_what_cannot_be_replaced_yet_is_kept(before: str, after: str) -> None:
    def refuse(method: str, held: dict[str, Any]) -> ScriptedResponse | None:
        """Graph takes none with other change types meanwhile."""
        return BUSY if method == "POST" and len(held["changeType"].split(",")) < 3 else None

    world = respelled(before, after, refuse)
    (old,) = world.alive()
    for _ in range(3):
        world.run(minutes=5)
        assert old["id"] in [held["id"] for held in world.alive()]
    world.refuse = lambda *_: None
    world.run(minutes=20)
    assert world.resources() == [after]
    assert world.unserved == []


@pytest.mark.parametrize(("before", "after"), SPELLINGS)
def test_what_may_be_in_the_way_of_a_creation_that_failed_is_kept(before: str, after: str) -> None:
    world = respelled(before, after, lambda method, _: BUSY if method == "POST" else None)
    world.run(minutes=5)
    assert world.resources() == [before]


@pytest.mark.parametrize(("before", "after"), SPELLINGS)
def test_a_refusal_that_names_no_subscription_deletes_none(before: str, after: str) -> None:
    world = respelled(before, after, lambda *_: None)
    world.names_holder = False
    world.run(minutes=5)
    assert len(world.alive()) == 1
    assert world.unserved == []


def test_an_undeclared_subscription_is_removed_though_another_creation_is_refused() -> None:
    gone, never = "/users/ada/messages", "/users/room/messages"
    world = respelled(gone, never, lambda method, _: refused(404, "ResourceNotFound") if method == "POST" else None)
    world.run(minutes=5)
    assert world.resources() == []


def test_of_two_declarations_in_the_way_of_each_other_the_first_keeps_its_subscription() -> None:
    before, after = map(mail, SPELLINGS[0])
    world = TenantsInMemory(before)
    world.run()
    world.declare(before, after)
    result = world.reconcile(minutes=5)[TENANT]
    assert isinstance(result, Reconciled)
    (outcome,) = result.outcomes
    assert isinstance(outcome.error, GraphRequestError)
    assert "which serves another declaration of the same thing" in str(outcome.error)
    assert world.resources() == [before.resource]
