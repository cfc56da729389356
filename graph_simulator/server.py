"""The simulator as a server: alone in a process, or in a thread of a test."""

import asyncio
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import httpx
import uvicorn

from graph_simulator.app import application
from graph_simulator.authority import Authority
from graph_simulator.clock import real_time
from graph_simulator.delivery import AT_ONCE
from graph_simulator.listener import listening
from graph_simulator.simulator import Simulator

STARTS_WITHIN_SECONDS = 30


@dataclass(frozen=True)
class Registration:
    """The app as Entra knows it, and its home tenant."""

    tenant: str
    client_id: str
    client_secret: str


@dataclass(frozen=True)
class GraphServer:
    """A simulator that runs. Its state belongs to its own thread: from elsewhere use `get`, `post` and `delete`."""

    url: str
    simulator: Simulator
    registration: Registration
    control: httpx.Client

    def get(self, path: str) -> Any:
        """Return what a control under `/simulator/` answers, e.g. `get("summary")`."""
        return self._answered(self.control.get(path)).json()

    def post(self, path: str, **order: Any) -> Any:
        """Give an order, e.g. `post("messages", count=3)`, and return the answer."""
        return self._answered(self.control.post(path, json=order)).json()

    def delete(self, path: str) -> None:
        """Give an order to delete, e.g. `delete(f"subscriptions/{id}")`."""
        self._answered(self.control.delete(path))

    def messages(self) -> list[dict[str, Any]]:
        """Return the truth: every message in its last state, as GET /simulator/messages."""
        return [httpx.Response(200, content=line).json() for line in self._lines()]

    def _lines(self) -> list[str]:
        return self._answered(self.control.get("messages")).text.splitlines()

    def _answered(self, response: httpx.Response) -> httpx.Response:
        if response.is_error:
            raise ValueError(f"{response.request.url.path}: {response.status_code} {response.text}")
        return response


@asynccontextmanager
async def simulating(
    registration: Registration, authority: Authority, seed: int, clock: Callable[[], datetime] = real_time
) -> AsyncIterator[Simulator]:
    """Make a simulator whose client trusts `authority` and nobody else."""
    trusted = ssl.create_default_context(cafile=authority.ca)
    limits = httpx.Limits(max_connections=2 * AT_ONCE, max_keepalive_connections=AT_ONCE)
    async with httpx.AsyncClient(verify=trusted, limits=limits, timeout=None, follow_redirects=False) as client:  # noqa: S113 - each use limits the time of the whole call
        yield Simulator(registration.tenant, registration.client_id, registration.client_secret, client, seed, clock)


def server_for(simulator: Simulator, authority: Authority) -> uvicorn.Server:
    """Return an HTTPS server for a simulator, not yet started."""
    config = uvicorn.Config(
        application(simulator),
        ssl_certfile=authority.certificate,
        ssl_keyfile=authority.key,
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=2,
    )
    return uvicorn.Server(config)


@contextmanager
def running(
    authority: Authority, registration: Registration, seed: int = 0, clock: Callable[[], datetime] = real_time
) -> Iterator[GraphServer]:
    """Run a simulator on a free port, in a thread, for as long as the context lasts."""
    ready = threading.Event()
    started: list[tuple[Simulator, uvicorn.Server]] = []
    listener = listening(0)
    url = f"https://127.0.0.1:{listener.getsockname()[1]}"

    async def serve() -> None:
        async with simulating(registration, authority, seed, clock) as simulator:
            server = server_for(simulator, authority)
            # Nothing is waited for in the end: a client may keep its connection open for as long as it lives.
            server.config.timeout_graceful_shutdown = 0
            started.append((simulator, server))
            ready.set()
            await server.serve([listener])

    thread = threading.Thread(target=lambda: asyncio.run(serve()), name="graph", daemon=True)
    thread.start()
    if not ready.wait(STARTS_WITHIN_SECONDS):
        raise TimeoutError("the simulator did not start")
    simulator, server = started[0]
    trusted = ssl.create_default_context(cafile=authority.ca)
    try:
        with httpx.Client(base_url=f"{url}/simulator/", verify=trusted, timeout=60) as control:
            yield GraphServer(url, simulator, registration, control)
    finally:
        server.should_exit = True
        thread.join()
        listener.close()
