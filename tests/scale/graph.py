"""The simulated Graph of the world, with counts of its calls and injected failures."""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs, parse_qsl, unquote, urlsplit

import httpx
import msgspec

from graph_simulator.app import GraphInterface
from graph_simulator.batch import ApiRequest
from graph_simulator.calls import Calls
from graph_simulator.faults import Faults
from graph_simulator.login import Caller
from graph_simulator.refusal import Refusal
from graph_simulator.simulator import Simulator
from shared.graph.rate_limits import WINDOW
from tests.builders import Clock
from tests.in_process import InProcess
from tests.servers import RecordedRequest, ScriptedResponse, in_json
from tests.stand_ins.entra import entra

GRAPH = "https://graph.scale.example"
ENDPOINT = "https://relay.scale.example"

SECONDS = {"POST": 1.5, "PATCH": 0.4, "DELETE": 0.4, "GET": 0.4}
"""Duration of a call. A creation takes longer: Graph performs two handshakes."""

PAGE_SECONDS = 0.4
"""Duration of a page of a list."""

LIST, MEMBERS = "list", "members"
"""The kinds under which pages of lists are counted: of subscriptions, and of members."""


class Killed(BaseException):
    """The process is dead."""


@dataclass
class Taken:
    """Calls by kind: a method, or the kind of a list. most_writes, most_lists: within 20 s, in one tenant.

    most_over_all: writes within 20 s, in all tenants. refused: calls that were answered 429.
    """

    calls: Counter[str] = field(default_factory=Counter)
    most_writes: int = 0
    most_over_all: int = 0
    most_lists: int = 0
    refused: int = 0

    def add_calls(self, others: "Taken") -> None:
        """Add other counts."""
        self.calls += others.calls
        self.most_writes = max(self.most_writes, others.most_writes)
        self.most_over_all = max(self.most_over_all, others.most_over_all)
        self.most_lists = max(self.most_lists, others.most_lists)
        self.refused += others.refused


class Handshakes(httpx.AsyncClient):
    """Answers Graph's handshakes in place of the app's endpoint, with a status set by the test: there are tens of
    thousands of them.
    """

    def __init__(self, status: Callable[[], int]) -> None:
        super().__init__(transport=httpx.MockTransport(lambda _: httpx.Response(404)))
        self._status = status

    async def post(self, url: Any, **_: Any) -> httpx.Response:
        """Echo the token in the URL."""
        return httpx.Response(self._status(), text=_token(str(url)), headers={"Content-Type": "text/plain"})


