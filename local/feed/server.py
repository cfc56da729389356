"""Runs the feed: in the foreground for `python -m local.feed`, or in a thread for tests."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from graph_simulator.listener import listening
from local.feed.app import Feed, create_app
from local.feed.services import ConnectedServices
from local.feed.signature import Verifier
from local.feed.store import Store

_GRACE = 2  # seconds for requests in flight when the server is told to stop
_START = 15  # seconds


@dataclass(frozen=True)
class RunningFeed:
    """A feed that answers at `url` and keeps its messages in `database`."""

    url: str
    database: Path

    @property
    def events_url(self) -> str:
        """The URL for deliveries."""
        return f"{self.url}/events"

    def summary(self) -> dict[str, Any]:
        """Return `GET /api/summary`."""
        answer: dict[str, Any] = self._get("/api/summary").json()
        return answer

    def contents(self) -> list[dict[str, Any]]:
        """Return `GET /api/contents`, a dict for each message."""
        return [json.loads(line) for line in self._get("/api/contents").content.splitlines()]

    def control(self, **conduct: Any) -> dict[str, Any]:
        """Set the feed's behaviour (`local.feed.control.Control`); without arguments, back to normal."""
        response = httpx.post(f"{self.url}/control", json=conduct)
        response.raise_for_status()
        answer: dict[str, Any] = response.json()
        return answer

    def _get(self, path: str) -> httpx.Response:
        return httpx.get(f"{self.url}{path}", timeout=30).raise_for_status()


class _Server(uvicorn.Server):
    """Ends the open streams first when it stops: they would never end by themselves."""

    def __init__(self, config: uvicorn.Config, feed: Feed, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._feed = feed
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._feed.live.hub.close()
        await super().shutdown(sockets)


def serve(secrets: str, database: Path, port: int, services: ConnectedServices) -> None:
    """Run the feed on `port` until interrupted; prints one line when it is ready.

    Raises:
        ValueError: `secrets` holds no Standard Webhooks secret.
        OSError: the port is taken.
        sqlite3.OperationalError: the database cannot be opened.
    """
    with listening(port) as listener, closing(Store(database)) as store:
        feed = Feed(store, Verifier(secrets), services, _now)
        with suppress(KeyboardInterrupt):  # uvicorn has ended properly and passes the signal on
            _server(feed, lambda: print(f"feed ready at {_url(listener)}", flush=True)).run([listener])


@contextmanager
def running(
    secrets: str, database: Path, relay: str | None = None, port: int = 0, services: ConnectedServices | None = None
) -> Iterator[RunningFeed]:
    """Run a feed in a thread while the block runs; without `port`, on a free one."""
    ready = threading.Event()
    with listening(port) as listener, closing(Store(database)) as store:
        feed = Feed(store, Verifier(secrets), services or ConnectedServices(relay), _now)
        server = _server(feed, ready.set)
        thread = threading.Thread(target=server.run, args=([listener],), name="feed")
        thread.start()
        try:
            if not ready.wait(_START):
                raise TimeoutError("the feed did not start")
            yield RunningFeed(_url(listener), database)
        finally:
            server.should_exit = True
            thread.join()


def _server(feed: Feed, on_ready: Callable[[], None]) -> _Server:
    config = uvicorn.Config(
        create_app(feed), log_level="warning", access_log=False, timeout_graceful_shutdown=_GRACE, lifespan="on"
    )
    return _Server(config, feed, on_ready)


def _url(listener: socket.socket) -> str:
    return f"http://127.0.0.1:{listener.getsockname()[1]}"


def _now() -> datetime:
    return datetime.now(UTC)
