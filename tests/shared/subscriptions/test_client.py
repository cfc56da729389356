"""Plans carried out at the simulator, which is as strict as Microsoft's documentation says Graph is."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from secrets import token_bytes
from urllib.parse import parse_qs, urlsplit

import pytest
import requests

from graph_simulator.authority import Authority
from graph_simulator.server import GraphServer
from shared.configuration.declaration import Declaration
from shared.errors import Reason, Refused, RetryLater
from shared.graph.client import GraphClient, GraphRequestError
from shared.graph.entra import AppCredential, EntraClient
from shared.subscriptions.advice import advice
from shared.subscriptions.client import SubscriptionsClient
from shared.subscriptions.plan import follow_up, plan
from shared.subscriptions.subscription import Action, DesiredState, Outcome, Step
from tests.builders import CLIENT_ID, NOW, TENANT, Clock, declaration, encryption_key
from tests.servers import RecordedRequest, ScriptedResponse, Server, in_json, serving
from tests.shared.graph.test_client import Bearer
from tests.shared.subscriptions.test_plan import desired, key_of, subscription


def echo(request: RecordedRequest) -> ScriptedResponse:
    tokens = parse_qs(urlsplit(request.path).query).get("validationToken")
    headers = {"Content-Type": "text/plain"}
    return ScriptedResponse(200, tokens[0].encode(), headers) if tokens else ScriptedResponse(202)


@pytest.fixture
def endpoint(authority: Authority) -> Iterator[Server]:
    with serving(echo, authority) as server:
        yield server


@pytest.fixture
def clock(simulator: GraphServer) -> Clock:
    """The simulator's time, a window of its limits after the last test."""
    return Clock(datetime.fromisoformat(simulator.post("clock", advance_seconds=20)["now"]))


@pytest.fixture
def subscriptions(simulator: GraphServer, session: requests.Session, clock: Clock) -> Iterator[SubscriptionsClient]:
    """The app's subscriptions at a Graph without any yet."""
    identity = EntraClient(simulator.url, CLIENT_ID, AppCredential(secret=simulator.registration.client_secret))
    made = SubscriptionsClient(GraphClient(simulator.url, identity, session, clock), clock, token_bytes, lambda _: None)
    yield made
    for left_over in made.list(TENANT):
        simulator.delete(f"subscriptions/{left_over.id}")


def reconcile(
    subscriptions: SubscriptionsClient, wanted: list[Declaration], mine: DesiredState, clock: Clock
) -> list[Action]:
    steps = plan(wanted, subscriptions.list(TENANT), mine, TENANT, clock())
    for step in steps:
        outcome = subscriptions.carry_out(step, mine)
        assert outcome.error is None, outcome.error
    return [step.action for step in steps]


def test_declared_subscriptions_are_made_and_then_left_alone(
    subscriptions: SubscriptionsClient, endpoint: Server, clock: Clock
) -> None:
    wanted = [declaration(), declaration("/users", rich=False, types="updated")]
    mine = desired(f"{endpoint.url}/api/notifications?code=1")
    assert reconcile(subscriptions, wanted, mine, clock) == [Action.CREATE, Action.CREATE]
    assert reconcile(subscriptions, wanted, mine, clock) == []
    held = {subscription.resource: subscription for subscription in subscriptions.list(TENANT)}
    assert held["/chats/getAllMessages"].encryption_certificate_id == key_of(mine)
    assert held["/chats/getAllMessages"].notification_url == mine.url_for(declaration())
    assert len(endpoint.asked) == 4


def test_a_subscription_is_renewed_and_rekeyed_in_place(
    subscriptions: SubscriptionsClient, endpoint: Server, clock: Clock
) -> None:
    mine = desired(endpoint.url)
    reconcile(subscriptions, [declaration()], mine, clock)
    (before,) = subscriptions.list(TENANT)
    rotated = desired(endpoint.url, key=encryption_key("enc-2"))
    assert reconcile(subscriptions, [declaration()], rotated, clock) == [Action.REKEY]
    (after,) = subscriptions.list(TENANT)
    assert (after.id, after.encryption_certificate_id) == (before.id, "enc-2")


def test_a_new_secret_replaces_the_subscription(
    subscriptions: SubscriptionsClient, endpoint: Server, clock: Clock
) -> None:
    reconcile(subscriptions, [declaration()], desired(endpoint.url, "retired"), clock)
    assert reconcile(subscriptions, [declaration()], desired(endpoint.url), clock) == [Action.REPLACE]
    assert reconcile(subscriptions, [declaration()], desired(endpoint.url), clock) == []
    assert len(subscriptions.list(TENANT)) == 1


