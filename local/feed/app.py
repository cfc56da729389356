"""The feed over HTTP: events in; the page, its stream and what is kept, out."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

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

from local.feed.control import Control
from local.feed.event import NotEvents, read_batch
from local.feed.headers import SafeHeaders
from local.feed.hub import Hub
from local.feed.pace import WINDOW, Lag, Pace, Second
from local.feed.relay_metrics import RelayAway, RelayCounters, read_counters
from local.feed.signature import BadSignature, Unsigned, Verifier
from local.feed.store import Store

PAGE = Path(__file__).parent / "page"
MEDIA_TYPE = "application/cloudevents-batch+json"
LARGEST_BATCH = 64 * 1024 * 1024  # bytes
LONGEST_LIST = 500  # messages
_STILL_OPEN = timedelta(seconds=10)  # what arrived in a second counts for it once it is stored, which may be later


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
    """What the page learns every second: the second just finished and those shortly before, and the totals."""

    at: int
    seconds: list[Second]
    summary: Summary


class Refused(Exception):
    """A batch is turned away: with this status, counted under this reason."""

    def __init__(self, status: int, reason: str, retry_after: int | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.retry_after = retry_after


class Feed:
    """One feed: its endpoints, and the two things it does by itself every second."""

    def __init__(
        self, store: Store, verifier: Verifier, relay: str | None, trust: str | None, clock: Callable[[], datetime]
    ) -> None:
        """`relay` is the address of the functions host's metrics, `trust` a file of authorities for it."""
        self.hub = Hub()
        self._store = store
        self._verifier = verifier
        self._relay = relay
        self._trust = trust
        self._clock = clock
        self._pace = Pace()
        self._control = Control()
        self._relay_counters = RelayCounters() if relay else None

    async def receive(self, request: Request) -> Response:
        """`POST /events`: 204 once the batch is stored."""
        try:
            await self._take_in(request)
        except Refused as refused:
            await run_in_threadpool(self._store.refuse, refused.reason)
            headers = {} if refused.retry_after is None else {"Retry-After": str(refused.retry_after)}
            return _json({"refused": refused.reason}, refused.status, headers)
        return Response(status_code=204)

    async def _take_in(self, request: Request) -> None:
        body = await _read(request)
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
        applied = await run_in_threadpool(self._store.apply, events, arrived)
        self._pace.add(arrived, applied.lags)
        self.hub.show(applied.messages)

    async def stream(self, _: Request) -> Response:
        """`GET /api/stream`: `history` once, then `pace` and `relay` as they change and `messages` as they come."""
        return EventSourceResponse(self._watch())

    async def _watch(self) -> AsyncIterator[ServerSentEvent]:
        with self.hub.watch() as watcher:
            watcher.tell("history", self._pace.history(self._clock()))
            watcher.tell("pace", await self._tick())
            watcher.tell("relay", self._relay_counters)
            async for event in watcher.events():
                yield event

    async def messages(self, request: Request) -> Response:
        """`GET /api/messages?limit=&before=&conversation=`: newest arrival first."""
        try:
            limit = min(int(request.query_params.get("limit", 100)), LONGEST_LIST)
            before = int(request.query_params["before"]) if "before" in request.query_params else None
        except ValueError:
            return _json({"error": "limit and before: expected whole numbers"}, 400)
        conversation = request.query_params.get("conversation")
        return _json(await run_in_threadpool(self._store.messages, max(limit, 0), before, conversation))

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
            self._control = msgspec.json.decode(await request.body(), type=Control)
        except msgspec.MsgspecError as error:
            return _json({"error": str(error)}, 400)
        return _json(self._control)

    @asynccontextmanager
    async def lifespan(self, _: Starlette) -> AsyncIterator[None]:
        """Pick up the pace where an earlier run left it, then tick and poll until the end."""
        for arrived, lag_ms in self._store.arrivals(self._clock() - WINDOW):
            self._pace.add(arrived, [lag_ms])
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._keep_ticking)
            if self._relay:
                tasks.start_soon(self._keep_asking, self._relay)
            yield
            tasks.cancel_scope.cancel()

    async def _keep_ticking(self) -> None:
        while True:
            await asyncio.sleep(1 - self._clock().timestamp() % 1)
            self.hub.tell("pace", await self._tick())
            await run_in_threadpool(self._store.tidy)

    async def _keep_asking(self, relay: str) -> None:
        async with httpx.AsyncClient(verify=ssl.create_default_context(cafile=self._trust), timeout=3) as client:
            while True:
                counters = await self._ask(client, relay)
                if counters != self._relay_counters:
                    self._relay_counters = counters
                    self.hub.tell("relay", counters)
                await asyncio.sleep(1)

    async def _ask(self, client: httpx.AsyncClient, relay: str) -> RelayCounters | None:
        try:
            return await read_counters(client, relay)
        except RelayAway:
            # What it said last stays on the page, marked as old.
            return self._relay_counters and msgspec.structs.replace(self._relay_counters, reachable=False)

    async def _tick(self) -> Tick:
        now = self._clock()
        return Tick(int(now.timestamp()) - 1, self._pace.history(now, _STILL_OPEN), await self._summary())

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
            Route("/api/message", feed.message),
            Route("/api/conversations", feed.conversations),
            Route("/api/summary", feed.summary),
            Route("/api/contents", feed.contents),
            Route("/control", feed.show_control, methods=["GET"]),
            Route("/control", feed.set_control, methods=["POST"]),
            Route("/", _page),
            Mount("/page", StaticFiles(directory=PAGE)),
        ],
        # Only by its local names: a page elsewhere that points its own name here shall not read people's messages.
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


def _json(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(value), status, headers, media_type="application/json")
