"""Graph with several tenants, within the process and on a virtual clock, and the app that maintains subscriptions
there.
"""

import json
import re
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from datetime import datetime, timedelta
from random import Random
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import msgspec

from renew_timer.run import RenewalRun
from shared.configuration.declaration import Declaration
from shared.configuration.settings import Settings
from shared.deadline import time_limit
from shared.relay import Relay
from shared.subscriptions.results import ListingFailed, Reconciled
from shared.subscriptions.wait_budget import WaitBudget
from shared.subscriptions.workers import Workers
from tests.builders import TENANT, Clock, environment
from tests.crash.services import KeysInMemory, made_key
from tests.in_process import InProcess
from tests.memory import MemoryAccount
from tests.servers import RecordedRequest, ScriptedResponse, in_json
from tests.stand_ins.entra import entra

URL = "https://graph.example"
OUR_SHARE = timedelta(minutes=3)
"""Time of a run for subscriptions."""

Refuse = Callable[[str, dict[str, Any]], ScriptedResponse | None]
"""Takes the method and the body, or the existing subscription; None: Graph executes the request."""


def refused(status: int, code: str, message: str = "no") -> ScriptedResponse:
    """Return Graph's refusal."""
    return in_json({"error": {"code": code, "message": message}}, status)


NOT_FOUND = refused(404, "ResourceNotFound")
DEAD_ENDPOINT = refused(400, "ValidationError", "Subscription validation request failed.")


