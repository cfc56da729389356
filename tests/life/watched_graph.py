"""The Graph simulator, with a log of every call and its answer, and a way to delay any of them."""

import asyncio
import threading
import uuid
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

import msgspec

from graph_simulator.app import application
from graph_simulator.authority import Authority
from graph_simulator.background import BackgroundServer, in_background
from graph_simulator.listener import listening
from graph_simulator.server import (
    GraphServer,
    Registration,
    client_for,
    config_for,
    control_client,
    simulator_for,
)


@dataclass(frozen=True)
class Call:
    """A call of Graph's API: its time (virtual), its request and its answer."""

    at: datetime
    method: str
    path: str
    status: int
    retry_after: timedelta | None


@dataclass
class HeldRequest:
    """Delays the `left`-th call from now of a kind, before or after Graph has carried it out, until it is released."""

    method: str
    left: int
    done_first: bool
    reached: threading.Event = field(default_factory=threading.Event)
    gone: threading.Event = field(default_factory=threading.Event)
    lost: bool = False
    """Whether the call never reaches Graph, because its caller has died."""

    def counts(self, method: str) -> bool:
        """Whether to delay this call."""
        if method != self.method:
            return False
        self.left -= 1
        return self.left == 0

    async def wait(self) -> None:
        self.reached.set()
        while not self.gone.is_set():
            await asyncio.sleep(0.01)


class RequestLog:
    """ASGI middleware around a simulator."""

    def __init__(self, app: Any, clock: Any) -> None:
        self._app = app
        self._clock = clock
        self.calls: list[Call] = []
        self.hold: HeldRequest | None = None
        self.certificates: Literal["change", "stay", "are refused"] = "change"
        """The effect of a PATCH on the certificate: Microsoft's pages disagree (docs/graph.md, "Certificates")."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or not scope["path"].startswith("/v1.0/"):
            await self._app(scope, receive, send)
            return
        at, method = self._clock(), scope["method"]
        hold = self.hold if self.hold is not None and self.hold.counts(method) else None
        if hold and not hold.done_first:
            await hold.wait()
            if hold.lost:
                await send({"type": "http.response.start", "status": 503, "headers": []})
                await send({"type": "http.response.body"})
                return

        if method == "PATCH" and self.certificates != "change":
            document = msgspec.json.decode(await _body(receive))
            if self.certificates == "are refused" and "encryptionCertificate" in document:
                document = {}  # and Graph refuses these
            document.pop("encryptionCertificate", None)
            document.pop("encryptionCertificateId", None)
            receive = _replayed(msgspec.json.encode(document))

        async def answer(message: Any) -> None:
            if message["type"] == "http.response.start":
                if hold and hold.done_first:
                    await hold.wait()
                headers = {name.lower(): value for name, value in message["headers"]}
                wait = headers.get(b"retry-after")
                retry_after = timedelta(seconds=int(wait)) if wait is not None else None
                self.calls.append(
                    Call(at, method, scope["path"].removeprefix("/v1.0/"), message["status"], retry_after)
                )
            await send(message)

        await self._app(scope, receive, answer)


async def _body(receive: Any) -> bytes:
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    return body


def _replayed(body: bytes) -> Callable[[], Awaitable[dict[str, Any]]]:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    return receive


@dataclass(frozen=True)
class WatchedGraph(GraphServer):
    """A running simulator, and the log of its calls."""

    watch: RequestLog

    def clock(self) -> datetime:
        """The virtual time."""
        return self.simulator.clock()

    def advance(self, **time: float) -> None:
        """Advance the clock."""
        self.post("clock", advance_seconds=timedelta(**time).total_seconds())

    def calls(self, method: str = "", path: str = "") -> list[Call]:
        """Return the calls so far with this method and a path that begins with `path`."""
        return [call for call in tuple(self.watch.calls) if method in {"", call.method} and call.path.startswith(path)]

    def hold(self, method: str, nth: int, *, done_first: bool = False) -> HeldRequest:
        """Delay the nth call from now with that method."""
        self.watch.hold = HeldRequest(method, nth, done_first)
        return self.watch.hold

    def events(self) -> list[bytes]:
        """Return the new events of event hubs."""
        return [msgspec.json.encode(event) for event in self.post("event-hubs/fetch")["events"]]

    def subscriptions(self) -> list[Any]:
        """Return the live subscriptions of all tenants, as the simulator keeps them."""
        return sorted(self.simulator.subscriptions, key=lambda subscription: subscription.resource)


@contextmanager
def watched_graph(authority: Authority, seed: int = 0) -> Iterator[WatchedGraph]:
    """Run a simulator on a free port, in a thread, for as long as the context lasts."""
    registration = Registration(str(uuid.uuid4()), str(uuid.uuid4()), uuid.uuid4().hex)
    client = client_for(authority)
    simulator = simulator_for(registration, client, seed)
    watch = RequestLog(application(simulator), simulator.clock)
    listener = listening(0)
    with in_background(BackgroundServer(config_for(watch, authority)), listener, client):
        url = f"https://127.0.0.1:{listener.getsockname()[1]}"
        try:
            with control_client(url, authority) as control:
                yield WatchedGraph(url, simulator, registration, control, watch)
        finally:
            if watch.hold:
                watch.hold.gone.set()
