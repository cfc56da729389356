"""Several lifecycle items at a scripted Graph: a failing item does not affect the others, and is retried.

tests/life shows, with the simulator, the effect of each event.
"""

import json
from collections.abc import Iterator
from datetime import datetime, timedelta

import msgspec
import pytest
import requests

from graph_simulator.authority import Authority
from process_queue.handler import MessageHandler
from process_queue.lifecycle import LISTED_AT_ONCE
from shared.configuration.declaration import Declaration, Declarations
from shared.subscriptions.known import KnownSubscription
from shared.subscriptions.subscription import Subscription
from tests.builders import (
    NOTIFICATION_URL,
    NOW,
    TENANT,
    Clock,
    declaration,
    lifecycle,
    lifecycle_items,
)
from tests.memory import MemoryAccount
from tests.process_queue.app import start_app
from tests.servers import ScriptedResponse, Server, in_json, serving

FIRST, SECOND = "3f1c0a52-7a3e-4d0e-9f0e-0c6a4f2d9b11", "3f1c0a52-7a3e-4d0e-9f0e-0c6a4f2d9b12"
FORBIDDEN = in_json({"error": {"code": "Forbidden", "message": "no consent"}}, 403)
FRESH = in_json(
    {
        "id": FIRST,
        "resource": declaration().resource,
        "changeType": "created",
        "notificationUrl": NOTIFICATION_URL,
        "expirationDateTime": (NOW + timedelta(days=30)).isoformat(),
    }
)  # renewed a moment ago: nothing is due


SERVED = msgspec.json.decode(FRESH.body, type=Subscription)
OTHER = declaration("/teams/getAllMessages")


class ScriptedGraph:
    def __init__(self, graph: Server, session: requests.Session, *others: Declaration) -> None:
        """`others` are declared besides the one that the subscriptions serve."""
        self.clock = Clock(NOW + timedelta(seconds=5))
        self.answers: dict[str, ScriptedResponse] = {}
        self._graph = graph
        graph.script = lambda request: self.answers.get(request.path.rpartition("/")[2], FRESH)
        relay = start_app(
            MemoryAccount().clients(),
            self.clock,
            session,
            declarations=Declarations([declaration(), *others]),
            GRAPH_BASE_URL=graph.url,
        )
        self._checkpoints = relay.checkpoints
        self._checkpoints.save(declaration().id, NOW, NOW)
        self.known = relay.known_subscriptions
        known = KnownSubscription(declaration().id, SERVED.expiration_date_time)
        self.known.note(TENANT, dict.fromkeys((FIRST, SECOND), known))
        self.messages = MessageHandler(relay)
        self.handler = self.messages.lifecycle
        self.account = relay.account

    def act(self, *subscriptions: str, attempt: int = 0, received: datetime = NOW, **changes: str) -> list[str]:
        """Return the reasons of the items to be retried."""
        envelope = lifecycle_items(
            *[lifecycle(subscriptionId=subscription, **changes) for subscription in subscriptions]
        )
        outcome = self.handler.handle(msgspec.structs.replace(envelope, attempt=attempt, received=received))
        return [f"{len(retry.items)} {retry.failure}".partition(" (")[0] for retry in outcome.retries]

    def gap_suspected(self) -> bool:
        """Whether a gap will be read back."""
        return any(checkpoint.due for checkpoint in self._checkpoints.all().values())

    def methods(self) -> list[str]:
        """The methods of Graph's requests."""
        return [request.method for request in self._graph.asked]

    def asked(self) -> list[str]:
        """The subscriptions that Graph was asked for since the last call."""
        asked = [request.path.rpartition("/")[2] for request in self._graph.asked]
        self._graph.asked.clear()
        return asked


@pytest.fixture
def scripted(authority: Authority, session: requests.Session) -> Iterator[ScriptedGraph]:
    with serving(lambda _: FRESH, authority) as graph:
        yield ScriptedGraph(graph, session)


def test_a_failed_item_is_retried_alone(scripted: ScriptedGraph) -> None:
    scripted.answers[FIRST] = ScriptedResponse(503)
    assert scripted.act(FIRST, SECOND) == ["1 graph: Graph answers 503"]
    assert scripted.asked() == [FIRST, SECOND]
    scripted.answers.clear()
    scripted.act(FIRST, SECOND)
    assert scripted.asked() == [FIRST]  # the other is done, and is not repeated


def test_a_refused_reauthorization_is_retried_and_the_gap_read_back(
    scripted: ScriptedGraph, caplog: pytest.LogCaptureFixture
) -> None:
    """`renew_timer` detects no fault of such a subscription, and Graph withholds its notifications meanwhile."""
    scripted.answers[FIRST] = FORBIDDEN
    (retry,) = scripted.act(FIRST, SECOND)
    assert retry.startswith("1 graph_refused: graph_refused: 403 Forbidden: no consent")
    assert scripted.asked() == [FIRST, SECOND]
    assert "403 Forbidden: no consent" in caplog.text
    assert "Chat.Read.All" in caplog.text
    assert not scripted.gap_suspected()
    scripted.answers.clear()
    assert scripted.act(FIRST, SECOND, attempt=1)  # Graph refused the call a moment ago
    assert scripted.asked() == []
    scripted.clock.advance(minutes=1)
    scripted.act(FIRST, SECOND, attempt=2)
    assert scripted.asked() == [FIRST]
    assert scripted.gap_suspected()


