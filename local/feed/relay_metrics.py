"""The relay's counters, read from the functions host."""

from collections import Counter
from itertools import chain
from typing import Any

import httpx
import msgspec

_PREFIX = "graph_relay."


class _Measurement(msgspec.Struct, frozen=True):
    name: str
    attributes: dict[str, Any] = {}
    value: float | None = None  # histograms have none


class RelayCounters(msgspec.Struct, frozen=True):
    """The relay's counters since it started; `refused`, `dead_lettered` and `retried` by reason."""

    reachable: bool = False
    received: int = 0
    queued: int = 0
    delivered: int = 0
    duplicates: int = 0
    refused: dict[str, int] = {}
    dead_lettered: dict[str, int] = {}
    retried: dict[str, int] = {}


class RelayUnavailable(Exception):
    """The functions host did not answer with metrics."""


def tally(*bodies: bytes) -> RelayCounters:
    """Return the counters in lists of measurements, summed over attributes and hosts."""
    totals: Counter[str] = Counter()
    reasons: dict[str, Counter[str]] = {"refused": Counter(), "dead_lettered": Counter(), "retried": Counter()}
    for measurement in chain.from_iterable(msgspec.json.decode(body, type=list[_Measurement]) for body in bodies):
        name = measurement.name.removeprefix(_PREFIX)
        n = int(measurement.value or 0)
        totals[name] += n
        if name in reasons:
            reasons[name][str(measurement.attributes.get("reason", "unspecified"))] += n
    return RelayCounters(
        reachable=True,
        received=totals["received"],
        queued=totals["queued"],
        delivered=totals["delivered"],
        duplicates=totals["duplicates"],
        **{name: dict(by_reason) for name, by_reason in reasons.items()},
    )


async def read_counters(client: httpx.AsyncClient, urls: str) -> RelayCounters:
    """Ask the functions hosts at `urls`, separated by commas. Raises RelayUnavailable."""
    try:
        responses = [await client.get(url) for url in urls.split(",")]
        return tally(*(response.raise_for_status().content for response in responses))
    except (httpx.HTTPError, msgspec.MsgspecError) as error:
        raise RelayUnavailable from error
