"""What can be read of the stored messages, and of their paths through the app."""

from collections.abc import Callable
from typing import Any

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from local.feed.answers import in_json, whole_number
from local.feed.message import DeliveryRow, Message
from local.feed.relay_paths import EventPath, RelayPaths
from local.feed.store import Selection, Store

LONGEST_LIST = 500  # messages


class Inspection(msgspec.Struct, frozen=True):
    """A message: its last version as a CloudEvent, and the deliveries of each version."""

    message: Message
    event: dict[str, Any]
    deliveries: list[DeliveryRow]


class Queries:
    """The endpoints that only read. paths: None without access to the app's storage."""

    def __init__(self, store: Store, paths: RelayPaths | None) -> None:
        self._store = store
        self._paths = paths

    async def messages(self, request: Request) -> Response:
        """`GET /api/messages?limit=&before=&conversation=&q=&state=`: newest arrival first."""
        asked = request.query_params
        try:
            limit = min(whole_number(asked.get("limit", "100")), LONGEST_LIST)
            before = whole_number(asked["before"]) if "before" in asked else None
        except ValueError:
            return in_json({"error": "limit and before: expected whole numbers, 0 or greater"}, 400)
        state = asked.get("state") or None
        if state is not None and state not in Selection.states():
            return in_json({"error": f"state: expected one of {', '.join(Selection.states())}"}, 400)
        selection = Selection(asked.get("conversation") or None, asked.get("q") or None, state)
        return in_json(await run_in_threadpool(self._store.messages, limit, before, selection))

    async def inspect(self, request: Request) -> Response:
        """`GET /api/inspect?position=`: a message as a CloudEvent, and its deliveries; null if there is none."""
        return await _at_position(request, self._inspection)

    def _inspection(self, position: int) -> Inspection | None:
        message = self._store.at(position)
        if message is None:
            return None
        deliveries = self._store.deliveries(message.source, message.subject)
        return Inspection(message, _cloud_event(message, deliveries), deliveries)

    async def path(self, request: Request) -> Response:
        """`GET /api/path?position=`: the recorded paths of a message's events; null without access to the app's
        storage.
        """
        return await _at_position(request, self._path)

    def _path(self, position: int) -> EventPath | None:
        message, paths = self._store.at(position), self._paths
        if message is None or paths is None:
            return None
        deliveries = self._store.deliveries(message.source, message.subject)
        return paths.of_events(dict.fromkeys(delivery.event_id for delivery in deliveries))

    async def failures(self, _: Request) -> Response:
        """`GET /api/failures`: the last notifications that the app refused or dead-lettered, newest first."""
        paths = self._paths
        return in_json(await run_in_threadpool(paths.failures) if paths else [])

    async def refusals(self, _: Request) -> Response:
        """`GET /api/refusals`: the last requests that this feed refused, newest first."""
        return in_json(await run_in_threadpool(self._store.refusals, 100))

    async def message(self, request: Request) -> Response:
        """`GET /api/message?source=&subject=`: one message, or null."""
        identity = (request.query_params.get("source", ""), request.query_params.get("subject", ""))
        return in_json(await run_in_threadpool(self._store.message, *identity))

    async def conversations(self, _: Request) -> Response:
        """`GET /api/conversations`: each chat and channel with its number of messages and its authors."""
        return in_json(await run_in_threadpool(self._store.conversations))

    async def contents(self, _: Request) -> Response:
        """`GET /api/contents`: every message in its last version, one JSON object a line."""
        return StreamingResponse(self._store.contents(), media_type="application/x-ndjson")


async def _at_position(request: Request, read: Callable[[int], Inspection | EventPath | None]) -> Response:
    """Return what there is at the position that a request names."""
    try:
        position = whole_number(request.query_params.get("position", ""))
    except ValueError:
        return in_json({"error": "position: expected a whole number, 0 or greater"}, 400)
    return in_json(await run_in_threadpool(read, position))


def _cloud_event(message: Message, deliveries: list[DeliveryRow]) -> dict[str, Any]:
    """Return a message's last version as delivered; the order of its attributes may differ."""
    delivered = next(row for row in reversed(deliveries) if row.version == message.version)
    partial = {"partial": True} if message.partial else {}
    return {
        "specversion": "1.0",
        "id": delivered.event_id,
        "source": message.source,
        "subject": message.subject,
        "type": message.type,
        "time": message.time,
        "datacontenttype": "application/json",
        "version": message.version,
        **partial,
        "data": message.data,
    }
