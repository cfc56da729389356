"""A subscription for each member of a group, at a simulated Graph, while members come and go."""

import uuid
from typing import Any

from tests.life.conftest import AppEnvironment
from tests.waiting import eventually

GROUP = str(uuid.uuid4())
INBOX = "/users/{id}/mailFolders('inbox')/messages"


def join(world: AppEnvironment, person: str, *, leave: bool = False) -> None:
    world.graph.post("groups", group=GROUP, member=person, removed=leave)


def write_to(world: AppEnvironment, person: str) -> str:
    """Write a mail, and wait until Graph has notified of it; return its id."""
    made: dict[str, Any] = world.graph.post(
        "resources", kind="message", owner=f"users/{person}", container="inbox", fields={"subject": "x"}
    )
    eventually(lambda: world.graph.get("summary")["pending"] == 0)
    return str(made["id"])


def watched(world: AppEnvironment) -> set[str]:
    return {subscription.resource for subscription in world.graph.subscriptions()}


def inboxes(*people: str) -> set[str]:
    return {INBOX.replace("{id}", person) for person in people}


def delivered(world: AppEnvironment) -> list[str]:
    return [event["subject"].rpartition("/")[2] for event in world.inbox.events]


def test_members_of_a_group_come_and_go(world: AppEnvironment) -> None:
    ada, ben, carl = (person["id"] for person in world.graph.get("people")[:3])
    join(world, ada)
    join(world, ben)
    app = world.instance({"resource": INBOX, "changeTypes": ["created"], "forEach": f"/groups/{GROUP}/members"})
    app.tick()
    assert watched(world) == inboxes(ada, ben)

    join(world, carl)
    world.graph.advance(minutes=5)
    app.tick()
    assert watched(world) == inboxes(ada, ben, carl)
    to_carl = write_to(world, carl)
    world.instance().work_until(lambda: to_carl in delivered(world))  # another instance, which asks Graph for no member

    to_ben = write_to(world, ben)
    join(world, ben, leave=True)
    for _ in range(3):
        world.graph.advance(minutes=5)
        app.tick()
    assert watched(world) == inboxes(ada, carl)
    world.instance().work_until(lambda: to_ben in delivered(world))  # it was on the queue when he left

    world.graph.post("member-lists", empty=True)
    join(world, ben)
    join(world, ben, leave=True)
    for _ in range(8):
        world.graph.advance(hours=1)
        app.tick()
    assert watched(world) == inboxes(ada, carl)
    assert app.dead_letters() == 0
    assert [call.path for call in world.graph.calls("GET", "groups") if call.status not in (200, 401)] == []
