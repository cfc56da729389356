"""Receives events from Graph Relay and keeps the newest version of each resource in PostgreSQL."""

import json
import os
from pathlib import Path
from typing import Any

import psycopg
from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from standardwebhooks import Webhook, WebhookVerificationError

STORE = """
    INSERT INTO resources (source, subject, version, type, event) VALUES (%s, %s, %s, %s, %s)
    ON CONFLICT (source, subject) DO UPDATE
        SET version = excluded.version, type = excluded.type, event = excluded.event
        WHERE resources.version < excluded.version
"""
MOST_BYTES = 16 << 20

app = FastAPI()
webhook = Webhook(os.environ["RELAY_SECRET"])
database = os.environ["DATABASE_URL"]
with psycopg.connect(database, autocommit=True) as connection:
    connection.execute((Path(__file__).parents[1] / "schema.sql").read_bytes())


@app.post("/events")
async def receive(request: Request) -> Response:
    """Verify, store, and only then answer 2xx."""
    body = await request.body()
    if len(body) > MOST_BYTES:
        return Response(status_code=413)
    try:
        webhook.verify(body, dict(request.headers), json_parse=False)
    except (WebhookVerificationError, ValueError):  # a malformed header raises ValueError
        return Response(status_code=401)
    try:
        parsed = json.loads(body)
        events = parsed if isinstance(parsed, list) else [parsed]
        rows = [row(event) for event in events]
    except (ValueError, KeyError, TypeError, RecursionError):  # one event of the batch; the relay finds it
        return Response(status_code=422)
    try:
        await run_in_threadpool(store, rows)
    except psycopg.OperationalError:
        return Response(status_code=503)
    return Response(status_code=204)


def row(event: dict[str, Any]) -> tuple[str, ...]:
    """Return the columns of an event; as ASCII, so that any character is stored as an escape."""
    return event["source"], event["subject"], event["version"], event["type"], json.dumps(event)


def store(rows: list[tuple[str, ...]]) -> None:
    """Store a batch in one transaction, in one order, so that concurrent batches can't block each other."""
    with psycopg.connect(database) as connection, connection.cursor() as cursor:
        cursor.executemany(STORE, sorted(rows))
