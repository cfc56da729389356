"""The HTTP face of the simulator: Entra's paths, Graph's `/v1.0/…`, and the controls under `/simulator/`."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route

from graph_simulator.calls import Calls
from graph_simulator.control import Control
from graph_simulator.faults import happens
from graph_simulator.graph_api import Call, GraphApi
from graph_simulator.login import LoginRefused, is_guid
from graph_simulator.refusal import Refusal, too_many_requests, unavailable
from graph_simulator.signing import metadata
from graph_simulator.simulator import Simulator

Answering = Callable[[Request], Awaitable[Response]]


def application(simulator: Simulator) -> Starlette:
    """Return the ASGI application of a simulator; the simulator runs for as long as the application does."""
    calls = Calls()
    graph, entra = GraphFace(simulator, calls), EntraFace(simulator, calls)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with simulator.running():
            yield

    return Starlette(
        lifespan=lifespan,
        routes=[
            Mount("/simulator", routes=Control(simulator, calls).routes()),
            Route("/v1.0/{path:path}", graph.answer, methods=["GET", "POST", "PATCH", "PUT", "DELETE"]),
            *entra.routes(),
        ],
    )


class GraphFace:
    """Puts HTTP, bearer tokens and faults in front of the calls of Graph."""

    def __init__(self, simulator: Simulator, calls: Calls) -> None:
        self._simulator = simulator
        self._calls = calls
        self._api = GraphApi(simulator)

    async def answer(self, request: Request) -> Response:
        """Answer one call, whatever it is."""
        template = "{unknown}"
        body = await request.body()
        await asyncio.sleep(self._simulator.faults.slow_seconds)
        try:
            self._fail_on_purpose()
            caller = self._simulator.login.caller(request.headers.get("authorization"))
            route, ids = self._api.route(request.method, request.path_params["path"])
            template = "/" + route.template.replace("{}", "{id}")
            options = dict(parse_qsl(request.url.query, keep_blank_values=True))
            root = f"https://{request.url.netloc}/v1.0"
            call = Call(caller, ids, options, body, root, request.headers.get("prefer", ""))
            status, content = await self._api.answer(route, call)
            response = Response(content, status, media_type="application/json" if content else None)
        except Refusal as refusal:
            client_request_id = request.headers.get("client-request-id")
            document = refusal.body(self._simulator.clock(), client_request_id)
            response = _json(document, refusal.status, refusal.headers)
        response.headers["request-id"] = str(uuid.uuid4())
        self._calls.note(request.method, template, response.status_code)
        return response

    def _fail_on_purpose(self) -> None:
        faults = self._simulator.faults
        if "graph" in faults.unavailable:
            raise unavailable()
        if happens(faults.throttle, self._simulator.chance):
            raise too_many_requests(faults.retry_after)


class EntraFace:
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
