"""Desired against actual: what is decided, on a model of Graph; what is carried out, against the simulator."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import count
from secrets import token_bytes
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from graph_simulator.authority import Authority
from graph_simulator.server import GraphServer
from shared.configuration.declaration import Declaration
from shared.errors import RetryLater
from shared.graph.client import GraphClient, GraphRequestError
from shared.graph.entra import AppCredential, EntraClient
from shared.keys.ring import EncryptionKey
from shared.lifetimes import longest_lifetime
from shared.subscriptions.plan import Action, DesiredState, Step, Subscription, Subscriptions, follow_up, plan
from tests.builders import (
    CLIENT_ID,
    NOTIFICATION_URL,
    NOW,
    TENANT,
    Clock,
    client_state_secret,
    declaration,
    encryption_key,
)
from tests.servers import Answer, Asked, Server, in_json, serving
from tests.shared.graph.test_client import Bearer

FOREIGN_URL = "https://elsewhere.example.org/hook"
RESOURCES = ("/chats/getAllMessages", "/teams/getAllMessages", "/users", "/chats/1/messages")
TYPES = ("created", "updated", "created,updated", "updated,deleted", "created,updated,deleted")


def desired(url: str = NOTIFICATION_URL, secret: str = "current", key: EncryptionKey | None = None) -> DesiredState:
    return DesiredState(url, client_state_secret(secret), key or encryption_key())


def key_of(mine: DesiredState) -> str:
    assert mine.key
    return mine.key.key_id


@dataclass
class Model:
    """Graph's subscriptions of one app in one tenant, as the contract has them: one for a resource and its types."""

    now: datetime
    held: dict[str, Subscription]
    ids: Iterator[int] = field(default_factory=count)

    def carry_out(self, step: Step, mine: DesiredState) -> None:
        """Do what `Subscriptions` does; what Graph refuses does not happen."""
        wanted, old = step.declaration, step.subscription
        if step.action is Action.REMOVE:
            assert old
            del self.held[old.id]
        elif step.action in (Action.RENEW, Action.REKEY):
            assert wanted
            assert old
            expires = self.now + longest_lifetime(wanted.resource, rich=wanted.include_resource_data)
            key_id = key_of(mine) if wanted.include_resource_data else None
            changed = {"expiration_date_time": expires, "encryption_certificate_id": key_id}
            self.held[old.id] = msgspec.structs.replace(old, **changed)
        else:
            assert wanted
            if old and types(old.change_type) == set(wanted.change_types):
                del self.held[old.id]
                self.create(wanted, mine)
            elif self.create(wanted, mine) and old:
                del self.held[old.id]

    def create(self, wanted: Declaration, mine: DesiredState) -> bool:
        name = wanted.resource.strip("/").lower()
        for one in self.held.values():
            if one.resource.strip("/").lower() == name and types(one.change_type) == set(wanted.change_types):
                return False
        made = subscription(f"made-{next(self.ids)}", wanted, mine)
        self.held[made.id] = msgspec.structs.replace(
            made, expiration_date_time=self.now + longest_lifetime(wanted.resource, rich=wanted.include_resource_data)
        )
        return True


def types(text: str) -> set[str]:
    return set(text.split(","))


def subscription(name: str, wanted: Declaration, mine: DesiredState, **changes: object) -> Subscription:
    """A subscription that fits a declaration."""
    fitting = Subscription(
        id=name,
        resource=wanted.resource,
        change_type=",".join(wanted.change_types),
        notification_url=mine.marked_url,
        lifecycle_notification_url=mine.marked_url,
        expiration_date_time=NOW + longest_lifetime(wanted.resource, rich=wanted.include_resource_data),
        include_resource_data=wanted.include_resource_data,
        encryption_certificate_id=key_of(mine) if wanted.include_resource_data else None,
    )
    return msgspec.structs.replace(fitting, **changes)


