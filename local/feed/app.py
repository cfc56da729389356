"""The feed over HTTP: events in; the page, its stream and what is kept, out."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import anyio
import httpx
import msgspec
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from local.feed.backlog import RelayQueue
from local.feed.breakage import Broken, Unavailable
from local.feed.control import Control
from local.feed.event import NotEvents, read_batch
from local.feed.headers import SafeHeaders
from local.feed.health import Health, HealthHistory, refusing_on_purpose
from local.feed.hub import Hub
from local.feed.message import DeliveryRow, Message, ReceivedRequest
from local.feed.own_origin import NotOurs, check_order
from local.feed.pace import WINDOW, Lag, Pace, Second
from local.feed.relay_metrics import RelayAway, RelayCounters, read_counters
from local.feed.relay_paths import EventPath, RelayPaths
from local.feed.signature import BadSignature, Unsigned, Verifier
from local.feed.simulator import Simulator, SimulatorAway
from local.feed.store import Selection, Store

PAGE = Path(__file__).parent / "page"
MEDIA_TYPE = "application/cloudevents-batch+json"
LARGEST_BATCH = 64 * 1024 * 1024  # bytes
LONGEST_LIST = 500  # messages
LARGEST_POSITION = 2**63 - 1
NAMES_EVERY = timedelta(minutes=1)  # between two looks at what chats and channels are called
_STILL_OPEN = timedelta(seconds=10)  # what arrived in a second counts for it once it is stored, which may be later


Order = TypeVar("Order", Control, "BreakOrder")


class Summary(msgspec.Struct, frozen=True):
    """Totals since the database was made; `lag_ms` over five minutes, `rate` in new events per second over ten."""

    events: int
    duplicates: int
    messages: int
    deleted: int
    refused: dict[str, int]
    lag_ms: Lag
    rate: float


class Tick(msgspec.Struct, frozen=True):
    """What the page gets every second: the latest finished seconds, the totals, the health."""

    at: int
    seconds: list[Second]
    summary: Summary
    health: Health


class BreakOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which of `local.feed.breakage.BREAKAGES` to switch on or off."""

    name: str
    on: bool = True


class Inspection(msgspec.Struct, frozen=True):
    """All that the feed knows of one message: its last version as a CloudEvent, and how each version came."""

    message: Message
    event: dict[str, Any]
    deliveries: list[DeliveryRow]


@dataclass(frozen=True)
class Neighbours:
    """What the feed may ask; None is unknown here, and the page says less.

    relay: addresses of the functions hosts' metrics, separated by commas. trust: file of authorities for HTTPS.
    simulator: its address. queue: the relay's own. paths: what it notes of each notification.
    supervised: whether the process that started the feed acts on `GET /api/breakages`.
    """

    relay: str | None = None
    trust: str | None = None
    simulator: str | None = None
    queue: RelayQueue | None = None
    paths: RelayPaths | None = None
    supervised: bool = False