def test_many_removals_from_a_tenant_that_refuses_to_list_cost_one_list_call(
    scripted: ScriptedGraph, caplog: pytest.LogCaptureFixture
) -> None:
    scripted.answers["subscriptions"] = FORBIDDEN
    scripted.act(FIRST, SECOND, lifecycleEvent="subscriptionRemoved")
    assert scripted.asked() == ["subscriptions"]
    assert "The token has every permission that the declarations need" in caplog.text
    assert scripted.gap_suspected()


def test_a_subscription_of_another_declaration_is_not_touched(scripted: ScriptedGraph) -> None:
    """A clientState is valid only for its own declaration."""
    scripted.answers[FIRST] = in_json(
        {**json.loads(FRESH.body), "resource": "/users", "expirationDateTime": NOW.isoformat()}
    )
    scripted.act(FIRST, SECOND)
    assert scripted.methods() == ["GET", "GET"]


@pytest.mark.parametrize("event", ["reauthorizationRequired", "subscriptionRemoved", "missed"])
def test_an_invented_subscription_waits_to_be_known_and_is_refused_without_a_call(
    scripted: ScriptedGraph, event: str
) -> None:
    assert scripted.act(TENANT, lifecycleEvent=event)[0].startswith("1 subscription_unknown")
    scripted.clock.advance(minutes=10)
    assert scripted.act(TENANT, lifecycleEvent=event) == []
    assert scripted.asked() == []
    assert not scripted.gap_suspected()


def test_a_subscription_of_another_declaration_of_the_tenant_is_refused_at_once(scripted: ScriptedGraph) -> None:
    scripted.known.note(TENANT, {FIRST: KnownSubscription(OTHER.id, SERVED.expiration_date_time)})
    assert scripted.act(FIRST, lifecycleEvent="missed") == []
    assert scripted.asked() == []
    assert not scripted.gap_suspected()


def test_ids_are_known_in_any_letter_case(scripted: ScriptedGraph) -> None:
    scripted.act(FIRST.upper())
    assert scripted.asked() == [FIRST.upper()]


def test_a_subscription_is_extended_once_in_ten_minutes(scripted: ScriptedGraph) -> None:
    for _ in range(3):
        scripted.act(FIRST, received=scripted.clock.now)
        scripted.clock.advance(minutes=4)
    assert scripted.asked() == [FIRST]
    scripted.act(FIRST, received=scripted.clock.now)
    assert scripted.asked() == [FIRST]


def test_removals_for_one_declaration_list_the_tenant_once_in_ten_minutes(scripted: ScriptedGraph) -> None:
    scripted.answers["subscriptions"] = FORBIDDEN
    for _ in range(3):
        scripted.act(FIRST, received=scripted.clock.now, lifecycleEvent="subscriptionRemoved")
        scripted.clock.advance(minutes=4)
    assert scripted.asked() == ["subscriptions"]
    scripted.act(FIRST, received=scripted.clock.now, lifecycleEvent="subscriptionRemoved")
    assert scripted.asked() == ["subscriptions"]


@pytest.mark.parametrize("name", ["../users", "", "x", FIRST + "/../..", FIRST + "?a", "é", FIRST + "\n"])
def test_a_malformed_id_never_gets_into_a_url(scripted: ScriptedGraph, name: str) -> None:
    scripted.act(name, SECOND)
    assert scripted.asked() == [SECOND]


def test_another_tenants_item_and_an_unreadable_one_change_nothing(scripted: ScriptedGraph) -> None:
    scripted.act(FIRST, tenantId="c7d1e2f3-0a0b-4c0d-8e0f-0000000000ff")
    scripted.handler.handle(lifecycle_items("no object", 1, {}))
    assert scripted.asked() == []


def test_the_account_distinguishes_refused_items_from_handled_ones(scripted: ScriptedGraph) -> None:
    malformed, served = lifecycle(subscriptionId="x"), lifecycle(subscriptionId=FIRST)
    scripted.messages.handle([lifecycle_items("no object", malformed, served)])
    scripted.account.flush()
    [hour] = scripted.account.hours().values()
    assert (hour.outcomes["refused"], hour.outcomes["acted_upon"]) == (2, 1)


def test_where_there_are_many_a_removed_subscription_is_asked_for_by_its_id_alone(
    authority: Authority, session: requests.Session
) -> None:
    """Listing ten thousand takes longer than an invocation may last."""
    others = [declaration(f"/users/{number}/messages") for number in range(LISTED_AT_ONCE)]
    with serving(lambda _: FRESH, authority) as graph:
        scripted = ScriptedGraph(graph, session, *others)
        scripted.act(FIRST, lifecycleEvent="subscriptionRemoved")
        assert scripted.asked() == [FIRST]  # it lives, after all
        scripted.clock.advance(minutes=11)
        scripted.answers[FIRST] = ScriptedResponse(404)
        scripted.act(FIRST, received=scripted.clock.now, lifecycleEvent="subscriptionRemoved")
        assert (scripted.methods(), scripted.asked()) == (["GET", "POST"], [FIRST, "subscriptions"])
        assert scripted.gap_suspected()
