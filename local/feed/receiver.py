"""Receives deliveries: checks their signature and form, and stores their events."""

import asyncio
from collections.abc import Callable
from datetime import datetime

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from local.feed.answers import in_json
from local.feed.control import Control
from local.feed.event import NotEvents, read_batch
from local.feed.message import ReceivedRequest
from local.feed.signature import BadSignature, Unsigned, Verifier
from local.feed.store import Applied, Store

MEDIA_TYPE = "application/cloudevents-batch+json"
LARGEST_BATCH = 64 * 1024 * 1024  # bytes


class Refused(Exception):
    """A batch is rejected with this status, and counted under this reason."""

    def __init__(self, status: int, reason: str, retry_after: int | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.retry_after = retry_after


class Receiver:
    """The destination that the feed is. control: the faults that are switched on. applied: called with the time of
    arrival and the changes of each batch, once they are stored.
    """

    def __init__(
        self,
        store: Store,
        verifier: Verifier,
        clock: Callable[[], datetime],
        applied: Callable[[datetime, Applied], None],
    ) -> None:
        self.control = Control()
        self._store = store
        self._verifier = verifier
        self._clock = clock
        self._applied = applied

    async def receive(self, request: Request) -> Response:
        """`POST /events`: 204 once the batch is stored."""
        body = b""
        try:
            body = await _read(request)
            await self._store_batch(body, request)
        except Refused as refused:
            received = _received(request, len(body), self._clock())
            await run_in_threadpool(self._store.refuse, received, refused.status, refused.reason)
            headers = {} if refused.retry_after is None else {"Retry-After": str(refused.retry_after)}
            return in_json({"refused": refused.reason}, refused.status, headers)
        return Response(status_code=204)

    async def _store_batch(self, body: bytes, request: Request) -> None:
        control = self.control
        await asyncio.sleep(control.hang_seconds)
        if control.mode == "status":
            raise Refused(control.status, "rehearsed", control.retry_after)
        try:
            self._verifier.verify(body, request.headers)
            events = read_batch(body)
        except Unsigned as error:
            raise Refused(401, "unsigned") from error
        except BadSignature as error:
            raise Refused(401, "signature") from error
        except NotEvents as error:
            raise Refused(400, "not_events") from error
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != MEDIA_TYPE:
            raise Refused(415, "media_type")
        if any(event.id in control.refuse_ids for event in events):
            raise Refused(400, "rehearsed")
        arrived = self._clock()
        applied = await run_in_threadpool(self._store.apply, events, _received(request, len(body), arrived))
        self._applied(arrived, applied)


async def _read(request: Request) -> bytes:
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > LARGEST_BATCH:
            raise Refused(413, "too_large")
    return bytes(body)


def _received(request: Request, size: int, at: datetime) -> ReceivedRequest:
    headers = request.headers
    return ReceivedRequest(at, headers.get("webhook-id"), headers.get("webhook-timestamp"), size)