class Refused(Exception):
    """A batch is rejected with this status, and counted under this reason."""

    def __init__(self, status: int, reason: str, retry_after: int | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.retry_after = retry_after


class Feed:
    """One feed: its endpoints, and what it does every second."""

    def __init__(self, store: Store, verifier: Verifier, neighbours: Neighbours, clock: Callable[[], datetime]) -> None:
        self.hub = Hub()
        self._store = store
        self._verifier = verifier
        self._neighbours = neighbours
        self._clock = clock
        self._pace = Pace()
        self._control = Control()
        self._relay_counters = RelayCounters() if neighbours.relay else None
        self._broken = Broken(simulated=neighbours.simulator is not None, supervised=neighbours.supervised)
        self._health_history = HealthHistory()
        self._pending: int | None = None
        self._simulator: Simulator | None = None

    async def receive(self, request: Request) -> Response:
        """`POST /events`: 204 once the batch is stored."""
        body = b""
        try:
            body = await _read(request)
            await self._store_batch(body, request)
        except Refused as refused:
            received = _received(request, len(body), self._clock())
            await run_in_threadpool(self._store.refuse, received, refused.status, refused.reason)
            headers = {} if refused.retry_after is None else {"Retry-After": str(refused.retry_after)}
            return _json({"refused": refused.reason}, refused.status, headers)
        return Response(status_code=204)

    async def _store_batch(self, body: bytes, request: Request) -> None:
        control = self._control
        await asyncio.sleep(control.hang_seconds)
        if control.mode == "status":
            raise Refused(control.status, "rehearsed", control.retry_after)
        try:
            self._verifier.verify(body, request.headers)
            events = read_batch(body)
        except Unsigned as error:
            raise Refused(401, "unsigned") from error
        except BadSignature as error:
            raise Refused(401, "signature") from error
        except NotEvents as error:
            raise Refused(400, "not_events") from error
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != MEDIA_TYPE:
            raise Refused(415, "media_type")
        if any(event.id in control.refuse_ids for event in events):
            raise Refused(400, "rehearsed")
        arrived = self._clock()
        applied = await run_in_threadpool(self._store.apply, events, _received(request, len(body), arrived))
        self._pace.add(arrived, applied.lags)
        self._health_history.arrived(arrived, applied.lags)
        self.hub.show(applied.messages)

    async def stream(self, _: Request) -> Response:
        """`GET /api/stream`: `history` once, then `pace` and `relay` as they change and `messages` as they come."""
        return EventSourceResponse(self._watch())

    async def _watch(self) -> AsyncIterator[ServerSentEvent]:
        with self.hub.watch() as watcher:
            watcher.tell("history", self._pace.history(self._clock()))
            watcher.tell("pace", await self._tick())
            watcher.tell("relay", self._relay_counters)
            watcher.tell("broken", self._broken.states())
            async for event in watcher.events():
                yield event

    async def messages(self, request: Request) -> Response:
        """`GET /api/messages?limit=&before=&conversation=&q=&state=`: newest arrival first."""
        asked = request.query_params
        try:
            limit = min(_whole(asked.get("limit", "100")), LONGEST_LIST)
            before = _whole(asked["before"]) if "before" in asked else None
        except ValueError:
            return _json({"error": "limit and before: expected whole numbers, 0 or greater"}, 400)
        state = asked.get("state") or None
        if state is not None and state not in Selection.states():
            return _json({"error": f"state: expected one of {', '.join(Selection.states())}"}, 400)
        selection = Selection(asked.get("conversation") or None, asked.get("q") or None, state)
        return _json(await run_in_threadpool(self._store.messages, limit, before, selection))

    async def inspect(self, request: Request) -> Response:
        """`GET /api/inspect?position=`: a message as a CloudEvent, and how it came; null if there is none."""
        try:
            position = _whole(request.query_params.get("position", ""))
        except ValueError:
            return _json({"error": "position: expected a whole number, 0 or greater"}, 400)
        return _json(await run_in_threadpool(self._inspection, position))

    def _inspection(self, position: int) -> Inspection | None:
        message = self._store.at(position)
        if message is None:
            return None
        deliveries = self._store.deliveries(message.source, message.subject)
        return Inspection(message, _cloud_event(message, deliveries), deliveries)

    async def path(self, request: Request) -> Response:
        """`GET /api/path?position=`: what the app noted of a message's events; null where it can't be asked."""
        try:
            position = _whole(request.query_params.get("position", ""))
        except ValueError:
            return _json({"error": "position: expected a whole number, 0 or greater"}, 400)
        return _json(await run_in_threadpool(self._path, position))

    def _path(self, position: int) -> EventPath | None:
        message, paths = self._store.at(position), self._neighbours.paths
        if message is None or paths is None:
            return None
        deliveries = self._store.deliveries(message.source, message.subject)
        return paths.of_events(dict.fromkeys(delivery.event_id for delivery in deliveries))

    async def failures(self, _: Request) -> Response:
        """`GET /api/failures`: what the app refused or dead-lettered last, newest first."""
        paths = self._neighbours.paths
        return _json(await run_in_threadpool(paths.failures) if paths else [])

    async def refusals(self, _: Request) -> Response:
        """`GET /api/refusals`: the last requests that this feed refused, newest first."""
        return _json(await run_in_threadpool(self._store.refusals, 100))

    async def message(self, request: Request) -> Response:
        """`GET /api/message?source=&subject=`: one message, or null."""
        identity = (request.query_params.get("source", ""), request.query_params.get("subject", ""))
        return _json(await run_in_threadpool(self._store.message, *identity))

    async def conversations(self, _: Request) -> Response:
        """`GET /api/conversations`: each chat and channel with how much it holds and who writes there."""
        return _json(await run_in_threadpool(self._store.conversations))

    async def summary(self, _: Request) -> Response:
        """`GET /api/summary`."""
        return _json(await self._summary())

    async def contents(self, _: Request) -> Response:
        """`GET /api/contents`: every message as it stands, one JSON object a line."""
        return StreamingResponse(self._store.contents(), media_type="application/x-ndjson")

    async def show_control(self, _: Request) -> Response:
        """`GET /control`."""
        return _json(self._control)

    async def set_control(self, request: Request) -> Response:
        """`POST /control`: see `Control`."""
        try:
            self._control = await _order(request, Control)
        except NotOurs as refused:
            return _json({"error": refused.message}, refused.status)
        return _json(self._control)

    async def show_broken(self, _: Request) -> Response:
        """`GET /api/breakages`: what can be broken on purpose, and what is."""
        return _json(self._broken.states())

    async def set_broken(self, request: Request) -> Response:
        """`POST /api/breakages`: see `BreakOrder`. Answers with the new list."""
        try:
            order = await _order(request, BreakOrder)
            breakage = self._broken.order(order.name, on=order.on)
            if breakage.where == "destination":
                self._control = self._broken.conduct()
            elif breakage.where == "graph" and self._simulator is not None:
                await self._simulator.apply(self._broken.faults())
                if order.on:
                    await self._simulator.act(breakage)
        except NotOurs as refused:
            return _json({"error": refused.message}, refused.status)
        except Unavailable:
            return _json({"error": "name: expected one that GET /api/breakages lists as available"}, 400)
        except SimulatorAway as error:
            return _json({"error": f"the Graph simulator can't be reached ({error})"}, 502)
        self.hub.tell("broken", self._broken.states())
        return _json(self._broken.states())

    @asynccontextmanager
    async def lifespan(self, _: Starlette) -> AsyncIterator[None]:
        """Restore the recent seconds from the database, then tick and poll until the end."""
        for arrived, lag_ms in self._store.arrivals(self._clock() - WINDOW):
            self._pace.add(arrived, [lag_ms])
        context = ssl.create_default_context(cafile=self._neighbours.trust)
        async with (
            httpx.AsyncClient(verify=context, timeout=3) as client,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(self._keep_ticking)
            if self._neighbours.relay:
                tasks.start_soon(self._keep_asking_relay, client, self._neighbours.relay)
            if self._neighbours.simulator:
                self._simulator = Simulator(client, self._neighbours.simulator)
                tasks.start_soon(self._keep_asking_simulator, self._simulator)
            yield
            tasks.cancel_scope.cancel()

    async def _keep_ticking(self) -> None:
        while True:
            await asyncio.sleep(1 - self._clock().timestamp() % 1)
            self.hub.tell("pace", await self._tick())
            await run_in_threadpool(self._store.tidy)

    async def _keep_asking_relay(self, client: httpx.AsyncClient, relay: str) -> None:
        while True:
            counters = await self._ask(client, relay)
            if counters != self._relay_counters:
                self._relay_counters = counters
                self.hub.tell("relay", counters)
            await asyncio.sleep(1)

    async def _keep_asking_simulator(self, simulator: Simulator) -> None:
        named: datetime | None = None
        while True:
            now = self._clock()
            try:
                self._pending = await simulator.pending()
                if named is None or now - named >= NAMES_EVERY:
                    await run_in_threadpool(self._store.name, await simulator.names())
                    self.hub.tell("names", None)
                    named = now
            except SimulatorAway:
                self._pending = None
            await asyncio.sleep(1)

    async def _ask(self, client: httpx.AsyncClient, relay: str) -> RelayCounters | None:
        try:
            return await read_counters(client, relay)
        except RelayAway:
            # What it said last stays on the page, marked as old.
            return self._relay_counters and msgspec.structs.replace(self._relay_counters, reachable=False)

    async def _tick(self) -> Tick:
        now = self._clock()
        seconds = self._pace.history(now, _STILL_OPEN)
        return Tick(int(now.timestamp()) - 1, seconds, await self._summary(), await self._health(now))

    async def _health(self, now: datetime) -> Health:
        queue = self._neighbours.queue
        queued = await run_in_threadpool(queue.length) if queue else None
        retries = await run_in_threadpool(self._neighbours.paths.retries) if self._neighbours.paths and queued else []
        active = {breakage.name: breakage.title for breakage in self._broken.active()}
        control = self._control
        ordered = refusing_on_purpose(control.mode, control.status, control.hang_seconds, active)
        return self._health_history.judge(now, self._relay_counters, queued, self._pending, ordered, retries)

    async def _summary(self) -> Summary:
        counts = await run_in_threadpool(self._store.counts)
        now = self._clock()
        return Summary(**msgspec.structs.asdict(counts), lag_ms=self._pace.lag(now), rate=self._pace.rate(now))


def create_app(feed: Feed) -> Starlette:
    """Put the feed's endpoints and its page under their paths."""
    return Starlette(
        routes=[
            Route("/events", feed.receive, methods=["POST"]),
            Route("/api/stream", feed.stream),
            Route("/api/messages", feed.messages),
            Route("/api/inspect", feed.inspect),
            Route("/api/path", feed.path),
            Route("/api/failures", feed.failures),
            Route("/api/refusals", feed.refusals),
            Route("/api/breakages", feed.show_broken, methods=["GET"]),
            Route("/api/breakages", feed.set_broken, methods=["POST"]),
            Route("/api/message", feed.message),
            Route("/api/conversations", feed.conversations),
            Route("/api/summary", feed.summary),
            Route("/api/contents", feed.contents),
            Route("/control", feed.show_control, methods=["GET"]),
            Route("/control", feed.set_control, methods=["POST"]),
            Route("/", _page),
            Mount("/page", StaticFiles(directory=PAGE)),
        ],
        # Local names only: DNS rebinding must not let another site read the messages.
        middleware=[
            Middleware(SafeHeaders),
            Middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"]),
        ],
        lifespan=feed.lifespan,
    )


async def _page(_: Request) -> Response:
    return FileResponse(PAGE / "index.html")


async def _read(request: Request) -> bytes:
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > LARGEST_BATCH:
            raise Refused(413, "too_large")
    return bytes(body)


async def _order(request: Request, kind: type[Order]) -> Order:
    """Return what a request orders. Raises NotOurs."""
    check_order(request.headers, 0)
    body = bytearray()
    async for part in request.stream():
        body += part
        check_order(request.headers, len(body))
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise NotOurs(400, str(error)) from error


def _whole(text: str) -> int:
    """Return a number that SQLite can hold. Raises ValueError."""
    number = int(text)
    if not 0 <= number <= LARGEST_POSITION:
        raise ValueError(text)
    return number


def _received(request: Request, size: int, at: datetime) -> ReceivedRequest:
    headers = request.headers
    return ReceivedRequest(at, headers.get("webhook-id"), headers.get("webhook-timestamp"), size)


def _cloud_event(message: Message, deliveries: list[DeliveryRow]) -> dict[str, Any]:
    """Return a message's last version as it was delivered; the order of its attributes may differ."""
    delivered = next(row for row in reversed(deliveries) if row.version == message.version)
    partial = {"partial": True} if message.partial else {}
    return {
        "specversion": "1.0",
        "id": delivered.event_id,
        "source": message.source,
        "subject": message.subject,
        "type": message.type,
        "time": message.time,
        "datacontenttype": "application/json",
        "version": message.version,
        **partial,
        "data": message.data,
    }


def _json(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(value), status, headers, media_type="application/json")
