"""One run of the timer over two tenants, with a scripted Graph: a failure does not affect the rest."""

import json
import shutil
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest
import requests

from graph_simulator.authority import Authority
from local.host import metrics
from notify_http.receive import receive
from renew_timer.run import RenewalRun, run_time
from shared.configuration.declaration import Declaration, declaration_id
from shared.configuration.settings import Settings
from shared.delivery.event import Event
from shared.errors import Reason, RetryLater
from shared.relay import Relay
from shared.storage.queues import Queue
from shared.storage.state import STATE
from shared.subscriptions.results import ListingFailed, Reconciled
from shared.subscriptions.wait_budget import WaitBudget
from tests.builders import OTHER_TENANT, RESOURCE, TENANT, Clock, body, change, declaration, environment, minted, raw
from tests.in_process import HANGS, InProcess
from tests.memory import MemoryAccount
from tests.servers import RecordedRequest, ScriptedResponse, in_json, serving
from tests.stand_ins.entra import entra

OURS = declaration()
THEIRS = declaration(tenant=OTHER_TENANT)
FORBIDDEN = in_json({"error": {"code": "Forbidden", "message": "no consent"}}, 403)
HOUR = timedelta(hours=1)
RUN_TIME = run_time(timedelta(minutes=5))


class ScriptedTenants:
    """Graph with the subscriptions of two tenants, Entra ID, the app's endpoint, and the app between them."""

    def __init__(self, url: str, session: requests.Session, keys: Path) -> None:
        self.clock = Clock()
        self.held: dict[str, dict[str, dict[str, Any]]] = {TENANT: {}, OTHER_TENANT: {}}
        self.answers: dict[tuple[str, str], ScriptedResponse] = {}  # replaces Graph's answer, by method and tenant
        self.done: list[str] = []
        self.keys = keys
        self.account = MemoryAccount()
        self.refuses_login = False
        self._url = url
        self._session = session
        self._secret = environment()["CLIENT_STATE_SECRET"]
        self.declare(OURS, THEIRS)

    def declare(self, *declarations: Declaration, **settings: str) -> None:
        """Start the app again, with other declarations."""
        environ = environment(
            CLIENT_STATE_SECRET=self._secret,
            SUBSCRIPTIONS=msgspec.json.encode(declarations).decode(),
            KEY_STORE=f"file:{self.keys}",
            GRAPH_BASE_URL=self._url,
            LOGIN_BASE_URL=self._url,
            NOTIFICATION_URL=f"{self._url}/api/notifications",
            SWEEP_INTERVAL_HOURS="0",
            **settings,
        )
        self._settings = Settings.from_environment(environ)
        self.start()

    def start(self) -> None:
        """Start the app again."""
        storage = self.account.clients()
        self.relay = Relay(self._settings, storage, clock=self.clock, session=self._session, random=Random(1))

    def run(self) -> None:
        RenewalRun(self.relay, WaitBudget.none())()

    def answer(self, request: RecordedRequest) -> ScriptedResponse:
        """Answer like Graph, and record the request."""
        if request.path.startswith("/api/notifications"):
            self.done.append("probe")
            return handshake_echo(request)
        return entra(request, self._url, refuses=self.refuses_login) or self._graph(request)

    def _graph(self, request: RecordedRequest) -> ScriptedResponse:
        tenant = request.headers["authorization"].split()[1]
        self.done.append(f"{request.method} {'ours' if tenant == TENANT else 'theirs'}")
        if request.path.startswith("/v1.0/applications"):
            return self.answers.get(("application", tenant), FORBIDDEN)
        if (request.method, tenant) in self.answers:
            return self.answers[request.method, tenant]
        held, name = self.held[tenant], request.path.rpartition("/")[2]
        if request.method == "GET":
            shown = {"value": list(held.values())} if name == "subscriptions" else held.get(name)
            return in_json(shown) if shown is not None else ScriptedResponse(404)
        if request.method == "POST":
            self.done.append(f"suspected: {sorted(self.suspected())}")
            made = json.loads(request.body) | {"id": f"{tenant}-{len(self.done)}"}
            held[made["id"]] = made
            return in_json(made, 201)
        if request.method == "DELETE":
            del held[name]
            return ScriptedResponse(204)
        held[name] |= json.loads(request.body)
        return in_json(held[name])

    def suspected(self) -> set[str]:
        """The tenants whose gap is, or was, suspected."""
        names = {str(row["RowKey"]) for row in self.relay.storage.tables.partition(STATE, "gaps")}
        return {tenant for tenant in (TENANT, OTHER_TENANT) if declaration_id(tenant, RESOURCE) in names}

    def due(self) -> set[str]:
        known = self.relay.checkpoints.all()
        names = {name for name, checkpoint in known.items() if checkpoint.due}
        return {tenant for tenant in (TENANT, OTHER_TENANT) if declaration_id(tenant, RESOURCE) in names}

    def is_read_back(self, tenant: str) -> bool:
        """Whether a comparison with Graph was started in a tenant."""
        return any(tenant in queued.text for queued in self.relay.storage.queues.peek(Queue.NOTIFICATIONS))

    def live(self) -> dict[str, int]:
        return {tenant: len(held) for tenant, held in self.held.items()}


