"""Desired and actual state: the plan, with a model of Graph. test_client.py shows it carried out."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import count

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from shared.configuration.declaration import Declaration, declaration_id
from shared.keys.key import EncryptionKey
from shared.resources.catalog import longest_lifetime
from shared.resources.renewal import too_rare
from shared.subscriptions.known import KnownSubscription
from shared.subscriptions.marks import marked
from shared.subscriptions.plan import plan, postponed_replacements, replacement_cause, serving
from shared.subscriptions.recognition import completed
from shared.subscriptions.subscription import Action, DesiredState, Step, Subscription
from tests.builders import (
    NOTIFICATION_URL,
    NOW,
    TENANT,
    client_state_secret,
    declaration,
    encryption_key,
)

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
    """Graph's subscriptions of one app in one tenant, one for a resource and its change types."""

    now: datetime
    held: dict[str, Subscription]
    ids: Iterator[int] = field(default_factory=count)

    def carry_out(self, step: Step, mine: DesiredState) -> None:
        """Do what `SubscriptionsClient` does; a step that Graph refuses has no effect."""
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
            if old:
                del self.held[old.id]  # a stand-in serves meanwhile
            self.create(wanted, mine)

    def create(self, wanted: Declaration, mine: DesiredState) -> None:
        """Create one, unless Graph has one for the resource and the change types."""
        if not self.is_taken(wanted):
            life = longest_lifetime(wanted.resource, rich=wanted.include_resource_data)
            made = subscription(f"made-{next(self.ids)}", wanted, mine)
            self.held[made.id] = msgspec.structs.replace(made, expiration_date_time=self.now + life)

    def is_taken(self, wanted: Declaration) -> bool:
        name = wanted.resource.strip("/").lower()
        return any(
            existing.resource.strip("/").lower() == name and types(existing.change_type) == set(wanted.change_types)
            for existing in self.held.values()
        )


def types(text: str) -> set[str]:
    return set(text.split(","))


def subscription(name: str, wanted: Declaration, mine: DesiredState, **changes: object) -> Subscription:
    """A subscription that matches a declaration."""
    fitting = Subscription(
        id=name,
        resource=wanted.resource,
        change_type=",".join(wanted.change_types),
        notification_url=mine.url_for(wanted),
        lifecycle_notification_url=mine.url_for(wanted),
        expiration_date_time=NOW + longest_lifetime(wanted.resource, rich=wanted.include_resource_data),
        include_resource_data=wanted.include_resource_data,
        encryption_certificate_id=key_of(mine) if wanted.include_resource_data else None,
    )
    return msgspec.structs.replace(fitting, **changes)


