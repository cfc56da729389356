"""Lifecycle notifications: single, repeated, in storms, and for unknown subscriptions."""

import uuid
from datetime import timedelta
from functools import partial

import pytest

from shared.graph import client_state
from tests.builders import body, lifecycle
from tests.life.conftest import CHATS, AppEnvironment, declared
from tests.life.instance import Instance
from tests.life.watched_graph import Call
from tests.servers import RecordedRequest

UNKNOWN = 40

ONE_READ_BACK = 30
"""The most calls for the sample company: its users, and the chats of each."""

TIMES = pytest.mark.parametrize("times", [1, 2, 120], ids=["alone", "duplicated", "in a storm"])


def mail(world: AppEnvironment) -> str:
    """Return the resource of a mailbox that Graph has."""
    return f"/users/{world.graph.get('people')[0]['id']}/messages"


def subscribed(world: AppEnvironment) -> Instance:
    app = world.instance(declared(CHATS), declared(mail(world), rich=False))
    app.tick()
    return app


def send(world: AppEnvironment, resource: str, event: str, times: int) -> str:
    """Have Graph send an event for the subscription to a resource; return its id."""
    [subscription] = [subscription for subscription in world.graph.subscriptions() if subscription.resource == resource]
    world.graph.post("lifecycle", subscriptionId=subscription.id, event=event, times=times)
    return str(subscription.id)


def all_acted_upon(world: AppEnvironment, app: Instance) -> None:
    """Wait until the app has answered Graph, and the queue is empty."""

    def done() -> bool:
        # The queue after Graph: a post pending a moment ago may just have been enqueued.
        return not world.graph.get("summary")["pending"] and not app.queued()

    app.work_until(done)


@TIMES
def test_reauthorization_is_one_renewal_however_often_it_is_asked_for(world: AppEnvironment, times: int) -> None:
    app = subscribed(world)
    world.graph.advance(hours=1)
    before = len(world.graph.calls())
    send(world, CHATS, "reauthorizationRequired", times)
    all_acted_upon(world, app)
    [chats] = [subscription for subscription in world.graph.subscriptions() if subscription.resource == CHATS]
    assert chats.authorized >= world.graph.clock() - timedelta(minutes=5)
    assert chats.expires - world.graph.clock() > timedelta(hours=71)
    renewals = [call for call in world.graph.calls("PATCH") if call.path.endswith(chats.id)]
    assert [call.status for call in renewals] == [200]
    assert len(world.graph.calls()) - before <= 10  # also for the challenge that the other subscription got
    assert world.graph.get("summary")["flagged"] == []


def renewed(world: AppEnvironment, path: str, times: int) -> bool:
    return len(world.graph.calls("PATCH", path)) >= times


def test_within_ten_minutes_of_a_renewal_there_is_no_other(world: AppEnvironment) -> None:
    app = subscribed(world)
    for minutes, renewals in ((20, 1), (9, 1), (3, 2)):
        world.graph.advance(minutes=minutes)
        path = f"subscriptions/{send(world, CHATS, 'reauthorizationRequired', 1)}"
        app.work_until(partial(renewed, world, path, renewals))
        all_acted_upon(world, app)
        assert len(world.graph.calls("PATCH", path)) == renewals


def test_what_graph_refuses_to_renew_with_the_permission_that_created_it_is_replaced(world: AppEnvironment) -> None:
    drive = "/drives/b!x/root"
    world.graph.post("permissions", tenant=world.graph.registration.tenant, application=["Files.Read.All"])
    world.graph.post("faults", renewing_takes_more=True)
    app = world.instance(declared(drive, "updated", rich=False))
    app.tick()
    world.graph.advance(hours=1)
    old = send(world, drive, "reauthorizationRequired", 1)
    app.work_until(lambda: [subscription.id for subscription in world.graph.subscriptions()] not in ([], [old]))
    app.work_until(lambda: world.graph.calls("GET", "drives/"))  # changes in between are read back
    assert {call.status for call in world.graph.calls("PATCH")} == {403}  # also the one that has the URL validated
    [new] = world.graph.subscriptions()
    assert new.resource == drive


@TIMES
def test_a_removed_subscription_is_recreated_and_its_gap_is_read_back(world: AppEnvironment, times: int) -> None:
    app = subscribed(world)
    world.graph.post("messages", count=1)
    app.work_until(world.delivered())
    old = send(world, CHATS, "subscriptionRemoved", times)
    world.graph.post("messages", count=3)
    app.work_until(world.delivered())
    [new] = [subscription.id for subscription in world.graph.subscriptions() if subscription.resource == CHATS]
    assert new != old
    all_acted_upon(world, app)
    created = [call for call in world.graph.calls("POST", "subscriptions") if call.status == 201]
    assert len(created) == 3
    assert len(world.graph.subscriptions()) == 2


