"""How long notifications take to the destination, where the host tells: the local one does, Azure's exports it."""

from contextlib import suppress
from urllib.parse import urlsplit

import msgspec
import requests

from shared import clients
from shared.http_client import read_bounded

_LAG = "graph_relay.lag_seconds"
_TIME_LIMIT = 3
_LONGEST_ANSWER = 1 << 20


class _Point(msgspec.Struct):
    name: str
    count: int = 0
    sum: float = 0.0


def mean_lag() -> float | None:
    """Return the mean lag since the host started, in seconds; None where it isn't told. Raises SettingsError."""
    parts = urlsplit(clients.settings().notification_url)
    if not parts.netloc:  # an event hub
        return None
    with suppress(requests.RequestException, msgspec.DecodeError):
        address = f"{parts.scheme}://{parts.netloc}/admin/metrics"
        with clients.session().get(address, timeout=_TIME_LIMIT, allow_redirects=False, stream=True) as answer:
            points = msgspec.json.decode(read_bounded(answer, _LONGEST_ANSWER), type=list[_Point])
        lags = [point for point in points if point.name == _LAG]
        count = sum(point.count for point in lags)
        return sum(point.sum for point in lags) / count if count else None
    return None
