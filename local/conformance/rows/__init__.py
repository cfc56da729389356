"""The rows, by topic."""

from local.conformance.rows import http, life, queues, storage, timers

ROWS = (*http.ROWS, *queues.ROWS, *storage.ROWS, *life.ROWS, *timers.ROWS)
