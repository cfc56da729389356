"""A load balancer in front of several hosts: passes each POST to the next available host, and logs it."""

import asyncio
import socket
import ssl
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from http import HTTPStatus
from itertools import cycle

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from graph_simulator.authority import Authority
from tests.chaos.received import NotificationLog, Seen

PASSED_BACK = ("content-type", "retry-after", "x-content-type-options")


class Gateway:
    """Passes requests on to `hosts`, URLs, in turn. `before` receives each POST before a host does."""

    def __init__(
        self,
        hosts: Sequence[str],
        notifications: NotificationLog,
        before: Callable[[list[Seen]], None],
        trust: ssl.SSLContext,
    ) -> None:
        self._hosts = hosts
        self._turn = cycle(range(len(hosts)))
        self._notifications = notifications
        self._before = before
        self._trust = trust

    def application(self) -> Starlette:
        """Return the ASGI application."""

        @asynccontextmanager
        async def lifespan(_: Starlette) -> AsyncIterator[None]:
            async with httpx.AsyncClient(verify=self._trust, timeout=15) as client:
                self._client = client
                yield

        return Starlette(routes=[Route("/{path:path}", self._answer, methods=["POST"])], lifespan=lifespan)

    async def _answer(self, request: Request) -> Response:
        body = await request.body()
        items = self._notifications.look(body)
        await asyncio.to_thread(self._before, items)
        began = time.monotonic()
        answer = await self._pass_on(request, body)
        self._notifications.answered(answer.status_code, items, time.monotonic() - began)
        headers = {name: answer.headers[name] for name in PASSED_BACK if name in answer.headers}
        return Response(answer.content, answer.status_code, headers)

    async def _pass_on(self, request: Request, body: bytes) -> httpx.Response:
        """Return a host's answer; 502 if no host is available, or one disconnected."""
        path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        headers = {"Content-Type": request.headers.get("content-type", "")}
        for _ in self._hosts:
            host = self._hosts[next(self._turn)]
            try:
                return await self._client.post(host + path, content=body, headers=headers)
            except httpx.ConnectError:
                continue
            except httpx.TransportError:
                break
        return httpx.Response(HTTPStatus.BAD_GATEWAY)


@contextmanager
def serving(gateway: Gateway, authority: Authority, port: int) -> Iterator[None]:
    """Serve HTTPS on `port` of 127.0.0.1, in a thread, for as long as the context lasts."""
    config = uvicorn.Config(
        gateway.application(),
        ssl_certfile=authority.certificate,
        ssl_keyfile=authority.key,
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", port), backlog=512) as listening:
        thread = threading.Thread(target=server.run, args=([listening],), name="gateway")
        thread.start()
        try:
            yield
        finally:
            server.should_exit = True
            thread.join()