declared = st.lists(
    st.builds(declaration, st.sampled_from(RESOURCES), rich=st.booleans(), types=st.sampled_from(TYPES)),
    unique_by=lambda one: one.resource,
)
urls = st.sampled_from(
    [
        desired().marked_url,
        desired(secret="retired").marked_url,
        NOTIFICATION_URL,
        FOREIGN_URL,
        "https://hooks.example.org/api/old",
    ]
)
subscriptions = st.lists(
    st.builds(
        Subscription,
        id=st.integers(0, 10**6).map(str),
        resource=st.sampled_from([*RESOURCES, "chats/getallmessages", "/groups"]),
        change_type=st.sampled_from(TYPES),
        notification_url=urls,
        lifecycle_notification_url=urls | st.none(),
        expiration_date_time=st.datetimes(
            NOW.replace(tzinfo=None), (NOW + timedelta(days=30)).replace(tzinfo=None)
        ).map(lambda moment: moment.replace(tzinfo=NOW.tzinfo)),
        include_resource_data=st.booleans() | st.none(),
        encryption_certificate_id=st.sampled_from(["enc-1", "enc-0"]) | st.none(),
    ),
    unique_by=(lambda one: one.id, lambda one: (one.resource.strip("/").lower(), one.change_type)),
    max_size=8,
)


@given(declared, subscriptions)
def test_carrying_the_plan_out_leaves_nothing_to_be_done(wanted: list[Declaration], held: list[Subscription]) -> None:
    model = Model(NOW, {one.id: one for one in held})
    for step in plan(wanted, held, desired(), TENANT, NOW):
        model.carry_out(step, desired())
    assert plan(wanted, list(model.held.values()), desired(), TENANT, NOW) == []


@given(declared, subscriptions)
def test_what_is_neither_at_our_endpoint_nor_in_the_way_is_left_alone(
    wanted: list[Declaration], held: list[Subscription]
) -> None:
    in_the_way = {(one.resource.strip("/").lower(), frozenset(one.change_types)) for one in wanted}
    for step in plan(wanted, held, desired(), TENANT, NOW):
        touched = step.subscription
        if touched and not touched.notification_url.startswith(NOTIFICATION_URL):
            name = touched.resource.strip("/").lower(), frozenset(types(touched.change_type))
            assert name in in_the_way
            assert step.action is not Action.RENEW
            assert step.action is not Action.REKEY


@given(declared)
def test_what_is_as_declared_needs_nothing(wanted: list[Declaration]) -> None:
    held = [subscription(str(number), one, desired()) for number, one in enumerate(wanted)]
    assert plan(wanted, held, desired(), TENANT, NOW) == []


@given(declared, st.timedeltas(timedelta(0), timedelta(days=30)))
def test_every_subscription_is_renewed_well_before_its_end(wanted: list[Declaration], later: timedelta) -> None:
    held = [subscription(str(number), one, desired()) for number, one in enumerate(wanted)]
    planned = {step.declaration: step.action for step in plan(wanted, held, desired(), TENANT, NOW + later)}
    for one in wanted:
        life = longest_lifetime(one.resource, rich=one.include_resource_data)
        if later >= life * 2 / 3:
            assert planned[one] is Action.RENEW
        if later <= life * 0.4:
            assert one not in planned


def only_step(wanted: Declaration, *held: Subscription, mine: DesiredState | None = None) -> Step:
    (step,) = plan([wanted], held, mine or desired(), TENANT, NOW)
    return step


def test_a_declaration_without_a_subscription_gets_one() -> None:
    assert only_step(declaration()).action is Action.CREATE


def test_a_subscription_that_nothing_declares_is_removed() -> None:
    (step,) = plan([], [subscription("1", declaration(), desired())], desired(), TENANT, NOW)
    assert (step.action, step.declaration) == (Action.REMOVE, None)


def test_one_with_another_certificate_is_rekeyed() -> None:
    old = subscription("1", declaration(), desired(), encryption_certificate_id="enc-0")
    assert only_step(declaration(), old).action is Action.REKEY


