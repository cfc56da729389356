"""The present state of the feed and of the services beside it, for the page: polled, computed and streamed."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

import anyio
import httpx
import msgspec
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from local.feed.answers import in_json
from local.feed.breakage import Broken
from local.feed.health import Health, HealthHistory
from local.feed.hub import Hub
from local.feed.pace import WINDOW, Lag, Pace, Second
from local.feed.relay_metrics import RelayCounters, RelayUnavailable, read_counters
from local.feed.services import ConnectedServices
from local.feed.simulator import Simulator, SimulatorUnavailable
from local.feed.store import Applied, Store

NAMES_EVERY = timedelta(minutes=1)  # between two requests for the names of chats and channels
_STILL_OPEN = timedelta(seconds=10)  # an event counts for its second once it is stored, which may be later


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
    """The page's update of every second: the latest finished seconds, the totals, the health."""

    at: int
    seconds: list[Second]
    summary: Summary
    health: Health


class LiveState:
    """The endpoints of the present state, and the tasks of every second. refusing: returns the faults of this feed
    that are on, as `refusing_on_purpose` does.
    """

    def __init__(
        self,
        store: Store,
        services: ConnectedServices,
        broken: Broken,
        refusing: Callable[[], Sequence[tuple[str, str]]],
        clock: Callable[[], datetime],
    ) -> None:
        self.hub = Hub()
        self.simulator: Simulator | None = None
        self._store = store
        self._services = services
        self._broken = broken
        self._refusing = refusing
        self._clock = clock
        self._pace = Pace()
        self._relay_counters = RelayCounters() if services.relay else None
        self._health_history = HealthHistory()
        self._pending: int | None = None

    def applied(self, arrived: datetime, batch: Applied) -> None:
        """Show a batch that was stored."""
        self._pace.add(arrived, batch.lags)
        self._health_history.arrived(arrived, batch.lags)
        self.hub.show(batch.messages)

    async def stream(self, _: Request) -> Response:
        """`GET /api/stream`: `history` once, then `pace` and `relay` as they change and `messages` as they come."""
        return EventSourceResponse(self._watch())

    async def _watch(self) -> AsyncIterator[ServerSentEvent]:
        with self.hub.watch() as watcher:
            watcher.publish("history", self._pace.history(self._clock()))
            watcher.publish("pace", await self._tick())
            watcher.publish("relay", self._relay_counters)
            watcher.publish("broken", self._broken.states())
            async for event in watcher.events():
                yield event

    async def summary(self, _: Request) -> Response:
        """`GET /api/summary`."""
        return in_json(await self._summary())

    @asynccontextmanager
    async def lifespan(self, _: Starlette) -> AsyncIterator[None]:
        """Restore the recent seconds from the database, then tick and poll until the end."""
        for arrived, lag_ms in self._store.arrivals(self._clock() - WINDOW):
            self._pace.add(arrived, [lag_ms])
        context = ssl.create_default_context(cafile=self._services.trust)
        async with (
            httpx.AsyncClient(verify=context, timeout=3) as client,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(self._keep_ticking)
            if self._services.relay:
                tasks.start_soon(self._keep_asking_relay, client, self._services.relay)
            if self._services.simulator:
                self.simulator = Simulator(client, self._services.simulator)
                tasks.start_soon(self._keep_asking_simulator, self.simulator)
            yield
            tasks.cancel_scope.cancel()

    async def _keep_ticking(self) -> None:
        while True:
            await asyncio.sleep(1 - self._clock().timestamp() % 1)
            self.hub.publish("pace", await self._tick())
            await run_in_threadpool(self._store.tidy)

    async def _keep_asking_relay(self, client: httpx.AsyncClient, relay: str) -> None:
        while True:
            counters = await self._ask(client, relay)
            if counters != self._relay_counters:
                self._relay_counters = counters
                self.hub.publish("relay", counters)
            await asyncio.sleep(1)

    async def _keep_asking_simulator(self, simulator: Simulator) -> None:
        named: datetime | None = None
        while True:
            now = self._clock()
            try:
                self._pending = await simulator.pending()
                if named is None or now - named >= NAMES_EVERY:
                    await run_in_threadpool(self._store.name, await simulator.names())
                    self.hub.publish("names", None)
                    named = now
            except SimulatorUnavailable:
                self._pending = None
            await asyncio.sleep(1)

    async def _ask(self, client: httpx.AsyncClient, relay: str) -> RelayCounters | None:
        try:
            return await read_counters(client, relay)
        except RelayUnavailable:
            # The last values stay on the page, marked as old.
            return self._relay_counters and msgspec.structs.replace(self._relay_counters, reachable=False)

    async def _tick(self) -> Tick:
        now = self._clock()
        seconds = self._pace.history(now, _STILL_OPEN)
        return Tick(int(now.timestamp()) - 1, seconds, await self._summary(), await self._health(now))

    async def _health(self, now: datetime) -> Health:
        queue = self._services.queue
        queued = await run_in_threadpool(queue.length) if queue else None
        retries = await run_in_threadpool(self._services.paths.retries) if self._services.paths and queued else []
        return self._health_history.judge(now, self._relay_counters, queued, self._pending, self._refusing(), retries)

    async def _summary(self) -> Summary:
        counts = await run_in_threadpool(self._store.counts)
        now = self._clock()
        return Summary(**msgspec.structs.asdict(counts), lag_ms=self._pace.lag(now), rate=self._pace.rate(now))
