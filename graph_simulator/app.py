"""The HTTP interface of the simulator: Entra's paths, Graph's `/v1.0/…`, and the controls under `/simulator/`."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl, unquote

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from graph_simulator.batch import ApiRequest, ApiResponse, read_batch, run_batch
from graph_simulator.calls import Calls
from graph_simulator.control import Control
from graph_simulator.faults import happens
from graph_simulator.graph_api import Call, GraphApi
from graph_simulator.login import LoginRefused, is_guid
from graph_simulator.refusal import Refusal, too_many_requests, unavailable
from graph_simulator.signing import metadata
from graph_simulator.simulator import Simulator

BATCH = "$batch"

Answering = Callable[[Request], Awaitable[Response]]


def application(simulator: Simulator) -> Starlette:
    """Return the ASGI application of a simulator; the simulator runs for as long as the application does."""
    calls = Calls()
    graph, entra = GraphInterface(simulator, calls), EntraInterface(simulator, calls)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with simulator.running():
            yield

    return Starlette(
        lifespan=lifespan,
        routes=[
            Mount("/simulator", RefuseBrowsers(Starlette(routes=Control(simulator, calls).routes()))),
            Route("/v1.0/{path:path}", graph.answer, methods=["GET", "POST", "PATCH", "PUT", "DELETE"]),
            *entra.routes(),
        ],
    )


class RefuseBrowsers:
    """Refuses requests that a browser sends on behalf of a page: the controls are for programs, and have no pages."""

    def __init__(self, inner: ASGIApp) -> None:
        self._inner = inner

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 403, or pass the request on. A browser sends a page's origin with every changing request."""
        if scope["type"] == "http" and any(name == b"origin" for name, _ in scope["headers"]):
            await Response("the simulator's controls take nothing from a page", 403)(scope, receive, send)
        else:
            await self._inner(scope, receive, send)


class GraphInterface:
    """Puts HTTP, bearer tokens and faults in front of the calls of Graph."""

    def __init__(self, simulator: Simulator, calls: Calls) -> None:
        self._simulator = simulator
        self._calls = calls
        self._api = GraphApi(simulator)

    async def answer(self, request: Request) -> Response:
        """Answer one call, or a batch of calls."""
        asked = ApiRequest(
            request.method, request.path_params["path"], request.url.query, dict(request.headers), await request.body()
        )
        await asyncio.sleep(self._simulator.faults.slow_seconds)
        root = f"https://{request.url.netloc}/v1.0"
        is_batch = asked.method == "POST" and asked.path.strip("/").lower() == BATCH
        answered = await (self._batch(asked, root) if is_batch else self.call(asked, root))
        media_type = "application/json" if answered.body else None
        response = Response(answered.body, answered.status, dict(answered.headers), media_type=media_type)
        response.headers["request-id"] = str(uuid.uuid4())
        if own := asked.headers.get("client-request-id"):
            response.headers["client-request-id"] = own
        return response

    async def _batch(self, asked: ApiRequest, root: str) -> ApiResponse:
        """Answer a batch; its calls use the token of the batch."""
        authorization = {"authorization": asked.headers.get("authorization", "")}
        try:
            self._check_available()
            self._simulator.login.caller(authorization["authorization"])
            steps = read_batch(asked.body)
        except Refusal as refusal:
            return self._refused("POST", f"/{BATCH}", refusal, asked)
        self._calls.note("POST", f"/{BATCH}", HTTPStatus.OK)

        async def answer(request: ApiRequest) -> ApiResponse:
            return await self.call(
                replace(request, path=unquote(request.path), headers={**authorization, **request.headers}), root
            )

        return ApiResponse(HTTPStatus.OK, await run_batch(steps, answer, self._simulator.chance))

    async def call(self, asked: ApiRequest, root: str) -> ApiResponse:
        """Answer one call, however it came; `root` is `https://host/v1.0` as the caller knows it."""
        template = "{unknown}"
        try:
            self._fail_on_purpose(asked.path)
            authorization = asked.headers.get("authorization")
            caller, roles = self._simulator.login.caller(authorization), self._simulator.login.roles(authorization)
            route, ids = self._api.route(asked.method, asked.path)
            template = "/" + route.template.replace("{}", "{id}")
            options = dict(parse_qsl(asked.query, keep_blank_values=True))
            call = Call(caller, ids, options, asked.body, root, asked.headers.get("prefer", ""), asked.path, roles)
            status, content = await self._api.answer(route, call)
        except Refusal as refusal:
            return self._refused(asked.method, template, refusal, asked)
        self._calls.note(asked.method, template, status)
        return ApiResponse(status, content)

    def _refused(self, method: str, template: str, refusal: Refusal, asked: ApiRequest) -> ApiResponse:
        document = refusal.body(self._simulator.clock(), asked.headers.get("client-request-id"))
        self._calls.note(method, template, refusal.status)
        return ApiResponse(refusal.status, msgspec.json.encode(document), refusal.headers)

    def _check_available(self) -> None:
        if "graph" in self._simulator.faults.unavailable:
            raise unavailable()

    def _fail_on_purpose(self, path: str) -> None:
        self._check_available()
        faults = self._simulator.faults
        for beginning, seconds in faults.throttled.items():
            if path.strip("/").lower().startswith(beginning.lower()):
                raise too_many_requests(seconds)
        if happens(faults.throttle, self._simulator.chance):
            raise too_many_requests(faults.retry_after)