def test_one_without_resource_data_has_no_certificate_to_care_for() -> None:
    basic = declaration(rich=False)
    assert plan([basic], [subscription("1", basic, desired())], desired(), TENANT, NOW) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"notification_url": desired(secret="retired").marked_url},
        {"notification_url": FOREIGN_URL},
        {"lifecycle_notification_url": None},
        {"lifecycle_notification_url": FOREIGN_URL},
        {"include_resource_data": False},
        {"change_type": "created"},
    ],
    ids=str,
)
def test_what_no_patch_can_mend_is_replaced(changes: dict[str, object]) -> None:
    assert only_step(declaration(), subscription("1", declaration(), desired(), **changes)).action is Action.REPLACE


def test_spelling_is_no_difference() -> None:
    spelled = {"resource": "CHATS/getallMessages", "change_type": "Deleted, updated,created"}
    held = subscription("1", declaration(), desired(), **spelled)
    assert plan([declaration()], [held], desired(), TENANT, NOW) == []


def test_of_doublets_the_one_without_fault_stays() -> None:
    good = subscription("good", declaration(), desired(), expiration_date_time=NOW + timedelta(hours=60))
    bad = subscription("bad", declaration(), desired(), change_type="created")
    step = only_step(declaration(), bad, good)
    assert step.action is Action.REMOVE
    assert step.subscription == bad


def test_the_mark_joins_a_query_that_is_there() -> None:
    marked = desired("https://hooks.example.org/n?code=a%2Bb").marked_url
    assert marked.startswith("https://hooks.example.org/n?code=a%2Bb&clientStateId=")
    assert client_state_secret().hex() not in marked


# Carried out against the simulator, which is as strict as the contract says Graph is.


def echo(asked: Asked) -> Answer:
    tokens = parse_qs(urlsplit(asked.path).query).get("validationToken")
    headers = {"Content-Type": "text/plain"}
    return Answer(200, tokens[0].encode(), headers) if tokens else Answer(202)


@pytest.fixture
def endpoint(authority: Authority) -> Iterator[Server]:
    with serving(echo, authority) as server:
        yield server


@pytest.fixture
def clock(simulator: GraphServer) -> Clock:
    """The simulator's time, a window of its limits after the last test."""
    return Clock(datetime.fromisoformat(simulator.post("clock", advance_seconds=20)["now"]))


@pytest.fixture
def app(simulator: GraphServer, session: requests.Session, clock: Clock) -> Iterator[Subscriptions]:
    """The app's subscriptions at a Graph that holds none yet."""
    identity = EntraClient(simulator.url, CLIENT_ID, AppCredential(secret=simulator.registration.client_secret))
    made = Subscriptions(GraphClient(simulator.url, identity, session, clock), clock, token_bytes)
    yield made
    for one in made.list(TENANT):
        simulator.delete(f"subscriptions/{one.id}")


def reconcile(app: Subscriptions, wanted: list[Declaration], mine: DesiredState, clock: Clock) -> list[Action]:
    steps = plan(wanted, app.list(TENANT), mine, TENANT, clock())
    for step in steps:
        outcome = app.carry_out(step, mine)
        assert outcome.error is None, outcome.error
    return [step.action for step in steps]


def test_declared_subscriptions_are_made_and_then_left_alone(
    app: Subscriptions, endpoint: Server, clock: Clock
) -> None:
    wanted = [declaration(), declaration("/users", rich=False, types="updated")]
    mine = desired(f"{endpoint.url}/api/notifications?code=1")
    assert reconcile(app, wanted, mine, clock) == [Action.CREATE, Action.CREATE]
    assert reconcile(app, wanted, mine, clock) == []
    held = {one.resource: one for one in app.list(TENANT)}
    assert held["/chats/getAllMessages"].encryption_certificate_id == key_of(mine)
    assert held["/chats/getAllMessages"].notification_url == mine.marked_url
    assert len(endpoint.asked) == 4


