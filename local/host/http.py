"""HTTP functions as an ASGI application: what the Functions host makes of a request and of an answer."""

import re
from collections.abc import Awaitable, Callable, Iterable
from urllib.parse import parse_qsl

import azure.functions as func
from azure.functions.http import HttpRequest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from local.host.functions import Function, HttpTrigger
from local.host.worker import Worker, report_failure

BODY_LIMIT = 100 * 1024 * 1024  # bytes, as in Azure
CATCH_ALL = re.compile(r"\{\*+(\w+)\}")


class BodyTooLarge(Exception):
    """The request has a longer body than the host takes."""


def route_for(function: Function, trigger: HttpTrigger, prefix: str, worker: Worker) -> Route:
    """Return the route of an HTTP function; paths match without regard to case and to a slash at the end."""
    path = "/".join(("", *filter(None, (prefix, trigger.route.strip("/")))))
    methods = list(trigger.methods) or ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"]
    route = Route(CATCH_ALL.sub(r"{\1:path}", path), endpoint(function, worker), methods=methods)
    route.path_regex = re.compile(route.path_regex.pattern.removesuffix("$") + "/?$", re.IGNORECASE)
    return route


def endpoint(function: Function, worker: Worker) -> Callable[[Request], Awaitable[Response]]:
    """Return what answers one request: the function's answer, 413, or an empty 500 should it fail."""

    async def answer(request: Request) -> Response:
        try:
            incoming = received(request, await body_of(request))
        except BodyTooLarge:
            return Response(status_code=413)
        try:
            return sent(await worker.call(function, incoming))
        except Exception as error:  # the host outlives whatever a function raises
            report_failure(function, error)
            return Response(status_code=500)

    return answer


async def body_of(request: Request) -> bytes:
    """Read the body.

    Raises:
        BodyTooLarge: it passes the limit; the rest is not read.
    """
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > BODY_LIMIT:
            raise BodyTooLarge
    return bytes(body)


def received(request: Request, body: bytes) -> HttpRequest:
    """Build what the worker hands to a function."""
    return HttpRequest(
        method=request.method,
        url=url_of(request),
        headers=joined(request.headers.items()),
        params=joined(parse_qsl(request.url.query, keep_blank_values=True)),
        route_params=request.path_params,
        body_type="bytes",
        body=body,
    )


def url_of(request: Request) -> str:
    """Return the URL as it was asked for, escapes and all."""
    path = request.scope["raw_path"].decode("latin-1")
    query = request.url.query
    return f"{request.url.scheme}://{request.headers.get('host', '')}{path}{'?' if query else ''}{query}"


def joined(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Join the values of one name by commas and leave out empty ones, as the Functions host does."""
    values: dict[str, str] = {}
    for name, value in pairs:
        if value:
            values[name] = f"{values[name]},{value}" if name in values else value
    return values


def sent(answer: object) -> Response:
    """Build the response; text without a type of its own is text/plain, as the worker has it.

    Raises:
        TypeError: a function returned what is no HTTP answer.
    """
    if isinstance(answer, str):
        return Response(answer, media_type="text/plain")
    if not isinstance(answer, func.HttpResponse):
        raise TypeError(f"expected HttpResponse or str, not {type(answer).__name__}")
    response = Response(answer.get_body(), answer.status_code)
    for name, value in answer.headers.items():
        response.headers.append(name, value)
    if "content-type" not in response.headers:
        charset = f"; charset={answer.charset}" if answer.mimetype.startswith("text/") else ""
        response.headers["content-type"] = answer.mimetype + charset
    return response
