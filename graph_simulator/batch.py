"""JSON batching, `POST /$batch`: up to 20 calls in one request, each answered, refused and throttled by itself.

https://learn.microsoft.com/graph/json-batching and https://learn.microsoft.com/graph/throttling#throttling-and-batching.
The status of the batch is 200 whatever the statuses of its calls (microsoft-graph-docs-contrib#8883). A call may
depend only on calls before it (msgraph-sdk-dotnet-core#891).
"""

import asyncio
import base64
import binascii
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import msgspec

from graph_simulator.refusal import bad_request

MOST = 20
METHODS = frozenset({"GET", "POST", "PATCH", "PUT", "DELETE"})
JSON = "application/json"


@dataclass(frozen=True)
class ApiRequest:
    """One call: `path` below `/v1.0/`, percent-encoded as received; header names in lower case."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class ApiResponse:
    """The answer to one call; the body is b"" if there is none."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Step:
    """A call of a batch, its id in the batch, and the ids of the calls that must succeed before it."""

    id: str
    asked: ApiRequest
    depends_on: tuple[str, ...]


class _Request(msgspec.Struct, rename="camel"):
    id: str
    method: str
    url: str
    headers: dict[str, str] = {}
    body: msgspec.Raw = msgspec.Raw(b"")
    depends_on: list[str] = []


class _Batch(msgspec.Struct):
    requests: list[_Request]


def read_batch(body: bytes) -> list[Step]:
    """Return the calls of a batch, in order.

    Raises:
        Refusal: 400 for the whole batch: it is not a batch, has too many calls, a duplicate id, or a dependency on a
            later call.
    """
    try:
        requests = msgspec.json.decode(body, type=_Batch).requests
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise bad_request("Invalid batch payload format.", "BadRequest") from error
    if len(requests) > MOST:
        message = f"Number of batch request steps exceeds the maximum value of {MOST}."
        raise bad_request(message, "MaximumValueExceeded")
    steps: dict[str, Step] = {}
    for request in requests:
        name = request.id.lower()
        if not name or name in steps:
            raise bad_request(f"Request Id {request.id} has to be unique in a batch.", "BadRequest")
        if any(other.lower() not in steps for other in request.depends_on):
            raise bad_request(f"Invalid dependency for request Id: {request.id}", "BadRequest")
        depends_on = tuple(other.lower() for other in request.depends_on)
        steps[name] = Step(request.id, _asked(request), depends_on)
    return list(steps.values())


def _asked(request: _Request) -> ApiRequest:
    """Return a call of a batch in the form of a single call."""
    path, _, query = request.url.partition("?")
    headers = {name.lower(): value for name, value in request.headers.items()}
    method = request.method.upper()
    if method not in METHODS or "://" in path:
        raise bad_request(f"Invalid method or URL of request Id: {request.id}", "BadRequest")
    body = b"" if bytes(request.body) == b"null" else bytes(request.body)
    if body and "content-type" not in headers:
        raise bad_request(f"Request Id {request.id} has a body and no Content-Type.", "BadRequest")
    if body and JSON not in headers["content-type"].lower():
        body = _octets(request)
    return ApiRequest(method, path.lstrip("/"), query, headers, body)


def _octets(request: _Request) -> bytes:
    """Return a body that is not JSON, which a batch holds as Base64url."""
    try:
        text = msgspec.json.decode(bytes(request.body), type=str)
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (msgspec.DecodeError, binascii.Error, ValueError) as error:
        raise bad_request(f"The body of request Id {request.id} is not Base64url.", "BadRequest") from error


async def run_batch(
    steps: Sequence[Step], answer: Callable[[ApiRequest], Awaitable[ApiResponse]], chance: random.Random
) -> bytes:
    """Make the calls, concurrently unless one depends on another; return the body of the answer, JSON.

    The responses come in another order than the calls. A call whose dependency failed is answered 424, and not made.
    """
    tasks: dict[str, asyncio.Task[ApiResponse]] = {}

    async def made(step: Step) -> ApiResponse:
        before = [await tasks[other] for other in step.depends_on]
        if any(response.status >= HTTPStatus.BAD_REQUEST for response in before):
            return _failed_dependency()
        return await answer(step.asked)

    async with asyncio.TaskGroup() as group:
        for step in steps:
            tasks[step.id.lower()] = group.create_task(made(step))
    responses = [_response(step.id, tasks[step.id.lower()].result()) for step in steps]
    chance.shuffle(responses)
    return msgspec.json.encode({"responses": responses})


def _response(step_id: str, answered: ApiResponse) -> dict[str, Any]:
    response: dict[str, Any] = {"id": step_id, "status": answered.status, "headers": dict(answered.headers)}
    if answered.body:
        response["headers"]["Content-Type"] = JSON
        response["body"] = msgspec.Raw(answered.body)
    return response


def _failed_dependency() -> ApiResponse:
    error = {"code": "FailedDependency", "message": "A request that this one depends on has failed."}
    return ApiResponse(HTTPStatus.FAILED_DEPENDENCY, msgspec.json.encode({"error": error}))