def test_a_subscription_is_renewed_and_rekeyed_in_place(app: Subscriptions, endpoint: Server, clock: Clock) -> None:
    mine = desired(endpoint.url)
    reconcile(app, [declaration()], mine, clock)
    (before,) = app.list(TENANT)
    rotated = desired(endpoint.url, key=encryption_key("enc-2"))
    assert reconcile(app, [declaration()], rotated, clock) == [Action.REKEY]
    (after,) = app.list(TENANT)
    assert (after.id, after.encryption_certificate_id) == (before.id, "enc-2")


def test_a_new_secret_replaces_the_subscription(app: Subscriptions, endpoint: Server, clock: Clock) -> None:
    reconcile(app, [declaration()], desired(endpoint.url, "retired"), clock)
    assert reconcile(app, [declaration()], desired(endpoint.url), clock) == [Action.REPLACE]
    assert reconcile(app, [declaration()], desired(endpoint.url), clock) == []
    assert len(app.list(TENANT)) == 1


@pytest.mark.parametrize("resource", ["/chats/getAllMessages", "/chats/19:a@thread.v2/messages"])
def test_other_change_types_replace_the_subscription_whatever_the_quota(
    app: Subscriptions, endpoint: Server, clock: Clock, resource: str
) -> None:
    mine = desired(endpoint.url)
    reconcile(app, [declaration(resource, types="created")], mine, clock)
    assert reconcile(app, [declaration(resource)], mine, clock) == [Action.REPLACE]
    assert reconcile(app, [declaration(resource)], mine, clock) == []


def test_what_is_declared_no_more_is_removed(app: Subscriptions, endpoint: Server, clock: Clock) -> None:
    reconcile(app, [declaration()], desired(endpoint.url), clock)
    assert reconcile(app, [], desired(endpoint.url), clock) == [Action.REMOVE]
    assert app.list(TENANT) == []


def test_a_subscription_that_vanished_before_it_was_renewed_is_made_anew(
    app: Subscriptions, endpoint: Server, clock: Clock, simulator: GraphServer
) -> None:
    mine = desired(endpoint.url)
    reconcile(app, [declaration()], mine, clock)
    (old,) = app.list(TENANT)
    simulator.delete(f"subscriptions/{old.id}")
    outcome = app.carry_out(Step(Action.RENEW, TENANT, declaration(), old, "a test"), mine)
    instead = follow_up(outcome, mine)
    assert instead is not None
    assert instead.action is Action.CREATE
    assert app.carry_out(instead, mine).error is None
    assert [one.id for one in app.list(TENANT)] != [old.id]
    with pytest.raises(GraphRequestError) as gone:
        app.extend(TENANT, old.id, declaration(), mine)
    assert gone.value.status == 404


def test_an_extension_is_not_repeated_within_ten_minutes(
    app: Subscriptions, endpoint: Server, clock: Clock, simulator: GraphServer
) -> None:
    mine = desired(endpoint.url)
    reconcile(app, [declaration()], mine, clock)
    (held,) = app.list(TENANT)
    assert app.extend(TENANT, held.id, declaration(), mine) is None
    clock.now = datetime.fromisoformat(simulator.post("clock", advance_seconds=660)["now"])
    extended = app.extend(TENANT, held.id, declaration(), mine)
    assert extended is not None
    assert extended.expiration_date_time > held.expiration_date_time


def test_an_endpoint_that_fails_the_handshake_is_an_outcome_and_stops_nothing(
    app: Subscriptions, endpoint: Server, clock: Clock
) -> None:
    endpoint.script = lambda _: Answer(403)
    outcome = app.carry_out(Step(Action.CREATE, TENANT, declaration(), None, "a test"), desired(endpoint.url))
    assert isinstance(outcome.error, GraphRequestError)
    assert outcome.error.status == 400
    assert "Forbidden" in str(outcome.error)


def test_without_consent_the_outcome_is_a_refusal(
    app: Subscriptions, endpoint: Server, clock: Clock, simulator: GraphServer
) -> None:
    simulator.post("consent", tenant=TENANT, granted=False)
    try:
        outcome = app.carry_out(Step(Action.CREATE, TENANT, declaration(), None, "a test"), desired(endpoint.url))
    finally:
        simulator.post("consent", tenant=TENANT, granted=True)
    assert isinstance(outcome.error, GraphRequestError | RetryLater)


