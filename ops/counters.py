"""The counters of the host: the local host serves them, that in Azure exports them."""

from collections import Counter
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import msgspec
import requests

from shared.http_client import exchange
from shared.relay import relay

_PREFIX = "graph_relay."
_TIME_LIMIT = 3
_LONGEST_ANSWER = 1 << 20


class _Point(msgspec.Struct):
    name: str
    attributes: dict[str, Any] = {}
    value: float | None = None
    count: int = 0
    sum: float = 0.0


class Counted(msgspec.Struct):
    """Counts since the host started: notifications by result, and undelivered ones by reason.

    lag_seconds: mean, from receipt to delivery; None before the first delivery.
    """

    delivered: int
    refused: dict[str, int]
    retried: dict[str, int]
    lag_seconds: float | None


def counted() -> Counted | None:
    """Return the host's counters; None if it does not serve them. Raises SettingsError."""
    parts = urlsplit(relay().settings.notification_url)
    if not parts.netloc:  # an event hub
        return None
    with suppress(requests.RequestException, msgspec.DecodeError):
        address = f"{parts.scheme}://{parts.netloc}/admin/metrics"
        answer = exchange(relay().session, "GET", address, timeout=_TIME_LIMIT, limit=_LONGEST_ANSWER)
        points = msgspec.json.decode(answer.body, type=list[_Point])
        return Counted(
            delivered=sum(_by_reason(points, "delivered").values()),
            refused=_by_reason(points, "refused"),
            retried=_by_reason(points, "retried"),
            lag_seconds=_mean(points, "lag_seconds"),
        )
    return None


def _by_reason(points: list[_Point], name: str) -> dict[str, int]:
    found: Counter[str] = Counter()
    for point in points:
        if point.name == _PREFIX + name:
            found[str(point.attributes.get("reason", ""))] += int(point.value or 0)
    return {reason: count for reason, count in found.most_common() if count}


def _mean(points: list[_Point], name: str) -> float | None:
    measured = [point for point in points if point.name == _PREFIX + name]
    count = sum(point.count for point in measured)
    return sum(point.sum for point in measured) / count if count else None
