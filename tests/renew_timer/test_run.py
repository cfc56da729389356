"""One run of the timer over two tenants, at a scripted Graph: what fails costs the rest nothing."""

import json
import random
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from azure.storage.queue import QueueClient

from graph_simulator.authority import Authority
from local.host import metrics
from renew_timer.run import Run, run
from shared.configuration.declaration import Declaration
from shared.configuration.settings import StorageSettings
from shared.delivery.event import Event
from shared.delivery.ledger import KEPT, Ledger
from shared.errors import Reason, RetryLater
from shared.graph.client import GraphClient
from shared.graph.client_state import declaration_id
from shared.graph.credential_expiry import CredentialExpiry
from shared.keys.directory import KeyDirectory
from shared.keys.ring import KeyRing
from shared.keys.rotation import Rotation
from shared.messages.retry import WaitBudget
from shared.readback import checkpoints
from shared.readback.sweep import Sweep
from shared.storage.queues import BACKGROUND_LIMITS, Queue, Storage
from shared.storage.tables import Tables
from shared.subscriptions.plan import DesiredState, Subscriptions
from shared.subscriptions.silence import Silence
from tests.builders import (
    CLIENT_ID,
    NOTIFICATION_URL,
    OTHER_TENANT,
    RESOURCE,
    TENANT,
    Clock,
    client_state_secret,
    declaration,
    raw,
)
from tests.rerouted import refuses, rerouted
from tests.servers import Answer, Asked, in_json, serving
from tests.shared.graph.test_client import Bearer

OURS = declaration()
THEIRS = declaration(tenant=OTHER_TENANT)
FORBIDDEN = in_json({"error": {"code": "Forbidden", "message": "no consent"}}, 403)
HOUR = timedelta(hours=1)


class Refusing(Bearer):
    """Entra ID, which may know the app no more."""

    def __init__(self, world: "World") -> None:
        super().__init__()
        self._world = world

    def token(self, tenant_id: str, scope: str) -> str:
        if self._world.refuses_login:
            raise RetryLater(Reason.LOGIN, "AADSTS700016")
        return super().token(tenant_id, scope)


class World:
    """Graph with the subscriptions of two tenants, and what a run needs."""

    def __init__(self, url: str, storage_settings: StorageSettings, session: requests.Session, keys: Path) -> None:
        self.clock = Clock()
        self.declarations: tuple[Declaration, ...] = (OURS, THEIRS)
        self.held: dict[str, dict[str, dict[str, Any]]] = {TENANT: {}, OTHER_TENANT: {}}
        self.answers: dict[tuple[str, str], Answer] = {}  # instead of what Graph would say: by method and tenant
        self.done: list[str] = []
        self.keys = keys
        self.tables = Tables(storage_settings)
        self.storage = Storage(storage_settings, BACKGROUND_LIMITS)
        self.refuses_login = False
        self._graph = GraphClient(url, Refusing(self), session, self.clock)
        self.expiry = CredentialExpiry(self._graph, TENANT, CLIENT_ID)

    def run(self) -> None:
        ring = KeyRing(KeyDirectory(self.keys), self.clock)
        run(
            Run(
                tenant_id=TENANT,
                declarations=self.declarations,
                desired=lambda key: DesiredState(NOTIFICATION_URL, client_state_secret(), key),
                subscriptions=Subscriptions(self._graph, self.clock, random.Random(1).randbytes),
                rotation=Rotation(ring, self.tables, timedelta(days=90), 72 * HOUR, 72 * HOUR),
                sweep=Sweep(self.tables, self.storage, timedelta(0)),
                silence=Silence(self.tables),
                ledger=Ledger(self.tables),
                storage=self.storage,
                credential_expiry=self.expiry,
                probe=self._probe,
                clock=self.clock,
                wait_budget=WaitBudget.none(),
            )
        )

    def answer(self, asked: Asked) -> Answer:
        """Do as Graph does, and note it."""
        tenant = asked.headers["authorization"].split()[1]
        self.done.append(f"{asked.method} {'ours' if tenant == TENANT else 'theirs'}")
        if asked.path.startswith("/v1.0/applications"):
            return self.answers.get(("application", tenant), FORBIDDEN)
        if (asked.method, tenant) in self.answers:
            return self.answers[asked.method, tenant]
        held = self.held[tenant]
        if asked.method == "GET":
            return in_json({"value": list(held.values())})
        if asked.method == "POST":
            self.done.append(f"suspected: {sorted(self.suspected())}")
            made = json.loads(asked.body) | {"id": f"{tenant}-{len(self.done)}"}
            held[made["id"]] = made
            return in_json(made, 201)
        name = asked.path.rpartition("/")[2]
        if asked.method == "DELETE":
            del held[name]
            return Answer(204)
        held[name] |= json.loads(asked.body)
        return in_json(held[name])

    def suspected(self) -> set[str]:
        """The tenants of which a gap is suspected, or was."""
        rows = self.tables.find("state", "PartitionKey eq @p", {"p": "gaps"})
        names = {str(row["RowKey"]) for row in rows}
        return {tenant for tenant in (TENANT, OTHER_TENANT) if declaration_id(tenant, RESOURCE) in names}

    def due(self) -> set[str]:
        known = checkpoints.load_all(self.tables)
        names = {name for name, one in known.items() if one.due}
        return {tenant for tenant in (TENANT, OTHER_TENANT) if declaration_id(tenant, RESOURCE) in names}

    def is_read_back(self, tenant: str) -> bool:
        """Whether a comparison with Graph was started in a tenant."""
        return any(tenant in queued.text for queued in self.storage.peek(Queue.NOTIFICATIONS))

    def live(self) -> dict[str, int]:
        return {tenant: len(held) for tenant, held in self.held.items()}

    def _probe(self) -> str | None:
        self.done.append("probe")
        return None