def handshake_echo(request: RecordedRequest) -> ScriptedResponse:
    token = parse_qs(urlsplit(request.path).query)["validationToken"][0]
    return ScriptedResponse(200, token.encode(), {"Content-Type": "text/plain"})


def runs() -> int:
    """Return how many runs this process has counted so far."""
    metrics.reader()
    return sum(point["value"] for point in metrics.current() if point["name"] == "graph_relay.timer_runs")


@pytest.fixture
def tenants(authority: Authority, session: requests.Session, tmp_path: Path) -> Iterator[ScriptedTenants]:
    with serving(lambda _: ScriptedResponse(500), authority) as graph:
        tenants = ScriptedTenants(graph.url, session, tmp_path / "keys")
        graph.script = tenants.answer
        yield tenants


def test_a_run_checks_our_endpoint_once_before_it_creates_subscriptions(tenants: ScriptedTenants) -> None:
    tenants.run()
    assert tenants.done == [
        "GET ours",
        "probe",
        "POST ours",
        f"suspected: {[TENANT]}",
        "GET theirs",
        "POST theirs",
        f"suspected: {[TENANT, OTHER_TENANT]}",
        "GET ours",  # the app's credentials
    ]


def test_a_run_is_counted_once_it_has_come_to_its_end(tenants: ScriptedTenants) -> None:
    before = runs()
    tenants.run()
    assert runs() == before + 1


def test_a_second_run_only_looks(tenants: ScriptedTenants) -> None:
    tenants.run()
    tenants.done.clear()
    tenants.run()
    assert tenants.done == ["GET ours", "GET theirs"]
    assert tenants.live() == {TENANT: 1, OTHER_TENANT: 1}


@pytest.mark.parametrize("failing", [TENANT, OTHER_TENANT])
@pytest.mark.parametrize(
    ("answer", "suspected"),
    [(FORBIDDEN, True), (ScriptedResponse(503), False), (ScriptedResponse(429), False), (ScriptedResponse(200), False)],
)
def test_a_tenant_that_cannot_be_listed_affects_no_other(
    tenants: ScriptedTenants, failing: str, answer: ScriptedResponse, suspected: bool, caplog: pytest.LogCaptureFixture
) -> None:
    other = ({TENANT, OTHER_TENANT} - {failing}).pop()
    tenants.answers["GET", failing] = answer
    tenants.run()
    assert tenants.live() == {failing: 0, other: 1}
    assert tenants.suspected() == ({failing, other} if suspected else {other})
    assert f"The subscriptions of tenant {failing} are left as they are" in caplog.text
    assert f"Tenant {other}" not in caplog.text
    del tenants.answers["GET", failing]
    tenants.clock.advance(minutes=5)
    tenants.run()
    assert tenants.live() == {failing: 1, other: 1}


@pytest.mark.parametrize("answer", [FORBIDDEN, ScriptedResponse(503), in_json({})])
def test_a_subscription_that_cannot_be_created_affects_no_other_and_its_gap_waits(
    tenants: ScriptedTenants, answer: ScriptedResponse
) -> None:
    tenants.run()
    tenants.held[TENANT].clear()
    tenants.answers["POST", TENANT] = answer
    tenants.clock.advance(minutes=5)
    tenants.run()
    assert tenants.live() == {TENANT: 0, OTHER_TENANT: 1}
    assert TENANT in tenants.due()
    assert not tenants.is_read_back(TENANT)
    del tenants.answers["POST", TENANT]
    tenants.clock.advance(minutes=5)
    tenants.run()
    assert tenants.live() == {TENANT: 1, OTHER_TENANT: 1}
    assert tenants.is_read_back(TENANT)


