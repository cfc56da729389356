"""Secrets that change while messages flow: no message is refused and no request is unsigned."""

import base64
import secrets

from local.host import metrics
from tests.builders import destination_secret
from tests.life.conftest import CHATS, TEAMS, AppEnvironment, declared


def refused() -> int:
    return sum(point["value"] for point in metrics.current() if point["name"] == "graph_relay.refused")


def client_state_secret() -> str:
    return base64.b64encode(secrets.token_bytes(32)).decode()


def flow(world: AppEnvironment) -> None:
    """Write messages, some of which arrive after the next step."""
    world.graph.post("faults", reorder=0.5)
    world.graph.post("messages", count=20)


def test_the_secret_of_client_states_changes_and_nothing_is_refused(world: AppEnvironment) -> None:
    before = refused()
    old, new = world.environ["CLIENT_STATE_SECRET"], client_state_secret()
    app = world.instance(declared(CHATS), declared(TEAMS))
    app.tick()
    first = {subscription.client_state for subscription in world.graph.subscriptions()}
    flow(world)
    app = world.instance(CLIENT_STATE_SECRET=f"{new},{old}")
    flow(world)
    app.tick()
    flow(world)
    second = {subscription.client_state for subscription in world.graph.subscriptions()}
    assert first.isdisjoint(second)
    app.work_until(world.delivered())
    app.work_until(lambda: world.graph.get("summary")["pending"] == 0)

    app = world.instance(CLIENT_STATE_SECRET=new)
    flow(world)
    app.tick()
    flow(world)
    assert {subscription.client_state for subscription in world.graph.subscriptions()} == second
    app.work_until(world.delivered())
    assert len(world.inbox.messages()) == 100
    assert refused() == before
    assert app.dead_letters() == 0


def test_the_secret_of_the_destination_changes_on_both_sides_and_nothing_goes_unsigned(world: AppEnvironment) -> None:
    old, new = world.environ["DESTINATION_SECRET"], destination_secret()
    for signed_with, expected in ((old, old), (f"{new},{old}", old), (f"{new},{old}", new), (new, new)):
        app = world.instance(declared(CHATS), DESTINATION_SECRET=signed_with)
        world.inbox.secret = expected
        app.tick()
        flow(world)
        app.work_until(world.delivered())
    assert len(world.inbox.messages()) == 80
    assert world.inbox.unsigned == 0