declared = st.lists(
    st.builds(declaration, st.sampled_from(RESOURCES), rich=st.booleans(), types=st.sampled_from(TYPES)),
    unique_by=lambda declaration: declaration.resource,
)
urls = st.sampled_from(
    [
        marked(NOTIFICATION_URL, minted_by=desired().fingerprint, serves="", id_type=None),
        marked(NOTIFICATION_URL, minted_by=desired(secret="retired").fingerprint, serves="", id_type=None),
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
    unique_by=(
        lambda subscription: subscription.id,
        lambda subscription: (subscription.resource.strip("/").lower(), subscription.change_type),
    ),
    max_size=8,
)


@given(declared, subscriptions)
def test_carrying_the_plan_out_leaves_nothing_to_be_done(wanted: list[Declaration], held: list[Subscription]) -> None:
    """Except where a foreign subscription conflicts."""
    model = Model(NOW, {subscription.id: subscription for subscription in held})
    for step in plan(wanted, held, desired(), TENANT, NOW):
        model.carry_out(step, desired())
    left = plan(wanted, list(model.held.values()), desired(), TENANT, NOW)
    assert [step for step in left if not (step.declaration and model.is_taken(step.declaration))] == []


@given(declared, subscriptions)
def test_foreign_subscriptions_are_not_changed(wanted: list[Declaration], held: list[Subscription]) -> None:
    """Another deployment's, or another product's: also where it is in the way."""
    for step in plan(wanted, held, desired(), TENANT, NOW):
        assert step.subscription is None or step.subscription.notification_url.startswith(NOTIFICATION_URL)


@given(declared, subscriptions)
def test_nothing_that_serves_is_removed_before_another_is_kept(
    wanted: list[Declaration], held: list[Subscription]
) -> None:
    steps = plan(wanted, held, desired(), TENANT, NOW)
    kept = {existing.id for existing in held} - {
        step.subscription.id for step in steps if step.subscription and removes(step)
    }
    ids = {declaration.id for declaration in wanted}
    for step in steps:
        if step.subscription and removes(step) and declaration_id(TENANT, step.subscription.resource) in ids:
            assert step.instead in kept


def removes(step: Step) -> bool:
    return step.action is Action.REMOVE


@given(declared)
def test_a_subscription_as_declared_needs_no_step(wanted: list[Declaration]) -> None:
    held = [subscription(str(number), declaration, desired()) for number, declaration in enumerate(wanted)]
    assert plan(wanted, held, desired(), TENANT, NOW) == []


@given(declared, st.timedeltas(timedelta(0), timedelta(days=30)))
def test_every_subscription_is_renewed_well_before_its_end(wanted: list[Declaration], later: timedelta) -> None:
    held = [subscription(str(number), declaration, desired()) for number, declaration in enumerate(wanted)]
    planned = {step.declaration: step.action for step in plan(wanted, held, desired(), TENANT, NOW + later)}
    for expected in wanted:
        life = longest_lifetime(expected.resource, rich=expected.include_resource_data)
        if later >= life * 2 / 3:
            assert planned[expected] is Action.RENEW
        if later <= life * 0.4:
            assert expected not in planned


@given(
    st.sampled_from([("/unheard/of", False), ("/teams/1/schedule/shifts", False), ("/chats/getAllMessages", True)]),
    st.integers(1, 5_000),
    st.integers(0, 99),
)
def test_no_gap_opens_between_two_runs_of_the_timer_however_seldom_it_runs(
    kind: tuple[str, bool], minutes: int, number: int
) -> None:
    """For subscriptions that outlive the pause; `doctor` reports the others."""
    wanted, pause = declaration(kind[0], rich=kind[1]), timedelta(minutes=minutes)
    life = longest_lifetime(kind[0], rich=kind[1])
    assume(pause < life)
    mine = replace(desired(), pause=pause)
    held, now = subscription(str(number), wanted, mine), NOW
    for _ in range(30):
        if [step.action for step in plan([wanted], [held], mine, TENANT, now)] == [Action.RENEW]:
            held = msgspec.structs.replace(held, expiration_date_time=now + life)
        now += pause
        assert held.expiration_date_time > now


@pytest.mark.parametrize(("minutes", "says"), [(20, None), (29, None), (31, "one run that fails"), (60, "it expires")])
def test_a_schedule_that_is_too_rare_is_reported_with_a_remedy(minutes: int, says: str | None) -> None:
    warning = too_rare("/unheard/of", rich=False, pause=timedelta(minutes=minutes))
    assert (warning is None) is (says is None)
    if warning and says:
        assert says in warning
        assert "Set RENEW_SCHEDULE so that it runs at least every 29 minutes" in warning


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
        {"notification_url": desired(secret="retired").url_for(declaration())},
        {"lifecycle_notification_url": FOREIGN_URL},
        {"include_resource_data": False},
        {"change_type": "created"},
    ],
)
def test_a_difference_that_no_patch_can_change_causes_a_replacement(changes: dict[str, object]) -> None:
    assert only_step(declaration(), subscription("1", declaration(), desired(), **changes)).action is Action.REPLACE


