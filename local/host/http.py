"""HTTP functions as an ASGI application: how the Functions host translates requests and answers."""

import asyncio
import re
import time
from collections.abc import Iterable

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, compile_path
from starlette.types import ASGIApp, Receive, Scope, Send

from local.host.calls import HttpAnswer, HttpCall
from local.host.configuration import HttpOptions
from local.host.functions import Function, HttpTrigger
from local.host.log import BadHttpRequest, CallerLeft, FunctionFailed, Invocation, InvocationFailed
from local.host.worker import Worker

BODY_LIMIT = 100 * 1024 * 1024  # bytes, the Functions host's
BODY_LIMIT_SETTING = "FUNCTIONS_REQUEST_BODY_SIZE_LIMIT"
"""The app setting that overrides it."""

HEADERS_LIMIT = 32 * 1024  # bytes of all header lines, Kestrel's
REQUEST_LINE_LIMIT = 8 * 1024  # bytes, Kestrel's
LEAST_RATE = 240  # bytes a second, the slowest rate of a body, Kestrel's
RATE_GRACE = 5.0  # seconds before that rate is checked, Kestrel's
CATCH_ALL = re.compile(r"\{\*+(\w+)\}")
ESCAPES = re.compile(r"(?:%[0-9A-Fa-f]{2})+")
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")


class Limits:
    """The limits of the server itself, checked first: the length of headers and of the URL."""

    def __init__(self, inner: ASGIApp) -> None:
        self._inner = inner

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 431 or 414, or pass on."""
        if scope["type"] == "http" and _from_a_page(scope):
            await Response("/admin takes nothing from a page", 403)(scope, receive, send)
        elif scope["type"] == "http" and (status := _refusal(scope)):
            await Response(status_code=status, headers={"connection": "close"})(scope, receive, send)
        else:
            await self._inner(scope, receive, send)


def _from_a_page(scope: Scope) -> bool:
    """Whether a browser calls `/admin` on behalf of a page. This host has no keys, so any page could run functions;
    browsers send the page's origin with every POST.
    """
    return scope["path"].startswith("/admin") and any(name == b"origin" for name, _ in scope["headers"])


def _refusal(scope: Scope) -> int | None:
    request_line = len(scope["method"]) + len(scope["raw_path"]) + len(scope["query_string"]) + len("  HTTP/1.1\r\n")
    if request_line > REQUEST_LINE_LIMIT:
        return 414
    headers = sum(len(name) + len(value) + len(": \r\n") for name, value in scope["headers"])
    return 431 if headers > HEADERS_LIMIT else None


class Throttle:
    """Limits concurrent and outstanding requests; answers 429 beyond. `/admin` is exempt."""

    def __init__(self, inner: ASGIApp, options: HttpOptions) -> None:
        self._inner = inner
        self._options = options
        self._outstanding = 0
        self._turn = asyncio.Semaphore(options.max_concurrent) if options.max_concurrent else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 429, or forward the request, after a wait if necessary."""
        if scope["type"] != "http" or scope["path"].startswith("/admin"):
            await self._inner(scope, receive, send)
            return
        most = self._options.max_outstanding
        if most is not None and self._outstanding >= most:
            await Response(status_code=429, headers={"x-function-scaleout": "1"})(scope, receive, send)
            return
        self._outstanding += 1
        try:
            if self._turn is None:
                await self._inner(scope, receive, send)
            else:
                async with self._turn:
                    await self._inner(scope, receive, send)
        finally:
            self._outstanding -= 1


class FunctionRoute(Route):
    """The route of an HTTP function; paths match without regard to case or a trailing slash."""

    def __init__(
        self, function: Function, trigger: HttpTrigger, prefix: str, worker: Worker, body_limit: int = BODY_LIMIT
    ) -> None:
        path = CATCH_ALL.sub(r"{\1:path}", "/".join(("", *filter(None, (prefix, trigger.route.strip("/"))))))
        super().__init__(path, Endpoint(function, worker, body_limit), methods=list(trigger.methods or METHODS))
        regex, _, _ = compile_path(path)
        self.path_regex = re.compile(regex.pattern.removesuffix("$") + "/?$", re.IGNORECASE)