def runs() -> int:
    """How many runs were counted so far in this process."""
    metrics.reader()
    return sum(point["value"] for point in metrics.current() if point["name"] == "graph_relay.timer_runs")


@pytest.fixture
def world(
    authority: Authority, session: requests.Session, storage_settings: StorageSettings, tmp_path: Path
) -> Iterator[World]:
    with serving(lambda _: Answer(500), authority) as graph:
        world = World(graph.url, storage_settings, session, tmp_path / "keys")
        graph.script = world.answer
        yield world


def test_each_tenant_is_looked_at_and_our_endpoint_once_before_graph_is_asked_to(world: World) -> None:
    world.run()
    assert world.done == [
        "GET ours",
        "probe",
        "POST ours",
        f"suspected: {[TENANT]}",
        "GET theirs",
        "POST theirs",
        f"suspected: {[TENANT, OTHER_TENANT]}",
        "GET ours",  # the app's credentials
    ]


def test_a_run_is_counted_once_it_has_come_to_its_end(world: World) -> None:
    before = runs()
    world.run()
    assert runs() == before + 1


def test_a_second_run_only_looks(world: World) -> None:
    world.run()
    world.done.clear()
    world.run()
    assert world.done == ["GET ours", "GET theirs"]
    assert world.live() == {TENANT: 1, OTHER_TENANT: 1}


@pytest.mark.parametrize("failing", [TENANT, OTHER_TENANT])
@pytest.mark.parametrize(
    ("answer", "suspected"), [(FORBIDDEN, True), (Answer(503), False), (Answer(429), False), (Answer(200), False)]
)
def test_a_tenant_that_can_not_be_listed_costs_the_others_nothing(
    world: World, failing: str, answer: Answer, suspected: bool, caplog: pytest.LogCaptureFixture
) -> None:
    other = ({TENANT, OTHER_TENANT} - {failing}).pop()
    world.answers["GET", failing] = answer
    world.run()
    assert world.live() == {failing: 0, other: 1}
    assert world.suspected() == ({failing, other} if suspected else {other})
    assert f"Tenant {failing} is left as it is" in caplog.text
    assert f"Tenant {other}" not in caplog.text
    del world.answers["GET", failing]
    world.clock.advance(minutes=5)
    world.run()
    assert world.live() == {failing: 1, other: 1}


@pytest.mark.parametrize("answer", [FORBIDDEN, Answer(503), in_json({})])
def test_a_subscription_that_can_not_be_made_costs_the_others_nothing_and_its_gap_waits(
    world: World, answer: Answer
) -> None:
    world.run()
    world.held[TENANT].clear()
    world.answers["POST", TENANT] = answer
    world.clock.advance(minutes=5)
    world.run()
    assert world.live() == {TENANT: 0, OTHER_TENANT: 1}
    assert TENANT in world.due()
    assert not world.is_read_back(TENANT)
    del world.answers["POST", TENANT]
    world.clock.advance(minutes=5)
    world.run()
    assert world.live() == {TENANT: 1, OTHER_TENANT: 1}
    assert world.is_read_back(TENANT)


def test_no_key_is_retired_while_a_tenant_can_not_be_listed(world: World) -> None:
    world.run()
    (old,) = world.keys.glob("*.pem")
    world.answers["GET", OTHER_TENANT] = Answer(503)
    for _ in range(5):
        world.clock.advance(days=89)
        world.run()
    assert old.exists()
    del world.answers["GET", OTHER_TENANT]
    for _ in range(2):
        world.clock.advance(days=10)
        world.run()
    assert not old.exists()