def test_spelling_is_no_difference() -> None:
    spelled = {"resource": "CHATS/getallMessages", "change_type": "Deleted, updated,created"}
    held = subscription("1", declaration(), desired(), **spelled)
    assert plan([declaration()], [held], desired(), TENANT, NOW) == []


def test_of_duplicates_the_one_without_fault_stays() -> None:
    good = subscription("good", declaration(), desired(), expiration_date_time=NOW + timedelta(hours=60))
    bad = subscription("bad", declaration(), desired(), change_type="created")
    step = only_step(declaration(), bad, good)
    assert step.action is Action.REMOVE
    assert step.subscription == bad


def test_the_mark_joins_a_query_that_is_there() -> None:
    url = desired("https://hooks.example.org/n?code=a%2Bb").url_for(declaration())
    assert url.startswith("https://hooks.example.org/n?code=a%2Bb&clientStateId=")
    assert client_state_secret().hex() not in url


HUB_URL = "EventHub:https://relay.servicebus.windows.net/eventhubname/graph?tenantId=contoso.example"


def test_the_url_of_an_event_hub_stays_as_it_is() -> None:
    mine = desired(HUB_URL)
    assert mine.url_for(declaration()) == HUB_URL
    assert plan([declaration()], [subscription("1", declaration(), mine)], mine, TENANT, NOW) == []


def test_to_be_recreated_even_what_is_without_fault_is_replaced() -> None:
    found = subscription("1", declaration(), desired())
    (step,) = plan([declaration()], [found], replace(desired(), recreate=True), TENANT, NOW)
    assert (step.action, step.subscription) == (Action.REPLACE, found)


def test_missing_subscriptions_come_first_then_those_that_expire_soonest() -> None:
    mine = desired()
    wanted = [declaration(f"/chats/{name}/messages") for name in "abc"]
    left = {"a": timedelta(hours=2), "b": timedelta(hours=1)}
    found = [
        subscription(name, declaration, mine, expiration_date_time=NOW + left[name])
        for name, declaration in zip("ab", wanted, strict=False)
    ]
    steps = plan(wanted, found, mine, TENANT, NOW)
    assert [step.declaration.resource for step in steps if step.declaration] == [
        "/chats/c/messages",
        "/chats/b/messages",
        "/chats/a/messages",
    ]


def test_a_subscription_to_outlook_that_gives_other_ids_is_replaced_once() -> None:
    """Created before version 0.2: a mail moved by a rule would come as a deletion (docs/graph.md, "Subscriptions")."""
    mine, mailbox = desired(), declaration("/users/5d/messages", rich=False)
    new = subscription("new", mailbox, mine)
    old = msgspec.structs.replace(new, notification_url=new.notification_url.partition("&idType")[0])
    (step,) = plan([mailbox], [old], mine, TENANT, NOW)
    assert (step.action, step.subscription) == (Action.REPLACE, old)
    assert plan([mailbox], [new], mine, TENANT, NOW) == []


def respelled(**changes: object) -> Subscription:
    """A subscription without fault that Graph shows otherwise than it was given."""
    held = subscription("1", MAILBOX, desired())
    return msgspec.structs.replace(
        held, notification_url=held.notification_url.replace("hooks.example.org", "HOOKS.example.org"), **changes
    )


MAILBOX = declaration("/users/ada@example.org/messages?$select=subject")


@pytest.mark.parametrize(
    "changes",
    [
        {"resource": "users/5d3c0e57-0000-4000-8000-000000000001/messages?%24select%3Dsubject"},
        {"lifecycle_notification_url": None},
        {"lifecycle_notification_url": ""},
        {"include_resource_data": None},
        {"change_type": ""},
    ],
)
def test_what_graph_respells_or_does_not_show_is_no_fault(changes: dict[str, object]) -> None:
    assert plan([MAILBOX], [respelled(**changes)], desired(), TENANT, NOW) == []