@pytest.mark.parametrize("resource", ["/chats/getAllMessages", "/chats/19:a@thread.v2/messages"])
def test_other_change_types_replace_the_subscription_whatever_the_quota(
    subscriptions: SubscriptionsClient, endpoint: Server, clock: Clock, resource: str
) -> None:
    mine = desired(endpoint.url)
    reconcile(subscriptions, [declaration(resource, types="created")], mine, clock)
    assert reconcile(subscriptions, [declaration(resource)], mine, clock) == [Action.REPLACE]
    assert reconcile(subscriptions, [declaration(resource)], mine, clock) == []


def test_what_is_declared_no_more_is_removed(
    subscriptions: SubscriptionsClient, endpoint: Server, clock: Clock
) -> None:
    reconcile(subscriptions, [declaration()], desired(endpoint.url), clock)
    assert reconcile(subscriptions, [], desired(endpoint.url), clock) == [Action.REMOVE]
    assert subscriptions.list(TENANT) == []


def test_a_subscription_that_vanished_before_it_was_renewed_is_created_again(
    subscriptions: SubscriptionsClient, endpoint: Server, clock: Clock, simulator: GraphServer
) -> None:
    mine = desired(endpoint.url)
    reconcile(subscriptions, [declaration()], mine, clock)
    (old,) = subscriptions.list(TENANT)
    simulator.delete(f"subscriptions/{old.id}")
    outcome = subscriptions.carry_out(Step(Action.RENEW, TENANT, declaration(), old, "a test"), mine)
    instead = follow_up(outcome, mine)
    assert instead is not None
    assert instead.action is Action.CREATE
    assert subscriptions.carry_out(instead, mine).error is None
    assert [subscription.id for subscription in subscriptions.list(TENANT)] != [old.id]
    with pytest.raises(GraphRequestError) as gone:
        subscriptions.to_reauthorize(TENANT, old.id, declaration())
    assert gone.value.status == 404


@pytest.fixture
def granting(simulator: GraphServer) -> Iterator[Callable[..., None]]:
    """Let the tenant grant only these permissions, until the test is over."""
    yield lambda *names: simulator.post("permissions", tenant=TENANT, application=list(names))
    simulator.post("permissions", tenant=TENANT)
    simulator.post("faults", renewing_takes_more=False)


@pytest.mark.parametrize(
    ("resource", "permission"),
    [
        ("/drives/b!x/root", "Files.Read.All"),
        ("/sites/h,1,2/lists/l", "Sites.Read.All"),
        ("/users/5d/todo/lists/l/tasks", "Tasks.ReadWrite.All"),
    ],
)
def test_what_graph_refuses_to_renew_with_the_permission_that_created_it_is_replaced(
    granting: Callable[..., None],
    subscriptions: SubscriptionsClient,
    endpoint: Server,
    clock: Clock,
    simulator: GraphServer,
    resource: str,
    permission: str,
) -> None:
    granting(permission)
    wanted, mine = declaration(resource, rich=False, types="updated"), desired(endpoint.url)
    reconcile(subscriptions, [wanted], mine, clock)
    (old,) = subscriptions.list(TENANT)
    simulator.post("faults", renewing_takes_more=True)
    outcome = subscriptions.carry_out(Step(Action.RENEW, TENANT, wanted, old, "a test"), mine)
    instead = follow_up(outcome, mine)
    assert instead is not None
    assert instead.action is Action.REPLACE
    assert subscriptions.carry_out(instead, mine).error is None
    (new,) = subscriptions.list(TENANT)
    assert new.id != old.id


def test_a_refused_renewal_for_want_of_the_permission_replaces_nothing(
    subscriptions: SubscriptionsClient, endpoint: Server, clock: Clock
) -> None:
    wanted, mine = declaration("/drives/b!x/root", rich=False, types="updated"), desired(endpoint.url)
    reconcile(subscriptions, [wanted], mine, clock)
    (old,) = subscriptions.list(TENANT)
    refused = GraphRequestError(403, "Forbidden", "no", granted=frozenset({"Mail.Read"}))
    outcome = Outcome(Step(Action.RENEW, TENANT, wanted, old, "a test"), error=refused)
    assert follow_up(outcome, mine) is None
    advised = advice(refused, wanted.resource)
    assert "Grant the application permission Files.Read.All" in advised


def test_advice_on_a_403_follows_the_table() -> None:
    held = GraphRequestError(403, "Forbidden", "no", granted=frozenset({"Chat.Read.All"}))
    assert "not a missing permission" in advice(held, "/chats/getAllMessages")
    assert "signed-in user" in advice(held, "/communications/presences/1")
    assert "ChannelMessage.Read.Group" in advice(held, "/teams/1/channels/2/messages", "resource")


