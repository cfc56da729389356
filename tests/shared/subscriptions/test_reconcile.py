"""One tenant's subscriptions at a scripted Graph: a failure affects no other, and nothing is created twice.

tests/life shows the whole, with the simulator.
"""

import random
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any

import pytest
import requests

from graph_simulator.authority import Authority
from shared.configuration.declaration import Declaration, Declarations
from shared.configuration.settings import StorageSettings
from shared.errors import Reason, RetryLater
from shared.graph.client import GraphClient
from shared.subscriptions.client import SubscriptionsClient
from shared.subscriptions.failed_creations import FailedCreations
from shared.subscriptions.former_tenants import FormerTenants
from shared.subscriptions.known import KnownSubscriptions
from shared.subscriptions.reconcile import Reconciler
from shared.subscriptions.results import ListingFailed, Reconciled
from shared.subscriptions.subscription import Action, DesiredState
from shared.subscriptions.wait_budget import WaitBudget
from tests import accounts
from tests.builders import (
    NOTIFICATION_URL,
    NOW,
    OTHER_TENANT,
    TENANT,
    Clock,
    client_state_secret,
    declaration,
    encryption_key,
    minted,
)
from tests.memory import MemoryTables
from tests.rerouted import refuses, rerouted
from tests.servers import RecordedRequest, ScriptedResponse, Server, in_json, serving
from tests.shared.graph.test_client import Bearer

LIVES, MISSING = declaration("/users", rich=False), declaration("/groups", rich=False)
OURS = DesiredState(NOTIFICATION_URL, client_state_secret(), encryption_key())
BUSY = ScriptedResponse(503, headers={"Retry-After": "1"})
THROTTLED = ScriptedResponse(429, headers={"Retry-After": "1"})


def held(declaration: Declaration) -> dict[str, Any]:
    """A subscription as Graph returns it, soon to expire."""
    return {
        "id": "3f1c0a52-7a3e-4d0e-9f0e-0c6a4f2d9b11",
        "resource": declaration.resource,
        "changeType": ",".join(declaration.change_types),
        "clientState": minted(TENANT, declaration.resource, client_state_secret()),
        "notificationUrl": OURS.url_for(declaration),
        "lifecycleNotificationUrl": OURS.url_for(declaration),
        "expirationDateTime": (NOW + timedelta(minutes=5)).isoformat(),
    }


class ScriptedTenant:
    """A Graph with scripted answers to each method, in turn."""

    def __init__(self, graph: Server, session: requests.Session, tenants: FormerTenants) -> None:
        self.clock = Clock(NOW)
        self.answers: dict[str, list[ScriptedResponse]] = {"GET": [in_json({"value": [held(LIVES)]})]}
        self._graph = graph
        self.known = KnownSubscriptions(MemoryTables(), lambda: NOW)
        graph.script = self._answer
        client = GraphClient(graph.url, Bearer(), session, self.clock)
        subscriptions = SubscriptionsClient(client, self.clock, random.Random(1).randbytes, lambda _: None)
        self.reconciler = Reconciler(
            TENANT,
            Declarations([LIVES, MISSING]),
            subscriptions,
            tenants,
            self.known,
            FailedCreations(MemoryTables()),
            self.clock,
        )

    def reconcile(self, before_gap: Any = lambda _: None) -> Reconciled:
        return self.reconciler.tenant(TENANT, OURS, before_gap, self.wait_budget())

    def wait_budget(self) -> WaitBudget:
        return WaitBudget(timedelta(minutes=3), lambda wait: self.clock.advance(seconds=wait.total_seconds()))

    def asked(self) -> list[str]:
        return [request.method for request in self._graph.asked]

    def _answer(self, request: RecordedRequest) -> ScriptedResponse:
        left = self.answers.get(request.method, [])
        fresh = {**held(MISSING if request.method == "POST" else LIVES), "expirationDateTime": "2033-01-01T00:00:00Z"}
        return left.pop(0) if left else in_json(fresh)