def test_what_is_declared_no_more_is_removed_in_every_tenant_even_if_it_was_the_last(world: World) -> None:
    world.run()
    world.declarations = ()
    world.run()
    assert world.live() == {TENANT: 0, OTHER_TENANT: 0}
    world.done.clear()
    world.run()
    assert world.done == ["GET ours"]  # nothing is left to look after in the other


def test_a_tenant_declared_no_more_that_is_away_is_tried_again_and_keeps_nothing_waiting(world: World) -> None:
    world.run()
    world.declarations = (OURS,)
    world.answers["GET", OTHER_TENANT] = FORBIDDEN
    world.run()
    assert world.live() == {TENANT: 1, OTHER_TENANT: 1}
    assert world.suspected() == {TENANT, OTHER_TENANT}  # from the first run
    del world.answers["GET", OTHER_TENANT]
    world.run()
    assert world.live() == {TENANT: 1, OTHER_TENANT: 0}


def test_a_tenant_is_forgotten_once_its_subscriptions_must_have_expired(world: World) -> None:
    world.run()
    world.declarations = (OURS,)
    world.answers["GET", OTHER_TENANT] = FORBIDDEN
    world.clock.advance(days=32)
    world.done.clear()
    world.run()
    assert "GET theirs" not in world.done


def test_a_step_that_fails_costs_the_steps_after_it_nothing(
    world: World, storage_settings: StorageSettings, caplog: pytest.LogCaptureFixture
) -> None:
    old = Event("e", "/s", "s", "t", world.clock.now - 2 * KEPT, "v", raw({}))
    Ledger(world.tables).record([old])
    world.answers["application", TENANT] = Answer(503)
    world.run()
    assert "The look at the app's credentials did not come to an end" in caplog.text
    assert Ledger(world.tables).missing([old]) == [old]  # forgotten, though that comes after it


def test_what_the_host_has_given_up_is_kept_for_ever(world: World, storage_settings: StorageSettings) -> None:
    name = f"{storage_settings.queue}-poison"
    with QueueClient.from_connection_string(storage_settings.connection_string, name) as poison:
        poison.create_queue()
        poison.send_message("given up")
    world.run()
    (queued,) = world.storage.peek(Queue.POISON)
    assert (queued.text, queued.is_kept) == ("given up", True)


def test_without_keys_subscriptions_are_renewed_and_none_is_made_or_removed(world: World) -> None:
    world.run()
    world.declarations = (OURS, THEIRS, declaration("/teams/getAllMessages"))
    away = world.keys.rename(world.keys.with_name("away"))
    world.keys.touch()
    world.clock.advance(hours=60)
    world.done.clear()
    world.run()
    assert [one for one in world.done if one.startswith(("P", "D"))] == ["PATCH ours", "PATCH theirs"]
    assert {one["encryptionCertificateId"] for held in world.held.values() for one in held.values()} == {
        path.stem for path in away.glob("*.pem")
    }
    world.keys.unlink()
    away.rename(world.keys)
    world.run()
    assert world.live() == {TENANT: 2, OTHER_TENANT: 1}


def test_tables_that_are_away_cost_no_subscription_its_life(world: World, storage_settings: StorageSettings) -> None:
    world.run()
    world.clock.advance(hours=60)
    world.done.clear()
    with serving(refuses) as server:
        world.tables = Tables(rerouted(storage_settings, "Table", server.url))
        world.run()
    assert [one for one in world.done if one.startswith("P")] == ["PATCH ours", "PATCH theirs"]


def test_without_queues_nothing_is_done(world: World, storage_settings: StorageSettings) -> None:
    before = runs()
    with serving(refuses) as server:
        world.storage = Storage(rerouted(storage_settings, "Queue", server.url), BACKGROUND_LIMITS)
        with pytest.raises(RetryLater) as away:
            world.run()
    assert away.value.reason is Reason.STORAGE
    assert (world.done, list(world.keys.parent.glob("keys/*")), runs()) == ([], [], before)


def test_each_tenants_subscription_is_gauged_by_itself_and_one_that_is_missing_has_nothing_left(world: World) -> None:
    world.run()
    world.held[OTHER_TENANT].clear()
    world.answers["POST", OTHER_TENANT] = FORBIDDEN
    world.clock.advance(hours=1)
    world.run()
    left = {
        point["attributes"]["tenant"]: point["value"]
        for point in metrics.current()
        if point["name"] == "graph_relay.subscription_seconds_left" and point["attributes"]["resource"] == RESOURCE
    }
    assert left[TENANT] > 60 * 3600
    assert left[OTHER_TENANT] == 0


def test_a_login_that_is_refused_leaves_a_gap_to_be_read_back(world: World) -> None:
    for _ in range(2):
        world.run()
        world.clock.advance(minutes=5)
    before = world.due()
    world.refuses_login = True
    world.run()
    assert (before, world.due()) == (set(), {TENANT, OTHER_TENANT})