class Endpoint:
    """Answers the requests of one function: with its answer, or an empty 500 if the invocation fails.

    The body is read within the invocation, so a caller that disconnects is a failed invocation.
    """

    def __init__(self, function: Function, worker: Worker, body_limit: int) -> None:
        self._name = function.name
        self._worker = worker
        self._body_limit = body_limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; a caller that disconnected gets no answer."""
        invocation = Invocation(self._name, "This function was programmatically called via the host APIs.")
        invocation.begin()
        request = Request(scope)
        try:
            answer = await self._answer(request, receive)
        except (FunctionFailed, InvocationFailed) as error:
            invocation.fail(error)
            if isinstance(error, CallerLeft):
                return
            close = {"connection": "close"} if isinstance(error, BadHttpRequest) else None
            response = Response(status_code=500, headers=close)
        else:
            invocation.succeed()
            response = sent(answer)
        await response(scope, receive, send)

    async def _answer(self, request: Request, receive: Receive) -> HttpAnswer:
        call = received(request, await body_of(request.headers, receive, self._body_limit))
        running = asyncio.ensure_future(self._worker.call(self._name, call))
        leaving = asyncio.ensure_future(_left(receive))
        try:
            await asyncio.wait({running, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not running.done():
                raise CallerLeft("A task was canceled.")
            answer = running.result()
        finally:
            leaving.cancel()
            if not running.done():
                running.add_done_callback(_look_at)
        assert answer is not None
        return answer


def _look_at(running: "asyncio.Future[HttpAnswer | None]") -> None:
    """Discard the result: a function whose caller disconnected continues, and its answer is not used."""
    if not running.cancelled():
        running.exception()


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def body_of(headers: Headers, receive: Receive, limit: int = BODY_LIMIT) -> bytes:
    """Read the body; a chunked body does not reach the function.

    Raises:
        BadHttpRequest: the body is too long, or arrives too slowly.
        CallerLeft: the caller disconnected.
    """
    if int(headers.get("content-length", "0")) > limit:
        raise BadHttpRequest(f"Request body too large. The max request body size is {limit} bytes.")
    chunked = "transfer-encoding" in headers
    body, began, more = bytearray(), time.monotonic(), True
    while more:
        allowed = max(RATE_GRACE, len(body) / LEAST_RATE) - (time.monotonic() - began)
        try:
            message = await asyncio.wait_for(receive(), allowed)
        except TimeoutError:
            raise BadHttpRequest("Reading the request body timed out due to data arriving too slowly.") from None
        if message["type"] == "http.disconnect":
            raise CallerLeft("Unexpected end of request content.")
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > limit:
            raise BadHttpRequest(f"Request body too large. The max request body size is {limit} bytes.")
    return b"" if chunked else bytes(body)


def received(request: Request, body: bytes) -> HttpCall:
    """Build the worker's value of a request."""
    return HttpCall(
        method=request.method,
        url=url_of(request),
        headers=joined(request.headers.items()),
        params=joined(parameters(request.url.query)),
        route_params={name: str(value) for name, value in request.path_params.items()},
        body=body,
    )


def url_of(request: Request) -> str:
    """Return the requested URL, escapes included."""
    path = request.scope["raw_path"].decode("latin-1")
    query = request.url.query
    return f"{request.url.scheme}://{request.headers.get('host', '')}{path}{'?' if query else ''}{query}"


def parameters(query: str) -> Iterable[tuple[str, str]]:
    """Yield the parameters of a query, unescaped; escapes that are not UTF-8 stay as they are."""
    for pair in query.split("&"):
        name, _, value = pair.partition("=")
        yield unescaped(name), unescaped(value)


def unescaped(text: str) -> str:
    """Replace the escapes that are UTF-8, and `+` by a space."""
    return ESCAPES.sub(lambda found: _decoded(found[0]), text.replace("+", " "))


def _decoded(escapes: str) -> str:
    raw, text, at = bytes.fromhex(escapes.replace("%", "")), "", 0
    while at < len(raw):
        try:
            return text + raw[at:].decode()
        except UnicodeDecodeError as error:
            text += raw[at : at + error.start].decode() + escapes[3 * (at + error.start) : 3 * (at + error.end)]
            at += error.end
    return text


def joined(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Join the values of one name with commas and leave out empty values, as the Functions host does."""
    values: dict[str, str] = {}
    for name, value in pairs:
        if value:
            values[name] = f"{values[name]},{value}" if name in values else value
    return values


def sent(answer: HttpAnswer) -> Response:
    """Build the response; a response with a body is chunked."""
    response = Response(answer.body, answer.status)
    if answer.body:
        del response.headers["content-length"]
    for name, value in answer.headers:
        response.headers.append(name, value)
    return response
