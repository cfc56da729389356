"""The rate and lag of events: the last five minutes, second by second."""

from array import array
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from itertools import chain, islice
from math import ceil

import msgspec

WINDOW = timedelta(minutes=5)
_RATE_SECONDS = 10
_SAMPLE = 10_000  # the newest lags are enough for a percentile


class Lag(msgspec.Struct, frozen=True):
    """Milliseconds from a change to its arrival; None without events."""

    p50: float | None
    p99: float | None


class Second(msgspec.Struct, frozen=True):
    """One second of the chart: `at` in Unix time."""

    at: int
    events: int
    lag_ms: Lag


class Pace:
    """Stores the lag of each new event of the window. Not thread-safe: used on the event loop only."""

    def __init__(self) -> None:
        self._lags: dict[int, array[float]] = {}

    def add(self, arrived: datetime, lags: Iterable[float]) -> None:
        """Note events that arrived together, by their lags in milliseconds."""
        second = int(arrived.timestamp())
        if second not in self._lags:
            self._forget(second - int(WINDOW.total_seconds()))
        self._lags.setdefault(second, array("d")).extend(lags)

    def _second(self, at: int) -> Second:
        """Return one second; events of a past second may still be added when they are stored."""
        lags = self._lags.get(at, array("d"))
        return Second(at, len(lags), percentiles(lags))

    def history(self, now: datetime, span: timedelta = WINDOW) -> list[Second]:
        """Return the finished seconds with events in the window's last `span`, oldest first."""
        last = int(now.timestamp())
        first = last - int(span.total_seconds())
        return [self._second(at) for at in sorted(self._lags) if first <= at < last]

    def lag(self, now: datetime) -> Lag:
        """Return the lag over the window."""
        self._forget(int((now - WINDOW).timestamp()))
        newest_first = chain.from_iterable(self._lags[at] for at in sorted(self._lags, reverse=True))
        return percentiles(list(islice(newest_first, _SAMPLE)))

    def rate(self, now: datetime) -> float:
        """Return new events per second over the last ten finished seconds."""
        last = int(now.timestamp())
        return sum(len(self._lags.get(at, ())) for at in range(last - _RATE_SECONDS, last)) / _RATE_SECONDS

    def _forget(self, until: int) -> None:
        for second in [second for second in self._lags if second < until]:
            del self._lags[second]


def percentiles(lags: Sequence[float]) -> Lag:
    """Return the nearest-rank percentiles: always a lag that occurred."""
    if not lags:
        return Lag(None, None)
    ranked = sorted(lags)
    return Lag(*(ranked[ceil(share * len(ranked)) - 1] for share in (0.5, 0.99)))