class Graph:
    """Graph, Entra and the app's endpoint.

    at_once: divides the duration of a call. kill_at: the call in which the process dies, before Graph executes it, or
    after (`kill_after`). refuse: the answer to a call with a method and a body, or to the resource of its subscription.
    """

    def __init__(self, clock: Clock, tenant: str, client_id: str, client_secret: str, at_once: int) -> None:
        self.endpoint_answers = 200
        self.calls = 0
        self.kill_at: int | None = None
        self.kill_after = False
        self.without_mailbox: set[str] = set()
        self.lists_fail = False
        self.throttled_page = 0
        self.page_seconds = PAGE_SECONDS
        self.asked: list[str] = []
        self.unserved: list[str] = []
        self.cpu = 0.0
        self.taken = Taken()
        self.simulator = Simulator(
            tenant, client_id, client_secret, Handshakes(lambda: self.endpoint_answers), clock=clock
        )
        self._clock = clock
        self._at_once = at_once
        self._face = GraphInterface(self.simulator, Calls())
        self._loop = asyncio.new_event_loop()
        self._thread = ThreadPoolExecutor(1)
        self._recent: dict[tuple[str, str], deque[datetime]] = {}
        self._note_unserved()

    def connection(self) -> InProcess:
        """Return the session of a process of the app."""
        transport = InProcess(lambda request: self._timed(request, transport), self._clock)
        return transport

    def fails(self, **faults: Any) -> None:
        """Make the simulator fail in this way only."""
        self.simulator.faults = msgspec.structs.replace(Faults(), **faults)

    def _note_unserved(self) -> None:
        """Record each resource whose last subscription is deleted."""
        subscriptions = self.simulator.subscriptions
        remove = subscriptions.remove

        def removing(subscription_id: str, owner: Caller | None = None) -> Any:
            gone = remove(subscription_id, owner)
            if not subscriptions.on_path(gone):
                self.unserved.append(gone.resource)
            return gone

        subscriptions.remove = removing  # type: ignore[method-assign]

    def _timed(self, request: RecordedRequest, transport: InProcess) -> ScriptedResponse:
        """Answer, and record the CPU time that was not the app's."""
        began = time.thread_time()
        try:
            transport.takes = 0.0
            url = urlsplit(request.path)
            if url.path.endswith("/oauth2/v2.0/token"):
                tenant = url.path.split("/")[1]
                return in_json(self.simulator.login.issue(tenant, dict(parse_qsl(request.body.decode())), GRAPH))
            if not url.path.startswith("/v1.0/"):
                return entra(request, GRAPH) or self._echo(request)
            return self._api(request, url.path.removeprefix("/v1.0/"), url.query, transport)
        finally:
            self.cpu += time.thread_time() - began

    def _api(self, request: RecordedRequest, path: str, query: str, transport: InProcess) -> ScriptedResponse:
        self.calls += 1
        self.asked.append(f"{request.method} {request.path}")
        dies = self.kill_at is not None and self.calls > self.kill_at
        if dies and not self.kill_after:
            raise Killed
        kind = _kind(request.method, path)
        transport.takes = self._seconds(request.method, kind)
        self._count(kind, request)
        answer = self._fault(request, kind) or self._asked_of_simulator(request, path, query)
        self.taken.refused += answer.status == 429
        if dies:
            raise Killed
        return answer

    def _seconds(self, method: str, kind: str) -> float:
        if kind in (LIST, MEMBERS):
            return self.page_seconds if kind == LIST else PAGE_SECONDS
        return SECONDS[method] / self._at_once

    def _count(self, kind: str, request: RecordedRequest) -> None:
        taken, tenant = self.taken, self._tenant_of(request)
        taken.calls[kind] += 1
        if kind == LIST:
            taken.most_lists = max(taken.most_lists, self._within("lists", tenant))
        elif kind in ("POST", "PATCH", "DELETE"):
            taken.most_writes = max(taken.most_writes, self._within("writes", tenant))
            taken.most_over_all = max(taken.most_over_all, self._within("writes", ""))

    def _tenant_of(self, request: RecordedRequest) -> str:
        """Return the tenant of a call; "" if its token has expired: then the simulator refuses it."""
        try:
            return self.simulator.login.caller(request.headers.get("authorization")).tenant
        except Refusal:
            return ""

    def _within(self, what: str, tenant: str) -> int:
        """Count a call, and return the number of calls within the window of Graph's limits."""
        now, recent = self._clock(), self._recent.setdefault((what, tenant), deque())
        recent.append(now)
        while recent[0] <= now - WINDOW:
            recent.popleft()
        return len(recent)

    def _fault(self, request: RecordedRequest, kind: str) -> ScriptedResponse | None:
        """Return the failure of a call; None if there is none."""
        if kind == LIST and self.taken.calls[LIST] == self.throttled_page:
            self.throttled_page = 0
            return ScriptedResponse(429, headers={"Retry-After": "7"})
        if kind == LIST and self.lists_fail:
            return ScriptedResponse(503)
        if self.without_mailbox and request.method == "POST":
            resource = str(msgspec.json.decode(request.body)["resource"])
            if resource.split("/")[2] in self.without_mailbox:
                why = "Operation: Create; Exception: [Status Code: NotFound; Reason: Not Found]"
                return in_json({"error": {"code": "ExtensionError", "message": why}}, 404)
        return None

    def _asked_of_simulator(self, request: RecordedRequest, path: str, query: str) -> ScriptedResponse:
        # in a separate thread: a browser of another test may run a loop in this one
        call = ApiRequest(request.method, unquote(path), query, request.headers, request.body)
        status, body, headers, cpu = self._thread.submit(self._answered, call).result()
        self.cpu += cpu
        return ScriptedResponse(status, body, {**headers, "Content-Type": "application/json"})

    def _answered(self, call: ApiRequest) -> tuple[int, bytes, dict[str, str], float]:
        began = time.thread_time()
        answered = self._loop.run_until_complete(self._face.call(call, f"{GRAPH}/v1.0"))
        return answered.status, answered.body, dict(answered.headers), time.thread_time() - began

    def _echo(self, request: RecordedRequest) -> ScriptedResponse:
        return ScriptedResponse(self.endpoint_answers, _token(request.path).encode(), {"Content-Type": "text/plain"})


def _kind(method: str, path: str) -> str:
    if path == "subscriptions" and method == "GET":
        return LIST
    return MEMBERS if path.startswith(("groups", "users")) else method


def _token(url: str) -> str:
    return parse_qs(urlsplit(url).query).get("validationToken", [""])[0]