def test_no_key_is_retired_while_a_tenant_cannot_be_listed(tenants: ScriptedTenants) -> None:
    tenants.run()
    (old,) = tenants.keys.glob("*.pem")
    tenants.answers["GET", OTHER_TENANT] = ScriptedResponse(503)
    for _ in range(5):
        tenants.clock.advance(days=89)
        tenants.run()
    assert old.exists()
    del tenants.answers["GET", OTHER_TENANT]
    for _ in range(2):
        tenants.clock.advance(days=15)
        tenants.run()
    assert not old.exists()


def test_a_tenant_that_has_withdrawn_its_consent_keeps_no_key_for_good(tenants: ScriptedTenants) -> None:
    tenants.run()
    (old,) = tenants.keys.glob("*.pem")
    tenants.clock.advance(days=91)
    tenants.answers["GET", OTHER_TENANT] = FORBIDDEN
    tenants.run()  # a new key, and the other tenant may still use the old one
    tenants.clock.advance(days=2)
    tenants.run()
    assert old.exists()
    for _ in range(3):
        tenants.account.queues.take()  # waiting messages may need a key for longer
        tenants.clock.advance(days=5)
        tenants.run()
    assert not old.exists()


def test_undeclared_subscriptions_are_removed_in_every_tenant(tenants: ScriptedTenants) -> None:
    tenants.run()
    tenants.declare()
    tenants.run()
    assert tenants.live() == {TENANT: 0, OTHER_TENANT: 0}
    tenants.done.clear()
    tenants.run()
    assert tenants.done == ["GET ours"]  # nothing is left to do in the other tenant


def test_a_former_tenant_that_is_unavailable_is_tried_again_and_delays_nothing(
    tenants: ScriptedTenants,
) -> None:
    tenants.run()
    tenants.declare(OURS)
    tenants.answers["GET", OTHER_TENANT] = FORBIDDEN
    tenants.run()
    assert tenants.live() == {TENANT: 1, OTHER_TENANT: 1}
    assert tenants.suspected() == {TENANT, OTHER_TENANT}  # from the first run
    del tenants.answers["GET", OTHER_TENANT]
    tenants.run()
    assert tenants.live() == {TENANT: 1, OTHER_TENANT: 0}


def test_a_tenant_is_forgotten_once_its_subscriptions_must_have_expired(tenants: ScriptedTenants) -> None:
    tenants.run()
    tenants.declare(OURS)
    tenants.answers["GET", OTHER_TENANT] = FORBIDDEN
    tenants.clock.advance(days=32)
    tenants.done.clear()
    tenants.run()
    assert "GET theirs" not in tenants.done


def test_a_failed_step_does_not_affect_later_steps(tenants: ScriptedTenants, caplog: pytest.LogCaptureFixture) -> None:
    old = Event("e", "/s", "s", "t", tenants.clock.now - timedelta(days=120), "v", raw({}))
    tenants.relay.ledgers[0].record([old])
    tenants.clock.advance(days=8)
    tenants.answers["application", TENANT] = ScriptedResponse(503)
    tenants.run()
    assert "Checking the app's credentials failed" in caplog.text
    assert tenants.relay.ledgers[0].undelivered([old]) == [old]  # forgotten, though that step comes after it


def test_what_the_host_has_given_up_is_kept(tenants: ScriptedTenants) -> None:
    tenants.account.queues.enqueue("given up", Queue.POISON, tenants.clock.now + timedelta(days=7))
    tenants.run()
    (queued,) = tenants.relay.storage.queues.peek(Queue.POISON)
    assert (queued.text, queued.never_expires) == ("given up", True)


def test_without_keys_subscriptions_are_renewed_and_none_is_created_or_removed(tenants: ScriptedTenants) -> None:
    tenants.run()
    tenants.declare(OURS, THEIRS, declaration("/teams/getAllMessages"))
    away = tenants.keys.rename(tenants.keys.with_name("away"))
    tenants.keys.touch()
    tenants.clock.advance(hours=60)
    tenants.done.clear()
    tenants.run()
    assert [call for call in tenants.done if call.startswith(("P", "D"))] == ["PATCH ours", "PATCH theirs"]
    assert {
        subscription["encryptionCertificateId"] for held in tenants.held.values() for subscription in held.values()
    } == {path.stem for path in away.glob("*.pem")}
    tenants.keys.unlink()
    away.rename(tenants.keys)
    tenants.run()
    assert tenants.live() == {TENANT: 2, OTHER_TENANT: 1}


