"""The app and a simulated Graph in one process, on one virtual clock: days of ten thousand subscriptions in a minute.

The app's own modules and the simulator's own rules and limits; between them a call that takes virtual time and no
socket. Calls come one after the other, each taking the time of a call divided by those that the app makes at once.
"""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import httpx
import msgspec
import requests

from graph_simulator.app import GraphFace
from graph_simulator.batch import ApiRequest as GraphCall
from graph_simulator.calls import Calls
from graph_simulator.faults import Faults
from graph_simulator.simulator import Simulator
from renew_timer.run import LONGEST_RUN, RenewalRun
from shared.configuration.declaration import Declaration
from shared.configuration.settings import Settings
from shared.relay import Relay
from shared.subscriptions.wait_budget import WaitBudget
from shared.subscriptions.workers import AT_ONCE, Workers
from tests.builders import CLIENT_ID, TENANT, Clock, environment
from tests.crash.services import KeysInMemory, made_key
from tests.in_process import InProcess
from tests.memory import MemoryAccount
from tests.servers import RecordedRequest, ScriptedResponse, in_json
from tests.stand_ins.entra import entra

GRAPH = "https://graph.scale.example"
TICK = timedelta(minutes=5)
WINDOW = timedelta(seconds=20)

SECONDS = {"POST": 1.5, "PATCH": 0.4, "DELETE": 0.4, "GET": 0.4}
"""Of a call. A creation takes longer: Graph does two handshakes."""


class Killed(BaseException):
    """The process is dead."""


@dataclass
class Figures:
    """What one or several runs took: virtual time, CPU seconds of the app without the simulator, calls by kind."""

    runs: int = 0
    time: timedelta = timedelta(0)
    longest_run: timedelta = timedelta(0)
    cpu: float = 0.0
    calls: Counter[str] = field(default_factory=Counter)
    most_writes: int = 0
    most_lists: int = 0
    refused: int = 0

    def add(self, others: "Figures") -> None:
        """Count what others have counted."""
        self.runs += others.runs
        self.longest_run = max(self.longest_run, others.longest_run)
        self.cpu += others.cpu
        self.calls += others.calls
        self.most_writes = max(self.most_writes, others.most_writes)
        self.most_lists = max(self.most_lists, others.most_lists)
        self.refused += others.refused