@pytest.mark.parametrize("shown", [None, ""])
def test_a_key_that_graph_does_not_show_is_the_one_that_was_given(shown: str | None) -> None:
    held = respelled(encryption_certificate_id=shown)
    known = {"1": KnownSubscription(MAILBOX.id, held.expiration_date_time, "enc-1")}
    assert plan([MAILBOX], [completed(held, known)], desired(), TENANT, NOW, known) == []
    (step,) = plan([MAILBOX], [held], desired(), TENANT, NOW)
    assert step.action is Action.REKEY  # nothing is known: it is given the key once, and that is noted


@pytest.mark.parametrize("secret", ["the current secret", "another secret"])
def test_a_subscription_at_another_url_belongs_to_this_deployment_only_if_it_is_known(secret: str) -> None:
    old = subscription("1", declaration(), desired("https://old.example.org/api/notifications", secret))
    assert only_step(declaration(), old).action is Action.CREATE
    assert plan([], [old], desired(), TENANT, NOW) == []
    known = {"1": KnownSubscription(declaration().id, NOW + timedelta(days=1))}
    (step,) = plan([declaration()], [old], desired(), TENANT, NOW, known)
    assert (step.action, step.subscription) == (Action.REPLACE, old)
    (step,) = plan([], [old], desired(), TENANT, NOW, known)
    assert (step.action, step.subscription) == (Action.REMOVE, old)


def test_a_replacement_that_cured_nothing_is_repeated_later_each_time() -> None:
    held = subscription("1", declaration(), desired(), change_type="created")
    fault = "its change types differ"
    for times, hours in ((1, 1), (2, 2), (3, 4), (9, 24)):
        known = {
            "1": KnownSubscription(declaration().id, NOW, "enc-1", replacement_cause(fault, desired()), times, NOW)
        }
        almost = NOW + timedelta(hours=hours) - timedelta(seconds=1)
        assert plan([declaration()], [held], desired(), TENANT, almost, known) == []
        assert [
            step.explanation
            for step in postponed_replacements([declaration()], [held], desired(), TENANT, almost, known)
        ] == [fault]
        due = plan([declaration()], [held], desired(), TENANT, NOW + timedelta(hours=hours), known)
        assert [step.action for step in due] == [Action.REPLACE]
    dying = msgspec.structs.replace(held, expiration_date_time=NOW + timedelta(minutes=30))
    (step,) = plan([declaration()], [dying], desired(), TENANT, NOW, known)
    assert step.action is Action.RENEW  # it lives on meanwhile
    (step,) = plan([declaration()], [held], desired("https://new.example.org/n"), TENANT, NOW, known)
    assert step.action is Action.REPLACE  # another URL is another matter


def test_what_expires_within_two_runs_comes_before_what_is_missing() -> None:
    missing, dying = declaration("/chats/1/messages"), declaration("/chats/2/messages")
    mine = replace(desired(), pause=timedelta(minutes=5))
    held = subscription("1", dying, mine, expiration_date_time=NOW + timedelta(minutes=9))
    actions = [step.action for step in plan([missing, dying], [held], mine, TENANT, NOW)]
    assert actions == [Action.RENEW, Action.CREATE]


def test_a_plan_for_ten_thousand_looks_at_each_once() -> None:
    """It took 50 s when each declaration looked through all subscriptions."""
    wanted = [declaration(f"/users/{number}/messages") for number in range(10_000)]
    mine = desired()
    held = [subscription(str(number), declaration, mine) for number, declaration in enumerate(wanted)]
    looked = 0

    class Counting(list[Subscription]):
        def __iter__(self) -> Iterator[Subscription]:
            nonlocal looked
            for found in super().__iter__():
                looked += 1
                yield found

    assert plan(wanted, Counting(held), mine, TENANT, NOW) == []
    assert len(serving(wanted, Counting(held), mine, TENANT)) == 10_000
    assert looked == 2 * len(held)
