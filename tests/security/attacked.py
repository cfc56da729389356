"""The whole app in this process, on storage in memory, between a scripted Graph and a destination.

For attacks that need no host.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import requests

from graph_simulator.authority import Authority
from notify_http.receive import Answer as HttpAnswer
from notify_http.receive import receive
from process_queue.handler import MessageHandler
from renew_timer.run import RenewalRun
from shared.configuration.settings import Settings
from shared.keys.directory import KeyDirectory
from shared.messages.envelope import DeadLetter, read_dead_letter
from shared.relay import Relay
from shared.storage.queues import Queue
from shared.subscriptions.wait_budget import WaitBudget
from tests.builders import NOW, Clock, body, environment
from tests.memory import NEVER, MemoryAccount
from tests.servers import RecordedRequest, ScriptedResponse, Server, in_json, serving
from tests.stand_ins.entra import entra

GONE = in_json({"error": {"code": "NotFound", "message": "gone"}}, 404)


@dataclass
class AttackedRelay:
    """`graph` answers with the content of `resources`, by path below /v1.0/, otherwise with 404."""

    relay: Relay
    account: MemoryAccount
    graph: Server
    clock: Clock
    resources: dict[str, Any] = field(default_factory=dict)
    events: list[dict[str, Any]] = field(default_factory=list)
    fails_on: set[str] = field(default_factory=set)
    """Ids of resources; the destination answers 500 to a batch with one of them."""

    def post(self, *items: object, tokens: list[str] | None = None) -> HttpAnswer:
        """Post, as anybody can."""
        text, app = body(*items, tokens=tokens or []), self.relay
        return receive(text, app.recipient, app.acknowledging, self.clock(), app.paths, app.account)

    def offer(self, text: str) -> None:
        """Handle a queue message from an attacker."""
        MessageHandler(self.relay).handle_message(text)

    def drain(self) -> int:
        """Handle the visible messages of the queue; return how many there were."""
        handled = 0
        while received := self.account.queues.receive(Queue.NOTIFICATIONS, timedelta(minutes=5)):
            for message in received:
                MessageHandler(self.relay).handle_message(self.account.claims.open(message.text).text)
                self.account.queues.delete(message)
                handled += 1
        return handled

    def settle(self) -> None:
        """Handle the messages of the next ten minutes: an answer of Graph that contradicts an item is not trusted at
        once.
        """
        for _ in range(20):
            self.drain()
            self.clock.advance(seconds=30)

    def tick(self) -> None:
        """Run `renew_timer` once."""
        RenewalRun(self.relay, WaitBudget.none())()

    def plant(self, text: str, queue: Queue = Queue.NOTIFICATIONS) -> None:
        """Write to a queue, like anybody with the right to."""
        self.account.queues.enqueue(text, queue, NEVER)

    def asked(self) -> list[str]:
        """Return Graph's requests since the last call, as method and path."""
        calls = [
            f"{request.method} {request.path.removeprefix('/v1.0/')}"
            for request in self.graph.asked
            if "/v1.0/" in request.path
        ]
        self.graph.asked.clear()
        return calls

    def listings(self) -> int:
        """Return how often Graph listed the users, whose chats the app reads, since the last call."""
        return sum(call.startswith("GET users?") for call in self.asked())

    def dead(self) -> list[DeadLetter]:
        """Return the dead letters."""
        return [read_dead_letter(text) for text in self.account.queues.texts(Queue.DEAD_LETTERS)]

    def waiting(self) -> int:
        """Return how many messages the queue has, hidden ones included."""
        return self.account.queues.length()


@contextmanager
def attacked(
    directory: Path,
    authority: Authority,
    session: requests.Session,
    declared: Sequence[Mapping[str, Any]],
    **changes: str,
) -> Iterator[AttackedRelay]:
    """Run the app with these declarations."""
    clock = Clock(NOW)
    account = MemoryAccount(clock)
    found: list[AttackedRelay] = []

    def answer(request: RecordedRequest) -> ScriptedResponse:
        path = request.path.partition("?")[0].removeprefix("/v1.0/")
        resource = found[0].resources.get(f"{request.method} {path}", found[0].resources.get(path))
        if isinstance(resource, ScriptedResponse):
            return resource
        return entra(request, server.url) or (GONE if resource is None else in_json(resource))

    def take(request: RecordedRequest) -> ScriptedResponse:
        events = json.loads(request.body)
        if any(event["data"].get("id") in found[0].fails_on for event in events):
            return ScriptedResponse(500)
        found[0].events += events
        return ScriptedResponse(204)

    with serving(answer, authority) as server, serving(take) as destination:
        own = {
            "SUBSCRIPTIONS": msgspec.json.encode(declared).decode(),
            "KEY_STORE": f"file:{directory / 'keys'}",
            "GRAPH_BASE_URL": server.url,
            "LOGIN_BASE_URL": server.url,
            "DESTINATION_URL": destination.url,
        }
        settings = environment(**(own | changes))
        app = Relay(
            Settings.from_environment(settings),
            account.clients(),
            clock=clock,
            session=session,
            key_store=KeyDirectory(directory / "keys"),
        )
        found.append(AttackedRelay(app, account, server, clock))
        yield found[0]
