"""How long notifications take to the destination, where the host tells: the local one does, Azure's exports it."""

from contextlib import suppress
from urllib.parse import urlsplit

import msgspec
import requests

from shared.http_client import exchange
from shared.relay import relay

_LAG = "graph_relay.lag_seconds"
_TIME_LIMIT = 3
_LONGEST_ANSWER = 1 << 20


class _Point(msgspec.Struct):
    name: str
    count: int = 0
    sum: float = 0.0


def mean_lag() -> float | None:
    """Return the mean lag since the host started, in seconds; None where it isn't told. Raises SettingsError."""
    parts = urlsplit(relay().settings.notification_url)
    if not parts.netloc:  # an event hub
        return None
    with suppress(requests.RequestException, msgspec.DecodeError):
        address = f"{parts.scheme}://{parts.netloc}/admin/metrics"
        answer = exchange(relay().session, "GET", address, timeout=_TIME_LIMIT, limit=_LONGEST_ANSWER)
        points = msgspec.json.decode(answer.body, type=list[_Point])
        lags = [point for point in points if point.name == _LAG]
        count = sum(point.count for point in lags)
        return sum(point.sum for point in lags) / count if count else None
    return None
