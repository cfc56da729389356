"""One tenant's subscriptions at a scripted Graph: what fails costs the others nothing, and nothing is made twice.

The whole, at the simulator, is shown in tests/life.
"""

import random
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import requests

from graph_simulator.authority import Authority
from shared.configuration.declaration import Declaration
from shared.errors import Reason, RetryLater
from shared.graph.client import GraphClient
from shared.messages.retry import WaitBudget
from shared.subscriptions.plan import Action, DesiredState, Subscriptions
from shared.subscriptions.reconcile import Reconciled, reconcile
from tests.builders import (
    NOTIFICATION_URL,
    NOW,
    TENANT,
    Clock,
    client_state_secret,
    declaration,
    encryption_key,
    minted,
)
from tests.servers import Answer, Asked, Server, in_json, serving
from tests.shared.graph.test_client import Bearer

LIVES, MISSING = declaration("/users", rich=False), declaration("/groups", rich=False)
OURS = DesiredState(NOTIFICATION_URL, client_state_secret(), encryption_key())
BUSY = Answer(503, headers={"Retry-After": "1"})
THROTTLED = Answer(429, headers={"Retry-After": "1"})


def held(one: Declaration) -> dict[str, Any]:
    """A subscription as Graph tells of it, soon to expire."""
    return {
        "id": "3f1c0a52-7a3e-4d0e-9f0e-0c6a4f2d9b11",
        "resource": one.resource,
        "changeType": ",".join(one.change_types),
        "clientState": minted(TENANT, one.resource, client_state_secret()),
        "notificationUrl": OURS.marked_url,
        "lifecycleNotificationUrl": OURS.marked_url,
        "expirationDateTime": (NOW + timedelta(minutes=5)).isoformat(),
    }


class World:
    """Graph, with what it answers to each method in turn."""

    def __init__(self, graph: Server, session: requests.Session) -> None:
        self.clock = Clock(NOW)
        self.answers: dict[str, list[Answer]] = {"GET": [in_json({"value": [held(LIVES)]})]}
        self._graph = graph
        graph.script = self._answer
        client = GraphClient(graph.url, Bearer(), session, self.clock)
        self._subscriptions = Subscriptions(client, self.clock, random.Random(1).randbytes)

    def reconcile(self, before_gap: Any = lambda _: None) -> Reconciled:
        wait_budget = WaitBudget(timedelta(minutes=3), lambda wait: self.clock.advance(seconds=wait.total_seconds()))
        return reconcile(TENANT, [LIVES, MISSING], OURS, self._subscriptions, before_gap, self.clock, wait_budget)

    def asked(self) -> list[str]:
        return [one.method for one in self._graph.asked]

    def _answer(self, asked: Asked) -> Answer:
        left = self.answers.get(asked.method, [])
        fresh = {**held(MISSING if asked.method == "POST" else LIVES), "expirationDateTime": "2033-01-01T00:00:00Z"}
        return left.pop(0) if left else in_json(fresh)


@pytest.fixture
def world(authority: Authority, session: requests.Session) -> Iterator[World]:
    with serving(lambda _: Answer(), authority) as graph:
        yield World(graph, session)


def outcomes(reconciled: Reconciled) -> list[tuple[Action, bool]]:
    return sorted((one.step.action, one.error is None) for one in reconciled.outcomes)


def test_where_a_gap_can_not_be_noted_nothing_is_made_and_the_others_are_renewed(world: World) -> None:
    """What is made before its gap is noted would leave it unread."""

    def away(_: Declaration) -> None:
        raise RetryLater(Reason.STORAGE)

    reconciled = world.reconcile(away)
    assert outcomes(reconciled) == [(Action.CREATE, False), (Action.RENEW, True)]
    assert world.asked() == ["GET", "PATCH"]
    assert len(reconciled.failing) == 1


def test_what_may_have_been_made_is_not_made_again_before_it_was_listed(world: World) -> None:
    world.answers["POST"] = [BUSY]
    assert outcomes(world.reconcile()) == [(Action.CREATE, False), (Action.RENEW, True)]
    assert world.asked().count("POST") == 1


def test_what_was_throttled_is_made_in_the_same_run(world: World) -> None:
    world.answers["POST"] = [THROTTLED]
    assert outcomes(world.reconcile()) == [(Action.CREATE, True), (Action.RENEW, True)]


def test_a_renewal_is_repeated_after_the_time_that_graph_asks_for(world: World) -> None:
    world.answers["PATCH"] = [BUSY, THROTTLED]
    assert outcomes(world.reconcile()) == [(Action.CREATE, True), (Action.RENEW, True)]
    assert world.clock() >= NOW + timedelta(seconds=2)