def test_an_extension_is_not_repeated_within_ten_minutes(
    subscriptions: SubscriptionsClient, endpoint: Server, clock: Clock, simulator: GraphServer
) -> None:
    mine = desired(endpoint.url)
    reconcile(subscriptions, [declaration()], mine, clock)
    (held,) = subscriptions.list(TENANT)
    assert subscriptions.to_reauthorize(TENANT, held.id, declaration()) is None
    clock.now = datetime.fromisoformat(simulator.post("clock", advance_seconds=660)["now"])
    assert subscriptions.to_reauthorize(TENANT, held.id, declaration()) == held
    extended = subscriptions.reauthorize(held, declaration())
    assert extended.expiration_date_time > held.expiration_date_time


def test_an_endpoint_that_fails_the_handshake_is_an_outcome_and_stops_nothing(
    subscriptions: SubscriptionsClient, endpoint: Server, clock: Clock
) -> None:
    endpoint.script = lambda _: ScriptedResponse(403)
    outcome = subscriptions.carry_out(Step(Action.CREATE, TENANT, declaration(), None, "a test"), desired(endpoint.url))
    assert isinstance(outcome.error, GraphRequestError)
    assert outcome.error.status == 400
    assert "Forbidden" in str(outcome.error)


def test_without_consent_the_outcome_is_a_refusal(
    subscriptions: SubscriptionsClient, endpoint: Server, clock: Clock, simulator: GraphServer
) -> None:
    simulator.post("consent", tenant=TENANT, granted=False)
    try:
        outcome = subscriptions.carry_out(
            Step(Action.CREATE, TENANT, declaration(), None, "a test"), desired(endpoint.url)
        )
    finally:
        simulator.post("consent", tenant=TENANT, granted=True)
    assert isinstance(outcome.error, GraphRequestError | RetryLater)


def test_without_a_key_what_is_alive_is_renewed_and_what_needs_one_waits(
    subscriptions: SubscriptionsClient, endpoint: Server, clock: Clock, simulator: GraphServer
) -> None:
    reconcile(subscriptions, [declaration()], desired(endpoint.url), clock)
    keyless = replace(desired(endpoint.url), key=None)
    clock.now = datetime.fromisoformat(simulator.post("clock", advance_seconds=60 * 3600)["now"])
    (renewal,) = plan([declaration()], subscriptions.list(TENANT), keyless, TENANT, clock())
    assert (renewal.action, subscriptions.carry_out(renewal, keyless).error) == (Action.RENEW, None)
    other = [declaration(), declaration("/teams/getAllMessages"), declaration("/users", rich=False, types="updated")]
    outcomes = {
        step.declaration: subscriptions.carry_out(step, keyless)
        for step in plan(other, subscriptions.list(TENANT), keyless, TENANT, clock())
    }
    assert {declared.resource: outcome.error is None for declared, outcome in outcomes.items() if declared} == {
        "/teams/getAllMessages": False,
        "/users": True,
    }
    (recreation,) = plan(
        [declaration()], subscriptions.list(TENANT)[:1], replace(keyless, recreate=True), TENANT, clock()
    )
    assert subscriptions.carry_out(recreation, keyless).error is not None
    assert any(
        subscription.resource == "/chats/getAllMessages" for subscription in subscriptions.list(TENANT)
    )  # not deleted first


def test_a_lifetime_that_graph_refuses_is_requested_as_one_hour(
    session: requests.Session, authority: Authority
) -> None:
    too_long = "Subscription expiration can only be 60 minutes in the future."

    def grudging(request: RecordedRequest) -> ScriptedResponse:
        """Answer like Graph with a maximum lowered to an hour."""
        wanted = json.loads(request.body)
        if datetime.fromisoformat(wanted["expirationDateTime"]) > NOW + timedelta(hours=1):
            return in_json({"error": {"code": "ValidationError", "message": too_long}}, 400)
        return in_json({"id": "1", "resource": "r", "changeType": "created", "notificationUrl": "u", **wanted})

    wanted, mine = declaration(), desired()
    dying = subscription("1", wanted, mine, expiration_date_time=NOW)
    with serving(grudging, authority) as server:
        subscriptions = SubscriptionsClient(
            GraphClient(server.url, Bearer(), session, Clock()), Clock(), token_bytes, lambda _: None
        )
        for found in ([], [dying]):
            (step,) = plan([wanted], found, mine, TENANT, NOW)
            outcome = subscriptions.carry_out(step, mine)
            assert outcome.error is None
            assert outcome.subscription
            assert timedelta(minutes=50) < outcome.subscription.expiration_date_time - NOW <= timedelta(hours=1)


def test_a_subscription_of_another_resource_than_is_declared_is_not_extended(
    subscriptions: SubscriptionsClient, endpoint: Server, clock: Clock
) -> None:
    mine = desired(endpoint.url)
    reconcile(subscriptions, [declaration()], mine, clock)
    (held,) = subscriptions.list(TENANT)
    with pytest.raises(Refused) as refused:
        subscriptions.to_reauthorize(TENANT, held.id, declaration("/teams/getAllMessages"))
    assert refused.value.reason is Reason.CLIENT_STATE
