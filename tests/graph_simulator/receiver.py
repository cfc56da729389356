"""An HTTPS endpoint that takes notifications, whose behaviour a test decides."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from graph_simulator.authority import Authority
from graph_simulator.listener import listening

Message = dict[str, Any]
DEADLINE_SECONDS = 30.0


@dataclass(frozen=True)
class Post:
    """One request as it came."""

    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def collection(self) -> Message:
        """The body as a collection."""
        collection: Message = msgspec.json.decode(self.body)
        return collection


def echo(token: str) -> Response:
    """Answer a handshake as Graph wants it."""
    return Response(token, media_type="text/plain")


@dataclass
class Receiver:
    """Records what comes; answers handshakes by `handshake`, notifications with `status` after `seconds`."""

    url: str
    handshake: Callable[[str], Response] = echo
    status: int = 202
    seconds: float = 0.0
    handshake_seconds: float = 0.0
    handshakes: list[str] = field(default_factory=list)
    posts: list[Post] = field(default_factory=list)

    def items(self) -> list[Message]:
        """Return all items of all posts that are collections."""
        return [item for post in self.posts for item in post.collection["value"]]

    def changes(self) -> list[Message]:
        """Return the change items."""
        return [item for item in self.items() if "lifecycleEvent" not in item]

    def lifecycle(self) -> list[str]:
        """Return the names of the lifecycle events."""
        return [item["lifecycleEvent"] for item in self.items() if "lifecycleEvent" in item]

    def reset(self) -> None:
        """Behave well, and forget what came."""
        self.handshake, self.status, self.seconds, self.handshake_seconds = echo, 202, 0.0, 0.0
        self.handshakes.clear()
        self.posts.clear()

    async def answer(self, request: Request) -> Response:
        """Answer one request."""
        token = request.query_params.get("validationToken")
        target = request.url.path + "?" + request.url.query
        body = await request.body()
        if token is not None:
            self.handshakes.append(target)
            await asyncio.sleep(self.handshake_seconds)
            return self.handshake(token)
        self.posts.append(Post(target, dict(request.headers), body))
        await asyncio.sleep(self.seconds)
        return Response(status_code=self.status)


@contextmanager
def receiving(authority: Authority) -> Iterator[Receiver]:
    """Run a receiver on a free port for as long as the context lasts."""
    listener = listening(0)
    receiver = Receiver(f"https://127.0.0.1:{listener.getsockname()[1]}/hook")
    app = Starlette(routes=[Route("/{path:path}", receiver.answer, methods=["GET", "POST"])])
    config = uvicorn.Config(
        app,
        ssl_certfile=authority.certificate,
        ssl_keyfile=authority.key,
        log_level="error",
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve([listener])), daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


def eventually(condition: Callable[[], object], what: str = "the condition") -> None:
    """Wait until `condition` holds; fail after a generous time."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come true"
        time.sleep(0.02)