HUB_URL = "EventHub:https://relay.servicebus.windows.net/eventhubname/graph?tenantId=contoso.example"


def test_the_url_of_an_event_hub_stays_as_it_is() -> None:
    mine = desired(HUB_URL)
    assert mine.marked_url == HUB_URL
    assert plan([declaration()], [subscription("1", declaration(), mine)], mine, TENANT, NOW) == []


def test_made_anew_even_what_is_without_fault_is_replaced() -> None:
    found = subscription("1", declaration(), desired())
    (step,) = plan([declaration()], [found], replace(desired(), anew=True), TENANT, NOW)
    assert (step.action, step.subscription) == (Action.REPLACE, found)


def test_what_has_the_least_time_left_comes_first_and_what_is_missing_before_all() -> None:
    mine = desired()
    wanted = [declaration(f"/chats/{name}/messages") for name in "abc"]
    left = {"a": timedelta(hours=2), "b": timedelta(hours=1)}
    found = [
        subscription(name, one, mine, expiration_date_time=NOW + left[name])
        for name, one in zip("ab", wanted, strict=False)
    ]
    steps = plan(wanted, found, mine, TENANT, NOW)
    assert [step.declaration.resource for step in steps if step.declaration] == [
        "/chats/c/messages",
        "/chats/b/messages",
        "/chats/a/messages",
    ]


def test_without_a_key_what_lives_is_renewed_and_what_needs_one_waits(
    app: Subscriptions, endpoint: Server, clock: Clock, simulator: GraphServer
) -> None:
    reconcile(app, [declaration()], desired(endpoint.url), clock)
    keyless = replace(desired(endpoint.url), key=None)
    clock.now = datetime.fromisoformat(simulator.post("clock", advance_seconds=60 * 3600)["now"])
    (renewal,) = plan([declaration()], app.list(TENANT), keyless, TENANT, clock())
    assert (renewal.action, app.carry_out(renewal, keyless).error) == (Action.RENEW, None)
    other = [declaration(), declaration("/teams/getAllMessages"), declaration("/users", rich=False, types="updated")]
    outcomes = {
        one.declaration: app.carry_out(one, keyless) for one in plan(other, app.list(TENANT), keyless, TENANT, clock())
    }
    assert {declared.resource: outcome.error is None for declared, outcome in outcomes.items() if declared} == {
        "/teams/getAllMessages": False,
        "/users": True,
    }
    (anew,) = plan([declaration()], app.list(TENANT)[:1], replace(keyless, anew=True), TENANT, clock())
    assert app.carry_out(anew, keyless).error is not None
    assert any(one.resource == "/chats/getAllMessages" for one in app.list(TENANT))  # not deleted first


def test_where_graph_grants_less_than_our_table_says_it_is_asked_for_an_hour(
    session: requests.Session, authority: Authority
) -> None:
    def grudging(asked: Asked) -> Answer:
        """As Graph, had it lowered its maximum to an hour."""
        wanted = json.loads(asked.body)
        if datetime.fromisoformat(wanted["expirationDateTime"]) > NOW + timedelta(hours=1):
            return in_json({"error": {"code": "InvalidRequest", "message": "too long"}}, 400)
        return in_json({"id": "1", "resource": "r", "changeType": "created", "notificationUrl": "u", **wanted})

    wanted, mine = declaration(), desired()
    dying = subscription("1", wanted, mine, expiration_date_time=NOW)
    with serving(grudging, authority) as server:
        app = Subscriptions(GraphClient(server.url, Bearer(), session, Clock()), Clock(), token_bytes)
        for found in ([], [dying]):
            (step,) = plan([wanted], found, mine, TENANT, NOW)
            outcome = app.carry_out(step, mine)
            assert outcome.error is None
            assert outcome.subscription
            assert timedelta(minutes=50) < outcome.subscription.expiration_date_time - NOW <= timedelta(hours=1)
