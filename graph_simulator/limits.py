"""How often Graph may be called (docs/graph.md, "Limits")."""

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil

from graph_simulator.login import Caller
from graph_simulator.refusal import too_many_requests

SILENT_SHARE = 0.2


@dataclass(frozen=True)
class Limit:
    """Calls within `window`: of one app in one tenant, of one app in all tenants, and on one resource."""

    name: str
    window: timedelta
    in_tenant: int
    over_all: int
    on_resource: int | None = None


TWENTY_SECONDS, SECOND = timedelta(seconds=20), timedelta(seconds=1)

SUBSCRIPTION_WRITE = Limit("subscription write", TWENTY_SECONDS, 500, 2_000)
SUBSCRIPTION_REAUTHORIZE = Limit("subscription reauthorize", TWENTY_SECONDS, 1_000, 4_000)
SUBSCRIPTION_GET = Limit("subscription get", TWENTY_SECONDS, 500, 2_000)
SUBSCRIPTION_LIST = Limit("subscription list", TWENTY_SECONDS, 25, 40)
EXPORT = Limit("export", SECOND, 200, 1_000)
MESSAGES = Limit("messages of a channel or chat", SECOND, 20, 200, on_resource=1)
CHANNELS = Limit("channels and members of a team", SECOND, 60, 1_200, on_resource=4)
CHANNEL_MEMBERS = Limit("members of a channel", SECOND, 60, 1_200, on_resource=1)
CHATS = Limit("chats of a user", SECOND, 20, 200)
OTHER = Limit("other reads of Teams", SECOND, 30, 1_500)
MAILBOX = Limit("Outlook", timedelta(minutes=10), 130_000, 130_000, on_resource=10_000)
FILES = Limit("files and lists", timedelta(minutes=1), 3_000, 130_000)
DIRECTORY = Limit("directory", timedelta(seconds=10), 130_000, 130_000)


class Limiter:
    """Counts calls in sliding windows of virtual time."""

    def __init__(self, clock: Callable[[], datetime], chance: random.Random) -> None:
        self._clock = clock
        self._chance = chance
        self._calls: dict[tuple[str, ...], deque[datetime]] = {}

    def check(self, limit: Limit, caller: Caller, resource: str) -> None:
        """Count a call on a resource.

        Raises:
            Refusal: 429, occasionally without `Retry-After`; a refused call is not counted.
        """
        windows = [
            ((limit.name, caller.app, caller.tenant), limit.in_tenant),
            ((limit.name, caller.app), limit.over_all),
        ]
        if limit.on_resource is not None:
            windows.append(((limit.name, caller.app, caller.tenant, resource.lower()), limit.on_resource))
        now = self._clock()
        held = [(self._recent(key, now - limit.window), most) for key, most in windows]
        for calls, most in held:
            if len(calls) >= most:
                wait = ceil((calls[0] + limit.window - now).total_seconds())
                raise too_many_requests(None if self._chance.random() < SILENT_SHARE else max(1, wait))
        for calls, _ in held:
            calls.append(now)

    def _recent(self, key: tuple[str, ...], since: datetime) -> deque[datetime]:
        calls = self._calls.setdefault(key, deque())
        while calls and calls[0] <= since:
            calls.popleft()
        return calls