@TIMES
def test_missed_changes_are_read_back_and_the_subscription_stays(world: AppEnvironment, times: int) -> None:
    app = subscribed(world)
    before = {subscription.id for subscription in world.graph.subscriptions()}
    calls = len(world.graph.calls())
    send(world, mail(world), "missed", times)
    all_acted_upon(world, app)
    assert {subscription.id for subscription in world.graph.subscriptions()} == before
    assert world.graph.calls("DELETE") == []
    assert len(world.graph.calls()) - calls <= 10


@TIMES
def test_an_event_that_graph_has_never_sent_before_is_ignored(world: AppEnvironment, times: int) -> None:
    app = subscribed(world)
    calls = len(world.graph.calls())
    send(world, CHATS, "subscriptionTired", times)
    all_acted_upon(world, app)
    assert len(world.graph.calls()) == calls
    assert app.dead_letters() == 0


def post(app: Instance, item: dict[str, object]) -> int:
    return app.answer(RecordedRequest("POST", "/api/notifications", {}, body(item))).status


@pytest.mark.parametrize("event", ["reauthorizationRequired", "subscriptionRemoved", "missed", "subscriptionTired"])
def test_an_event_for_a_subscription_that_is_unknown_does_no_harm(world: AppEnvironment, event: str) -> None:
    """Its clientState is one of the app's, and it is gone: at most the declared resources are checked once more."""
    app = subscribed(world)
    tenant, secret = app.settings.tenant_id, app.settings.client_state_secrets[0]
    state = client_state.mint(secret, tenant, CHATS, bytes)
    before = {subscription.id for subscription in world.graph.subscriptions()}
    calls = len(world.graph.calls())
    for _ in range(UNKNOWN):
        item = lifecycle(event, subscriptionId=str(uuid.uuid4()), tenantId=tenant, clientState=state)
        assert post(app, item) == 202
    all_acted_upon(world, app)
    assert {subscription.id for subscription in world.graph.subscriptions()} == before
    assert world.graph.calls("PATCH") + world.graph.calls("DELETE") == []
    in_doubt = {"reauthorizationRequired": UNKNOWN, "subscriptionTired": 0}.get(event, 0)
    assert len(world.graph.calls()) - calls <= in_doubt + 2 + ONE_READ_BACK
    assert app.dead_letters() == 0


@pytest.mark.parametrize("event", ["reauthorizationRequired", "subscriptionRemoved", "missed"])
def test_a_strangers_event_is_answered_like_the_others_and_causes_nothing(world: AppEnvironment, event: str) -> None:
    app = subscribed(world)
    [chats, _] = world.graph.subscriptions()
    calls = len(world.graph.calls())
    for state in (None, "guess", "x" * client_state.LENGTH):
        item = lifecycle(event, subscriptionId=chats.id, tenantId=app.settings.tenant_id, clientState=state)
        assert post(app, item) == 202
    assert app.work() == 0
    assert len(world.graph.calls()) == calls


def test_an_event_of_a_resource_that_is_declared_no_more_changes_nothing(world: AppEnvironment) -> None:
    subscribed(world)
    app = world.instance(declared(mail(world), rich=False))
    world.graph.advance(minutes=20)
    calls = len(world.graph.calls())
    send(world, CHATS, "reauthorizationRequired", 3)
    all_acted_upon(world, app)
    assert len(world.graph.calls()) == calls


def lists(world: AppEnvironment) -> list[Call]:
    return [call for call in world.graph.calls("GET", "subscriptions") if call.path == "subscriptions"]


def test_a_storm_over_many_subscriptions_lists_them_once_and_brings_all_back(world: AppEnvironment) -> None:
    many = [declared(f"/chats/19:{number}@thread.v2/messages", rich=False) for number in range(24)]
    app = world.instance(*many)
    app.tick()
    listed = len(lists(world))
    for subscription in world.graph.subscriptions():
        world.graph.post("lifecycle", subscriptionId=subscription.id, event="subscriptionRemoved")
    all_acted_upon(world, app)
    assert len(world.graph.subscriptions()) == len(many)
    assert len(lists(world)) - listed < 10  # pages of one list or two, not a list for each
    looked_up = [call for call in world.graph.calls("GET", "subscriptions") if call.status == 404]
    assert len(looked_up) <= len(many)  # a list may leave out what lives: each is asked for once by its id
    assert {call.status for call in world.graph.calls(path="subscriptions")} <= {200, 201, 204, 404}


def test_missed_changes_are_read_back_without_listing_subscriptions(world: AppEnvironment) -> None:
    app = subscribed(world)
    listed = len(world.graph.calls("GET", "subscriptions"))
    send(world, mail(world), "missed", 5)
    all_acted_upon(world, app)
    assert len(world.graph.calls("GET", "subscriptions")) == listed
