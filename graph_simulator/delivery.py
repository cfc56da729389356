"""Posts collections of notifications, and retries until they are acknowledged in time (docs/graph.md, "Retries")."""

import asyncio
import heapq
import random
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import count
from typing import Any
from urllib.parse import urlsplit

import httpx
import msgspec

from graph_simulator.clock import VirtualClock
from graph_simulator.endpoint import Endpoint, EndpointState
from graph_simulator.faults import Faults
from graph_simulator.notification import Item

GIVE_UP_AFTER = timedelta(hours=4)
FIRST_PAUSE, LONGEST_PAUSE = timedelta(seconds=2), timedelta(minutes=15)
SLOW_DELAY = timedelta(minutes=10)
GATHERING_SECONDS = 0.03
LARGEST_COLLECTION = 40
AT_ONCE = 16
SMALL_COLLECTION_SHARE = 0.1
SPLIT_SHARE = 0.2
TIMES_KEPT = 20_000
HEADERS = {"Content-Type": "application/json; charset=utf-8"}

Tokens = Callable[[Sequence[Item]], list[str] | None]
"""Returns the `validationTokens` of a collection."""


@dataclass(frozen=True)
class PendingPost:
    """Items that are posted to one URL together, with the number of attempts and the time of the first."""

    url: str
    items: tuple[Item, ...]
    attempt: int = 0
    since: datetime | None = None


class Delivery:
    """Collects items for a short time, posts them, and retries unacknowledged posts for up to four hours."""

    def __init__(
        self,
        client: httpx.AsyncClient,
        tokens: Tokens,
        clock: VirtualClock,
        chance: random.Random,
        faults: Callable[[], Faults],
    ) -> None:
        self._client = client
        self._tokens = tokens
        self._clock = clock
        self._chance = chance
        self._faults = faults
        self._fresh: dict[str, deque[Item]] = {}
        self._later: list[tuple[datetime, int, PendingPost]] = []
        self._order = count()
        self._wake = asyncio.Event()
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._endpoints: dict[str, Endpoint] = {}
        self.counts: Counter[str] = Counter()
        """posted, posts, acknowledged, pending, discarded, dropped."""
        self.answers: Counter[str] = Counter()
        self.hostile_answers: Counter[str] = Counter()
        self.acknowledge_seconds: deque[float] = deque(maxlen=TIMES_KEPT)

    def put(self, item: Item, after: timedelta = timedelta()) -> None:
        """Send an item together with other due items, `after` some (virtual) time or at once."""
        state = self._endpoint(item.url).state()
        if state is EndpointState.DROP:
            self.counts["dropped"] += item.genuine
            return
        self.counts["pending"] += item.genuine
        if state is EndpointState.SLOW:
            after += SLOW_DELAY
        if after:
            self._postpone(PendingPost(item.url, (item,)), self._clock() + after)
        else:
            self._fresh.setdefault(item.url, deque()).append(item)
        self._wake.set()

    async def run(self) -> None:
        """Deliver until cancelled."""
        async with asyncio.TaskGroup() as posts:
            while True:
                await self._clock.wait(self._wake, self._later[0][0] if self._later else None)
                self._wake.clear()
                await asyncio.sleep(GATHERING_SECONDS)
                while (shipment := self._next()) is not None:
                    await self._slots.acquire()
                    posts.create_task(self._post_and_release(shipment))

    async def post_hostile(self, url: str, body: bytes) -> None:
        """Post a forgery, once, and count the answer apart from those to Graph's own posts."""
        answer, _ = await self._attempt(url, body, self._faults().answer_seconds)
        self.hostile_answers[answer] += 1

    def _next(self) -> PendingPost | None:
        """Return the due posts: retries and delayed items first, then the collected items."""
        now = self._clock()
        while self._later and self._later[0][0] <= now:
            shipment = heapq.heappop(self._later)[2]
            if shipment.attempt > 0:
                return shipment
            self._fresh.setdefault(shipment.url, deque()).extend(shipment.items)
        for url, items in self._fresh.items():
            if items:
                few = self._chance.random() < SMALL_COLLECTION_SHARE
                size = self._chance.randint(1, LARGEST_COLLECTION) if few else LARGEST_COLLECTION
                return PendingPost(url, tuple(items.popleft() for _ in range(min(size, len(items)))))
        return None

    async def _post_and_release(self, shipment: PendingPost) -> None:
        try:
            await self._post(shipment)
        finally:
            self._slots.release()

    async def _post(self, shipment: PendingPost) -> None:
        genuine = sum(item.genuine for item in shipment.items)
        first = shipment.attempt == 0
        body = self._collection(shipment.items)
        if first:
            self.counts["posted"] += genuine
        self.counts["posts"] += 1
        limits = self._faults()
        limit = limits.answer_seconds if first else limits.repeat_answer_seconds
        answer, seconds = await self._attempt(shipment.url, body, limit)
        self.answers[answer] += 1
        self._endpoint(shipment.url).answered(seconds, limits.answer_seconds, limits.repeat_answer_seconds)
        if answer.startswith("2"):
            self.counts["acknowledged"] += genuine
            self.counts["pending"] -= genuine
            self.acknowledge_seconds.append(seconds)
        else:
            self._repeat(shipment)

    async def _attempt(self, url: str, body: bytes, limit: float) -> tuple[str, float]:
        """Post once; return the status, "timeout" or "unreachable", and the duration."""
        started = time.perf_counter()
        try:
            async with asyncio.timeout(limit):
                response = await self._client.post(url, content=body, headers=HEADERS)
            answer = str(response.status_code)
        except (TimeoutError, httpx.TimeoutException):
            answer = "timeout"
        except (httpx.HTTPError, httpx.InvalidURL):
            answer = "unreachable"
        return answer, time.perf_counter() - started

    def _repeat(self, shipment: PendingPost) -> None:
        """Schedule a retry, occasionally in two parts: Graph may regroup the items of a retry."""
        now = self._clock()
        since = shipment.since or now
        pause = min(FIRST_PAUSE * 2**shipment.attempt, LONGEST_PAUSE) * self._chance.uniform(0.8, 1.2)
        if now + pause - since > GIVE_UP_AFTER:
            genuine = sum(item.genuine for item in shipment.items)
            self.counts["discarded"] += genuine
            self.counts["pending"] -= genuine
            return
        again = replace(shipment, attempt=shipment.attempt + 1, since=since)
        parts = [again]
        if len(again.items) > 1 and self._chance.random() < SPLIT_SHARE:
            cut = self._chance.randrange(1, len(again.items))
            parts = [replace(again, items=again.items[:cut]), replace(again, items=again.items[cut:])]
        for part in parts:
            self._postpone(part, now + pause)
        self._wake.set()

    def _postpone(self, shipment: PendingPost, until: datetime) -> None:
        heapq.heappush(self._later, (until, next(self._order), shipment))

    def _collection(self, items: Sequence[Item]) -> bytes:
        collection: dict[str, Any] = {"value": [item.body for item in items]}
        tokens = self._tokens(items)
        if tokens != []:
            collection["validationTokens"] = tokens
        elif self._chance.random() < 0.5:
            collection["validationTokens"] = []
        return msgspec.json.encode(collection)

    def _endpoint(self, url: str) -> Endpoint:
        host = urlsplit(url).netloc
        if host not in self._endpoints:
            self._endpoints[host] = Endpoint(self._clock)
        return self._endpoints[host]