@pytest.fixture
def tenants(storage_settings: StorageSettings) -> FormerTenants:
    return FormerTenants(accounts.tables(storage_settings))


@pytest.fixture
def scripted(authority: Authority, session: requests.Session, tenants: FormerTenants) -> Iterator[ScriptedTenant]:
    with serving(lambda _: ScriptedResponse(), authority) as graph:
        yield ScriptedTenant(graph, session, tenants)


def outcomes(reconciled: Reconciled) -> list[tuple[Action, bool]]:
    return sorted((outcome.step.action, outcome.error is None) for outcome in reconciled.outcomes)


def test_no_subscription_is_created_whose_gap_cannot_be_noted(
    scripted: ScriptedTenant,
) -> None:
    """A subscription created before its gap is noted would leave the gap unread."""

    def unavailable(_: Sequence[Declaration]) -> None:
        raise RetryLater(Reason.STORAGE)

    reconciled = scripted.reconcile(unavailable)
    assert outcomes(reconciled) == [(Action.CREATE, False), (Action.RENEW, True)]
    assert scripted.asked() == ["GET", "PATCH"]
    assert len(reconciled.failing) == 1


def test_what_may_have_been_created_is_not_created_again_before_it_was_listed(scripted: ScriptedTenant) -> None:
    scripted.answers["POST"] = [BUSY]
    assert outcomes(scripted.reconcile()) == [(Action.CREATE, False), (Action.RENEW, True)]
    assert scripted.asked().count("POST") == 1


def test_what_was_throttled_is_created_in_the_same_run(scripted: ScriptedTenant) -> None:
    scripted.answers["POST"] = [THROTTLED]
    assert outcomes(scripted.reconcile()) == [(Action.CREATE, True), (Action.RENEW, True)]


def test_a_renewal_is_repeated_after_the_time_that_graph_asks_for(scripted: ScriptedTenant) -> None:
    scripted.answers["PATCH"] = [BUSY, THROTTLED]
    assert outcomes(scripted.reconcile()) == [(Action.CREATE, True), (Action.RENEW, True)]
    assert scripted.clock() >= NOW + timedelta(seconds=2)


def test_a_former_tenant_is_visited_until_it_is_forgotten(scripted: ScriptedTenant, tenants: FormerTenants) -> None:
    tenants.former([OTHER_TENANT], NOW)
    visited = {tenant: list(declared) for tenant, declared in scripted.reconciler.tenants().items()}
    assert visited == {TENANT: [LIVES, MISSING], OTHER_TENANT: []}
    scripted.reconciler.forget(OTHER_TENANT)
    scripted.reconciler.forget(TENANT)  # ours is visited in any case
    assert list(scripted.reconciler.tenants()) == [TENANT]


def test_a_tenant_whose_subscriptions_cannot_be_listed_affects_no_other(
    scripted: ScriptedTenant, tenants: FormerTenants
) -> None:
    tenants.former([OTHER_TENANT], NOW)
    scripted.answers["GET"] = [ScriptedResponse(403), in_json({"value": []})]
    results = {
        tenant: result
        for tenant, _, result in scripted.reconciler.every_tenant(OURS, lambda _: None, scripted.wait_budget())
    }
    assert list(results) == [TENANT, OTHER_TENANT]
    assert isinstance(results[TENANT], ListingFailed)
    other = results[OTHER_TENANT]
    assert isinstance(other, Reconciled)
    assert other.is_clean
    assert other.outcomes == []


def test_declared_tenants_are_visited_while_former_ones_cannot_be_looked_up(
    authority: Authority,
    session: requests.Session,
    storage_settings: StorageSettings,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with serving(refuses) as table, serving(lambda _: ScriptedResponse(), authority) as graph:
        tenants = FormerTenants(accounts.tables(rerouted(storage_settings, "Table", table.url)))
        assert list(ScriptedTenant(graph, session, tenants).reconciler.tenants()) == [TENANT]
    assert "Looking up former tenants failed; the next run retries" in caplog.text
