"""Rate limits of calls to Graph: for items that only a clientState proves, and for subscriptions."""

import threading
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from shared.errors import Reason, RetryLater

BURST = 300
"""Reads allowed for one declaration at once."""

REFILL = timedelta(minutes=1)
"""After this time without reads, a burst is allowed again."""


class ReadRateLimiter:
    """A token bucket per declaration: a burst of reads, then as many per minute. Per process, for all threads."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._spent_until: dict[str, datetime] = {}

    def take(self, declaration_id: str) -> None:
        """Take one read. Raises RetryLater if too many were taken; it does not count as an attempt."""
        now = self._clock()
        with self._lock:
            spent_until = max(self._spent_until.get(declaration_id, now), now) + REFILL / BURST
            if spent_until - now <= REFILL:
                self._spent_until[declaration_id] = spent_until
                return
        detail = "many items came without content for one subscription, and each is read from Graph"
        raise RetryLater(Reason.GRAPH_THROTTLED, detail, retry_after=REFILL)


WINDOW = timedelta(seconds=20)
"""The window of Graph's limits on `/subscriptions` (docs/graph.md, "Limits")."""

_HELD = WINDOW + timedelta(seconds=0.5)
"""How long a call counts: since calls take different times to reach Graph, 20 s here may be less there."""

SHARE = 0.8
"""Share of Graph's limits for one process: the rest is for other instances and for people."""


@dataclass(frozen=True)
class CallLimit:
    """Graph's limit for one kind of call in a window: for this app in a tenant, and for this app over all tenants."""

    name: str
    in_tenant: int
    over_all: int


WRITES = CallLimit("writes of subscriptions", 500, 2_000)
READS = CallLimit("reads of subscriptions", 500, 2_000)
LISTS = CallLimit("lists of subscriptions", 25, 40)


class CallRateLimiter:
    """Keeps calls within `SHARE` of Graph's limits. Per process, for all threads."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._taken: dict[tuple[CallLimit, str], deque[datetime]] = defaultdict(deque)

    def take(self, limit: CallLimit, tenant_id: str, calls: int = 1) -> None:
        """Take a number of calls. Raises RetryLater with the time after which they are allowed."""
        with self._lock:
            now = self._clock()
            held = [
                (self._recent((limit, tenant_id), now), int(limit.in_tenant * SHARE)),
                (self._recent((limit, ""), now), int(limit.over_all * SHARE)),
            ]
            delay = max(_until_room(taken, most, calls, now) for taken, most in held)
            if delay > timedelta(0):
                raise RetryLater(
                    Reason.GRAPH_THROTTLED, f"Graph's limit for {limit.name} is reached", retry_after=delay
                )
            for taken, _ in held:
                taken.extend([now] * calls)

    def _recent(self, key: tuple[CallLimit, str], now: datetime) -> deque[datetime]:
        taken = self._taken[key]
        while taken and taken[0] <= now - _HELD:
            taken.popleft()
        return taken


def _until_room(taken: deque[datetime], most: int, calls: int, now: datetime) -> timedelta:
    excess = len(taken) + calls - most
    return taken[excess - 1] + _HELD - now if excess > 0 else timedelta(0)
