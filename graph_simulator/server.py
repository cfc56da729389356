"""The simulator as a server: alone in a process, or in a thread of a test."""

import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import httpx
import msgspec
import uvicorn
from starlette.types import ASGIApp

from graph_simulator.app import application
from graph_simulator.authority import Authority
from graph_simulator.background import BackgroundServer, in_background
from graph_simulator.clock import real_time
from graph_simulator.delivery import AT_ONCE
from graph_simulator.listener import listening
from graph_simulator.simulator import Simulator


@dataclass(frozen=True)
class Registration:
    """The app registration in Entra, and its home tenant."""

    tenant: str
    client_id: str
    client_secret: str


@dataclass(frozen=True)
class GraphServer:
    """A running simulator. Its state belongs to its own thread: other threads use `get`, `post` and `delete`."""

    url: str
    simulator: Simulator
    registration: Registration
    control: httpx.Client

    def get(self, path: str) -> Any:
        """Return the answer of a control under `/simulator/`, e.g. `get("summary")`."""
        return self._answered(self.control.get(path)).json()

    def post(self, path: str, **order: Any) -> Any:
        """Post to a control, e.g. `post("messages", count=3)`, and return the answer."""
        return self._answered(self.control.post(path, json=order)).json()

    def delete(self, path: str) -> None:
        """Delete through a control, e.g. `delete(f"subscriptions/{id}")`."""
        self._answered(self.control.delete(path))

    def messages(self) -> list[dict[str, Any]]:
        """Return every message in its last state, as GET /simulator/messages."""
        return [httpx.Response(200, content=line).json() for line in self._lines()]

    def _lines(self) -> list[str]:
        return self._answered(self.control.get("messages")).text.splitlines()

    def _answered(self, response: httpx.Response) -> httpx.Response:
        if response.is_error:
            raise ValueError(f"{response.request.url.path}: {response.status_code} {response.text}")
        return response


def client_for(authority: Authority) -> httpx.AsyncClient:
    """Return the HTTP client of a simulator: it trusts `authority` only."""
    trusted = ssl.create_default_context(cafile=authority.ca)
    limits = httpx.Limits(max_connections=2 * AT_ONCE, max_keepalive_connections=AT_ONCE)
    return httpx.AsyncClient(verify=trusted, limits=limits, timeout=None, follow_redirects=False)  # noqa: S113 - each use limits the time of the whole call


def config_for(app: ASGIApp, authority: Authority) -> uvicorn.Config:
    """Return the configuration of an HTTPS server for an application."""
    return uvicorn.Config(
        app,
        ssl_certfile=authority.certificate,
        ssl_keyfile=authority.key,
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=2,
    )


def simulator_for(
    registration: Registration, client: httpx.AsyncClient, seed: int = 0, clock: Callable[[], datetime] = real_time
) -> Simulator:
    """Return a simulator for one app."""
    return Simulator(registration.tenant, registration.client_id, registration.client_secret, client, seed, clock)


@contextmanager
def running(
    authority: Authority, registration: Registration, seed: int = 0, clock: Callable[[], datetime] = real_time
) -> Iterator[GraphServer]:
    """Run a simulator on a free port, in a thread, for as long as the context lasts."""
    client = client_for(authority)
    simulator = simulator_for(registration, client, seed, clock)
    simulator.faults = msgspec.structs.replace(simulator.faults, lagging=0.0)  # tests of this behaviour turn it on
    listener = listening(0)
    with in_background(BackgroundServer(config_for(application(simulator), authority)), listener, client):
        url = f"https://127.0.0.1:{listener.getsockname()[1]}"
        with control_client(url, authority) as control:
            yield GraphServer(url, simulator, registration, control)


def control_client(url: str, authority: Authority) -> httpx.Client:
    """Return the client of a simulator's controls."""
    trusted = ssl.create_default_context(cafile=authority.ca)
    return httpx.Client(base_url=f"{url}/simulator/", verify=trusted, timeout=60)