def test_unavailable_tables_do_not_prevent_renewals(tenants: ScriptedTenants) -> None:
    tenants.run()
    tenants.clock.advance(hours=60)
    tenants.done.clear()
    tenants.account.tables.available = False
    tenants.start()
    tenants.run()
    assert [call for call in tenants.done if call.startswith("P")] == ["PATCH ours", "PATCH theirs"]


def test_without_queues_nothing_is_done(tenants: ScriptedTenants) -> None:
    before = runs()
    tenants.account.queues.available = False
    with pytest.raises(RetryLater) as away:
        tenants.run()
    assert away.value.reason is Reason.STORAGE
    assert (tenants.done, list(tenants.keys.parent.glob("keys/*")), runs()) == ([], [], before)


@pytest.mark.parametrize("odd", ["2031-02-03T04:05:06", "soon", None])
def test_a_malformed_date_does_not_affect_other_subscriptions_or_tenants(
    tenants: ScriptedTenants, odd: str | None
) -> None:
    tenants.run()
    (held,) = tenants.held[TENANT].values()
    tenants.held[TENANT]["odd"] = held | {"id": "odd", "resource": "/users", "expirationDateTime": odd}
    tenants.clock.advance(hours=60)
    tenants.done.clear()
    tenants.run()
    assert [call for call in tenants.done if call.startswith("PATCH")] == ["PATCH ours", "PATCH theirs"]


