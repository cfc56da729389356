"""The rows, by what they are about."""

from local.conformance.rows import http, life, queues, storage, timers
from local.conformance.table import Row

GROUPS: dict[str, tuple[Row, ...]] = {
    "http": http.ROWS,
    "queues": queues.ROWS,
    "storage": storage.ROWS,
    "life": life.ROWS,
    "timers": timers.ROWS,
}

ROWS = tuple(row for rows in GROUPS.values() for row in rows)