class TenantsInMemory:
    """Graph allows one subscription for a resource and its change types, in any spelling.

    held: by tenant and id. takes: virtual seconds of a call, by method, or "LIST". asked: the calls, as method, tenant
    and id. unserved: the resources whose last subscription was deleted.
    """

    def __init__(self, *declarations: Declaration, page_size: int = 1_000, **settings: str) -> None:
        self.clock = Clock()
        self.account = MemoryAccount(self.clock)
        self.held: dict[str, dict[str, dict[str, Any]]] = {}
        self.takes: dict[str, float] = {}
        self.asked: list[str] = []
        self.refuse: Refuse = lambda method, held: None
        self.names_holder = True
        self.page_size = page_size
        self.unserved: list[str] = []
        self.made = 0
        self._transport = InProcess(self._answer, self.clock)
        self.keys: Any = KeysInMemory([made_key("enc-1", self.clock())])
        self._settings = {
            "GRAPH_BASE_URL": URL,
            "LOGIN_BASE_URL": URL,
            "NOTIFICATION_URL": f"{URL}/api/notifications",
        } | settings
        self._environment = environment(**self._settings)
        self.app = self.declare(*declarations)

    def declare(self, *declarations: Declaration, **settings: str) -> Relay:
        """Start a process with other declarations."""
        self._environment |= {"SUBSCRIPTIONS": msgspec.json.encode(declarations).decode(), **settings}
        self.app = self.instance()
        return self.app

    def rotate(self) -> None:
        """Add a new key to the key store, and start a process."""
        made = made_key(f"enc-{len(self.keys.keys) + 1}", self.clock())
        self.keys.keys[made.key_id] = made
        self.app = self.instance()

    def instance(self, account: MemoryAccount | None = None, **settings: str) -> Relay:
        """Return another process: of this deployment, or of one with another storage account."""
        made = Relay(
            Settings.from_environment(self._environment | settings),
            (account or self.account).clients(),
            clock=self.clock,
            session=self._transport.mounted(URL),
            random=Random(1),
            key_store=self.keys,
        )
        made.reconciler.workers = Workers(at_once=1)
        return made

    def run(self, minutes: float = 0, app: Relay | None = None) -> None:
        """Run the timer, after some minutes."""
        self.clock.advance(minutes=minutes)
        RenewalRun(app or self.app, self.budget())()

    def reconcile(
        self,
        minutes: float = 0,
        share: timedelta | None = OUR_SHARE,
        app: Relay | None = None,
        *,
        insists: bool = False,
    ) -> dict[str, Reconciled | ListingFailed]:
        """Reconcile every tenant after some minutes, within a time limit; return the result of each."""
        app = app or self.app
        self.clock.advance(minutes=minutes)
        desired = replace(app.desired_state(app.keys.current()), insists=insists)
        within: AbstractContextManager[object] = time_limit(share, self.clock) if share else nullcontext()
        with within:
            found = app.reconciler.every_tenant(desired, lambda _: None, self.budget())
            return {tenant_id: result for tenant_id, _, result in found}

    def budget(self) -> WaitBudget:
        """Return a budget of five minutes in virtual time."""
        return WaitBudget(timedelta(minutes=5), lambda wait: self.clock.advance(seconds=wait.total_seconds()))

    def calls(self, method: str) -> list[str]:
        """Return the requests with a method since the last call of this function."""
        found = [call for call in self.asked if call.split()[0] == method]
        self.asked.clear()
        return found

    def alive(self, tenant_id: str = TENANT) -> list[dict[str, Any]]:
        """Return Graph's subscriptions."""
        now = self.clock()
        held = self.held.setdefault(tenant_id, {})
        for name in [name for name, each in held.items() if datetime.fromisoformat(each["expirationDateTime"]) <= now]:
            del held[name]
        return list(held.values())

    def resources(self, tenant_id: str = TENANT) -> list[str]:
        """Return the resources with subscriptions at Graph."""
        return sorted(held["resource"] for held in self.alive(tenant_id))

    def _answer(self, request: RecordedRequest) -> ScriptedResponse:
        self._transport.takes = 0.0
        if found := entra(request, URL):
            return found
        url = urlsplit(request.path)
        if url.path == "/api/notifications":
            token = parse_qs(url.query)["validationToken"][0]
            return ScriptedResponse(200, token.encode(), {"Content-Type": "text/plain"})
        path = unquote(url.path).removeprefix("/v1.0/")
        return self._subscriptions(request, path.partition("/")[2]) if path.startswith("subscriptions") else NOT_FOUND

    def _subscriptions(self, request: RecordedRequest, name: str) -> ScriptedResponse:
        tenant_id = request.headers["authorization"].split()[1]
        kind = "LIST" if request.method == "GET" and not name else request.method
        self.asked.append(f"{kind} {tenant_id} {name}".rstrip())
        self._transport.takes = self.takes.get(kind, 0.0)
        self.alive(tenant_id)
        held = self.held[tenant_id]
        if kind == "LIST":
            return self.refuse(kind, {}) or self._page(list(held.values()), parse_qs(urlsplit(request.path).query))
        body = json.loads(request.body) if request.body else {}
        if kind == "POST":
            return self.refuse(kind, body) or self._create(held, body)
        if name not in held:
            return NOT_FOUND
        return self.refuse(kind, held[name]) or self._change(kind, held, name, body)

    def _page(self, held: list[dict[str, Any]], query: dict[str, list[str]]) -> ScriptedResponse:
        first = int(query.get("$skiptoken", ["0"])[0])
        page: dict[str, Any] = {"value": held[first : first + self.page_size]}
        if first + self.page_size < len(held):
            page["@odata.nextLink"] = f"{URL}/v1.0/subscriptions?$skiptoken={first + self.page_size}"
        return in_json(page)

    def _create(self, held: dict[str, dict[str, Any]], body: dict[str, Any]) -> ScriptedResponse:
        holder = next((name for name, other in held.items() if _same(other) == _same(body)), None)
        if holder is not None:
            named = f"Subscription Id {holder} already exists for the requested combination"
            return refused(409, "ExtensionError", named if self.names_holder else "Conflict")
        self.made += 1
        made = body | {"id": f"00000000-0a0b-4c0d-8e0f-{self.made:012d}"}
        held[made["id"]] = made
        return in_json(made, 201)

    def _change(
        self, method: str, held: dict[str, dict[str, Any]], name: str, body: dict[str, Any]
    ) -> ScriptedResponse:
        if method == "DELETE":
            gone = held.pop(name)
            if not any(_same(other)[0] == _same(gone)[0] for other in held.values()):
                self.unserved.append(gone["resource"])
            return ScriptedResponse(204)
        held[name] |= body
        return in_json(held[name])


def _same(held: dict[str, Any]) -> tuple[str, frozenset[str]]:
    """Return the key under which Graph considers subscriptions duplicates. The user principal name ada@… belongs to the
    id ada.
    """
    resource = re.sub(r"\('([^']*)'\)", r"/\1", held["resource"].strip("/").lower())
    return re.sub(r"@[^/]*", "", resource), frozenset(held["changeType"].split(","))