def test_an_unexpected_error_in_one_tenant_does_not_affect_the_others(
    tenants: ScriptedTenants, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(declarations: Sequence[Declaration]) -> None:
        if declarations[0].tenant_id == TENANT:
            raise ValueError("unforeseen")

    desired = tenants.relay.desired_state(tenants.relay.keys.current())
    results = {tenant: result for tenant, _, result in tenants.relay.reconciler.every_tenant(
        desired, fails, WaitBudget.none())}  # fmt: skip
    assert isinstance(results[TENANT], ListingFailed)
    assert isinstance(results[OTHER_TENANT], Reconciled)
    assert tenants.live() == {TENANT: 0, OTHER_TENANT: 1}
    assert "ValueError: unforeseen" in caplog.text


def test_what_the_identity_may_do_is_tried_and_gauged(
    tenants: ScriptedTenants, caplog: pytest.LogCaptureFixture
) -> None:
    metrics.reader()

    def may() -> dict[str, float]:
        points = [point for point in metrics.current() if point["name"] == "graph_relay.access"]
        return {point["attributes"]["target"]: point["value"] for point in points}

    tenants.run()
    assert may() == {"queue": 1, "blobs": 1, "tables": 1, "keys": 1}
    tenants.account.tables.available = False
    shutil.rmtree(tenants.keys)
    tenants.keys.write_text("a file where the directory was")
    tenants.run()
    assert may() == {"queue": 1, "blobs": 1, "tables": 0, "keys": 0}
    assert "The app can't access the tables: storage" in caplog.text


def test_a_schedule_that_lets_a_subscription_expire_is_logged_with_the_remedy(
    tenants: ScriptedTenants, caplog: pytest.LogCaptureFixture
) -> None:
    tenants.declare(declaration("/unheard/of", rich=False), RENEW_SCHEDULE="0 0 * * * *")
    tenants.run()
    assert "RENEW_SCHEDULE: renew_timer runs up to 60 minutes apart" in caplog.text


def test_a_missing_subscription_has_no_time_left_in_the_metric(
    tenants: ScriptedTenants,
) -> None:
    metrics.reader()
    tenants.run()
    tenants.held[OTHER_TENANT].clear()
    tenants.answers["POST", OTHER_TENANT] = FORBIDDEN
    tenants.clock.advance(hours=1)
    tenants.run()
    left = {
        point["attributes"]["tenant"]: point["value"]
        for point in metrics.current()
        if point["name"] == "graph_relay.subscription_seconds_left" and point["attributes"]["resource"] == RESOURCE
    }
    assert left[TENANT] > 60 * 3600
    assert left[OTHER_TENANT] == 0


def test_a_login_that_is_refused_leaves_a_gap_to_be_read_back(tenants: ScriptedTenants) -> None:
    for _ in range(2):
        tenants.run()
        tenants.clock.advance(minutes=5)
    before = tenants.due()
    tenants.refuses_login = True
    tenants.start()  # a new process has no token yet
    tenants.run()
    assert (before, tenants.due()) == (set(), {TENANT, OTHER_TENANT})


def test_while_graph_hangs_a_run_comes_to_its_end(
    session: requests.Session, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A hundred subscriptions to create: later steps, the heartbeat among them, wait for few of them."""
    tenants = ScriptedTenants("https://graph.example", session, tmp_path / "keys")
    many = [declaration(f"/chats/{number}/messages") for number in range(100)]
    tenants.declare(*many)

    def answer(request: RecordedRequest) -> ScriptedResponse:
        return HANGS if request.method == "POST" and request.path == "/v1.0/subscriptions" else tenants.answer(request)

    slow = InProcess(answer, tenants.clock)
    session.mount("https://graph.example", slow)
    before = runs()
    began = tenants.clock.now
    tenants.run()
    assert [request.method for request in slow.asked if request.path == "/v1.0/subscriptions"] == ["GET", "POST"]
    assert tenants.clock.now - began < RUN_TIME
    assert runs() == before + 1
    assert "99 subscriptions in tenant" in caplog.text


def test_a_run_ends_in_time_though_graph_answers_slowly(session: requests.Session, tmp_path: Path) -> None:
    tenants = ScriptedTenants("https://graph.example", session, tmp_path / "keys")
    tenants.declare(*[declaration(f"/chats/{number}/messages") for number in range(100)])
    slow = InProcess(tenants.answer, tenants.clock)
    slow.takes = 9
    session.mount("https://graph.example", slow)
    began = tenants.clock.now
    tenants.run()
    assert tenants.clock.now - began < RUN_TIME + timedelta(seconds=15)
    for _ in range(5):
        tenants.run()
    assert tenants.live()[TENANT] == 100


def test_time_for_lists_of_members_is_taken_from_that_for_subscriptions(
    session: requests.Session, tmp_path: Path
) -> None:
    """Lists use up a minute. The rest is for 100 creations, and the run still ends in its time."""
    tenants = ScriptedTenants("https://graph.example", session, tmp_path / "keys")
    members = msgspec.structs.replace(OURS, resource="/users/{id}/messages", for_each=("/groups/1/members",))
    tenants.declare(members, *[declaration(f"/chats/{number}/messages") for number in range(100)])

    def answer(request: RecordedRequest) -> ScriptedResponse:
        slow.takes = 60 if request.path.startswith("/v1.0/groups") else 9
        return tenants.answer(request)

    slow = InProcess(answer, tenants.clock)
    session.mount("https://graph.example", slow)
    began = tenants.clock.now
    tenants.run()
    assert tenants.clock.now - began < RUN_TIME


def test_what_was_queued_and_never_handled_is_read_back_at_once(
    tenants: ScriptedTenants, caplog: pytest.LogCaptureFixture
) -> None:
    """The host deleted a message and called no function (azure-functions-host#11879)."""
    metrics.reader()
    tenants.run()
    tenants.clock.advance(minutes=5)
    tenants.run()
    tenants.account.queues.take()
    ours = change(clientState=minted(TENANT, RESOURCE, tenants.relay.settings.client_state_secrets[0]))
    answer = receive(
        body(ours), tenants.relay.recipient, tenants.relay.acknowledging, tenants.clock(), None, tenants.relay.account
    )
    assert answer.status == 202
    tenants.account.queues.take()  # settled
    tenants.clock.advance(hours=2)
    tenants.run()
    assert "1 of 2031-02-03 04:00 UTC" in caplog.text
    assert tenants.is_read_back(TENANT)
    assert not tenants.is_read_back(OTHER_TENANT)
    assert unaccounted() == 1
    tenants.run()
    assert unaccounted() == 0
    assert caplog.text.count("never handled") == 1


def unaccounted() -> float:
    metrics.reader()
    return sum(float(point["value"]) for point in metrics.current() if point["name"] == "graph_relay.unaccounted")
