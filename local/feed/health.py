"""Whether messages currently get through, and why not: computed from the reports of each part."""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import pairwise

import msgspec

from local.feed.relay_metrics import RelayCounters
from shared.paths import LastRetry

RECENT = timedelta(seconds=30)
"""For this time, a retry or a refusal counts as a sign of trouble."""
LATE = timedelta(seconds=20)
"""A message that waits longer is late; a retry after a brief failure is not."""


class Health(msgspec.Struct, frozen=True):
    """The waiting messages, for how long they wait, and why.

    queued: messages in the relay's queue, including hidden ones; pending: unacknowledged notifications of Graph. Both
    None if unknown. waiting_since: when nothing waited, or an event last arrived in time (ISO 8601); None if nothing
    waits. causes: names of `trouble` in page/trouble.js, each with a detail, the most relevant first. ok: nothing is
    wrong.
    """

    ok: bool
    queued: int | None
    pending: int | None
    waiting_since: str | None
    causes: list[tuple[str, str]]


class HealthHistory:
    """Remembers what is necessary to detect changes."""

    def __init__(self) -> None:
        self._empty: datetime | None = None
        self._retried: deque[tuple[datetime, dict[str, int]]] = deque()

    def arrived(self, at: datetime, lags: Iterable[float]) -> None:
        """Note events by their lags in milliseconds: while some arrive in time, waiting messages are only in
        transit.
        """
        if any(lag < LATE.total_seconds() * 1_000 for lag in lags):
            self._empty = at

    def judge(
        self,
        now: datetime,
        relay: RelayCounters | None,
        queued: int | None,
        pending: int | None,
        refusing: Sequence[tuple[str, str]],
        retries: Sequence[LastRetry] = (),
    ) -> Health:
        """Return the health.

        relay: None: no relay is known. refusing: the faults that are on. retries: the reasons for which the app's
        messages wait, with their times; the queue only shows due messages.
        """
        waiting = (queued or 0) + (pending or 0)
        if not waiting or self._empty is None:
            self._empty = now
        retried = self._newly_retried(now, relay)
        causes = list(refusing)
        if relay is not None and not relay.reachable:
            causes.append(("relay_away", ""))
        late = waiting > 0 and now - self._empty >= LATE
        waited_for = {
            retry.reason: retry for retry in retries if now - retry.at < RECENT or (late and retry.retry_at > now)
        }
        causes += [("retried", reason) for reason in retried if reason not in waited_for]
        causes += [("waits", retry.detail or retry.reason) for retry in waited_for.values()]
        received = [retry.received for retry in waited_for.values()]
        if late and not causes:
            causes.append(("graph_holds" if pending and not queued else "slow", ""))
        return Health(
            ok=not causes,
            queued=queued,
            pending=pending,
            waiting_since=min([self._empty, *received]).isoformat() if waiting else None,
            causes=causes,
        )

    def _newly_retried(self, now: datetime, relay: RelayCounters | None) -> list[str]:
        """Return the reasons of recent retries, the most frequent first; counters restart with the relay."""
        if relay is not None:
            self._retried.append((now, relay.retried))
        while len(self._retried) > 1 and self._retried[0][0] < now - RECENT:
            self._retried.popleft()
        grown: dict[str, int] = {}
        steps = list(self._retried)
        for (_, before), (_, after) in pairwise(steps):
            for reason, count in after.items():
                grown[reason] = grown.get(reason, 0) + max(0, count - before.get(reason, 0))
        return [reason for reason, count in sorted(grown.items(), key=_by_count) if count]


def _by_count(entry: tuple[str, int]) -> int:
    return -entry[1]


def refusing_on_purpose(
    mode: str, status: int, hang_seconds: float, active: Mapping[str, str]
) -> list[tuple[str, str]]:
    """Return the causes that were switched on: the feed's own responses, and faults of other parts, by title."""
    causes = [("broken", title) for title in active.values()]
    if mode == "status" and not any(name.startswith("destination") for name in active):
        causes.append(("feed_answers", str(status)))
    if hang_seconds and "destination_slow" not in active:
        causes.append(("feed_hangs", f"{hang_seconds:g} s"))
    return causes