class Scale:
    """A number of mailboxes, each with a subscription of its own."""

    def __init__(self, number: int) -> None:
        self.clock = Clock()
        self.account = MemoryAccount(self.clock)
        self.keys: Any = KeysInMemory([made_key("enc-1", self.clock())])
        self.endpoint_answers = 200
        self.kill_at: int | None = None
        self.asked: list[str] = []
        self.lists_fail = False
        self._throttled_page = 0
        self._loop = asyncio.new_event_loop()
        self._thread = ThreadPoolExecutor(1)
        transport = httpx.MockTransport(self._handshake)
        self._environment = environment(
            GRAPH_BASE_URL=GRAPH, LOGIN_BASE_URL=GRAPH, NOTIFICATION_URL="https://relay.scale.example/api/notifications"
        )
        self.simulator = Simulator(
            TENANT,
            CLIENT_ID,
            self._environment["GRAPH_CLIENT_SECRET"],
            httpx.AsyncClient(transport=transport),
            clock=self.clock,
        )
        self._face = GraphFace(self.simulator, Calls())
        self.declare(number)
        self._figures = Figures()
        self._in_graph = 0.0
        self._writes: deque[datetime] = deque()
        self._lists: deque[datetime] = deque()
        self.calls = 0

    @property
    def secret(self) -> str:
        """CLIENT_STATE_SECRET, the present one."""
        return self._environment["CLIENT_STATE_SECRET"].partition(",")[0]

    def watch_deletions(self, unserved: Callable[[str], object]) -> None:
        """Call `unserved` with each resource whose last subscription is deleted."""
        subscriptions = self.simulator.subscriptions
        remove = subscriptions.remove

        def removing(subscription_id: str, owner: Any = None) -> Any:
            gone = remove(subscription_id, owner)
            if not subscriptions.on_path(gone):
                unserved(gone.resource)
            return gone

        subscriptions.remove = removing  # type: ignore[method-assign]

    def declare(self, number: int, **settings: str) -> None:
        """Start a process with so many declarations."""
        self._environment |= settings
        declared = [
            Declaration(
                f"/users/{TENANT[:-6]}{person:06x}/mailFolders('inbox')/messages?$select=subject",
                ("created", "updated"),
                include_resource_data=True,
            )
            for person in range(number)
        ]
        text = msgspec.json.encode(declared).decode()
        self.settings = Settings.from_environment({**self._environment, "SUBSCRIPTIONS": text})
        self.start()

    def start(self) -> None:
        """Start a process: of the one before, nothing is left but what it stored."""
        session = requests.Session()
        session.adapters.clear()
        self._transport = InProcess(self._answer, self.clock)
        for url in (GRAPH, "https://relay.scale.example"):
            session.mount(url, self._transport)
        self.relay = Relay(
            self.settings,
            self.account.clients(),
            clock=self.clock,
            session=session,
            random=Random(1),
            key_store=self.keys,
        )
        self.relay.reconciler.workers = Workers(at_once=1)

    def run(self) -> None:
        """Do one run of the timer, and wait until it is time for the next one."""
        began, cpu, in_graph = self.clock(), time.process_time(), self._in_graph
        budget = WaitBudget(LONGEST_RUN, lambda wait: self.clock.advance(seconds=wait.total_seconds()))
        try:
            RenewalRun(self.relay, budget)()
        finally:
            took, figures = self.clock() - began, self._figures
            figures.runs += 1
            figures.longest_run = max(figures.longest_run, took)
            figures.cpu += time.process_time() - cpu - (self._in_graph - in_graph)
            self.account.queues.take()  # comparisons are not what is measured
            self.clock.now = max(began + TICK, self.clock())

    def run_until(self, condition: Any, most: int = 400) -> None:
        """Run until something has come true."""
        for _ in range(most):
            if condition():
                return
            self.run()
        raise AssertionError(f"not reached within {most} runs")

    @contextmanager
    def measured(self) -> Iterator[Figures]:
        """Count what happens within; what is measured around it counts that too."""
        outer, self._figures = self._figures, Figures()
        figures, began = self._figures, self.clock()
        try:
            yield figures
        finally:
            figures.time = self.clock() - began
            outer.add(figures)
            self._figures = outer

    def throttle_page(self, number: int) -> None:
        """Refuse one page of the list, the nth that is asked for from now on, with 429."""
        self._throttled_page = number

    def faults(self, **faults: Any) -> None:
        """Have Graph fail so."""
        self.simulator.faults = msgspec.structs.replace(Faults(), **faults)

    def subscriptions(self) -> Sequence[Any]:
        """Return what Graph has."""
        return list(self.simulator.subscriptions)

    def number(self) -> int:
        """Return how many subscriptions Graph has."""
        return len(self.simulator.subscriptions)

    def is_complete(self) -> bool:
        """Whether each declaration has one subscription, at our URL, made with our secret, with our key."""
        desired, found = self.relay.desired_state(self.relay.keys.current()), self.subscriptions()
        assert desired.key is not None
        declared = {declaration.id: declaration for declaration in self.relay.declarations}
        urls = {desired.url_for(declaration) for declaration in declared.values()}
        return (
            len(found) == len(declared)
            and {subscription.notification_url for subscription in found} == urls
            and {subscription.lifecycle_url for subscription in found} == urls
            and {subscription.recipient.certificate_id for subscription in found} == {desired.key.key_id}
        )

    def _answer(self, request: RecordedRequest) -> ScriptedResponse:
        began = time.process_time()
        try:
            return self._answered(request)
        finally:
            self._in_graph += time.process_time() - began

    def _answered(self, request: RecordedRequest) -> ScriptedResponse:
        url = urlsplit(request.path)
        self._transport.takes = 0.0
        if url.path.endswith("/oauth2/v2.0/token"):
            return in_json(self.simulator.login.issue(TENANT, dict(parse_qsl(request.body.decode())), GRAPH))
        if not url.path.startswith("/v1.0/"):
            return entra(request, GRAPH) or self._echo(request)
        self.calls += 1
        self.asked.append(f"{request.method} {request.path}")
        if self.kill_at is not None and self.calls > self.kill_at:
            raise Killed
        self._count(request, url.path)
        if self._figures.calls["list"] == self._throttled_page and _is_list(request, url.path):
            self._throttled_page = 0
            return ScriptedResponse(429, headers={"Retry-After": "7"})
        if self.lists_fail and _is_list(request, url.path):
            return ScriptedResponse(503)
        call = GraphCall(request.method, url.path.removeprefix("/v1.0/"), url.query, request.headers, request.body)
        # in a thread of its own: a browser of another test may run a loop in this one
        answered = self._thread.submit(self._loop.run_until_complete, self._face.call(call, f"{GRAPH}/v1.0")).result()
        self._figures.refused += answered.status == 429
        return ScriptedResponse(
            answered.status, answered.body, {**answered.headers, "Content-Type": "application/json"}
        )

    def _count(self, request: RecordedRequest, path: str) -> None:
        figures, now, is_list = self._figures, self.clock(), _is_list(request, path)
        self._transport.takes = 0.4 if is_list else SECONDS[request.method] / AT_ONCE
        figures.calls["list" if is_list else request.method] += 1
        if is_list:
            figures.most_lists = max(figures.most_lists, _within(self._lists, now))
        elif request.method != "GET":
            figures.most_writes = max(figures.most_writes, _within(self._writes, now))

    def _echo(self, request: RecordedRequest) -> ScriptedResponse:
        token = parse_qs(urlsplit(request.path).query).get("validationToken", [""])[0]
        return ScriptedResponse(self.endpoint_answers, token.encode(), {"Content-Type": "text/plain"})

    def _handshake(self, request: httpx.Request) -> httpx.Response:
        token = request.url.params["validationToken"]
        return httpx.Response(self.endpoint_answers, text=token, headers={"Content-Type": "text/plain"})


def _is_list(request: RecordedRequest, path: str) -> bool:
    return path == "/v1.0/subscriptions" and request.method == "GET"


def _within(moments: deque[datetime], now: datetime) -> int:
    moments.append(now)
    while moments[0] <= now - WINDOW:
        moments.popleft()
    return len(moments)