class EntraInterface:
    """Token endpoint, OpenID metadata and signing keys."""

    def __init__(self, simulator: Simulator, calls: Calls) -> None:
        self._simulator = simulator
        self._calls = calls

    def routes(self) -> list[Route]:
        """Return the routes, for a tenant's GUID or `common`."""
        table: tuple[tuple[str, str, Answering], ...] = (
            ("POST", "/{tenant}/oauth2/v2.0/token", self._token),
            ("GET", "/{tenant}/.well-known/openid-configuration", self._metadata(1)),
            ("GET", "/{tenant}/v2.0/.well-known/openid-configuration", self._metadata(2)),
            ("GET", "/{tenant}/discovery/keys", self._keys),
            ("GET", "/{tenant}/discovery/v2.0/keys", self._keys),
        )
        return [Route(path, self._counted(method, path, handler), methods=[method]) for method, path, handler in table]

    async def _token(self, request: Request) -> Response:
        if "login" in self._simulator.faults.unavailable:
            return _json({"error": "temporarily_unavailable", "error_codes": [90033]}, HTTPStatus.SERVICE_UNAVAILABLE)
        form = dict(parse_qsl((await request.body()).decode("utf-8", "replace"), keep_blank_values=True))
        try:
            answer = self._simulator.login.issue(request.path_params["tenant"], form, _root(request))
        except LoginRefused as refused:
            return _json(refused.body(self._simulator.clock()), refused.status)
        return _json(answer, headers={"Cache-Control": "no-store", "Pragma": "no-cache"})

    def _metadata(self, version: int) -> Answering:
        async def answer(request: Request) -> Response:
            tenant = request.path_params["tenant"].lower()
            part = "keys" if tenant == "common" else "login"
            if part in self._simulator.faults.unavailable:
                return _json({"error": "temporarily_unavailable"}, HTTPStatus.SERVICE_UNAVAILABLE)
            if tenant != "common" and not is_guid(tenant):
                return _json({"error": "invalid_tenant", "error_codes": [90002]}, HTTPStatus.BAD_REQUEST)
            return _json(metadata(_root(request), tenant, version))

        return answer

    async def _keys(self, _: Request) -> Response:
        if "keys" in self._simulator.faults.unavailable:
            return _json({"error": "temporarily_unavailable"}, HTTPStatus.SERVICE_UNAVAILABLE)
        return _json(self._simulator.keys.jwks())

    def _counted(self, method: str, template: str, handler: Answering) -> Answering:
        async def answer(request: Request) -> Response:
            response = await handler(request)
            self._calls.note(method, template, response.status_code)
            return response

        return answer


def _root(request: Request) -> str:
    return f"https://{request.url.netloc}"


def _json(document: Any, status: int = HTTPStatus.OK, headers: dict[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(document), status, headers, media_type="application/json")
