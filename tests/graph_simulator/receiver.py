"""An HTTPS endpoint for notifications, whose behaviour a test sets."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from graph_simulator.authority import Authority
from graph_simulator.background import BackgroundServer, in_background
from graph_simulator.listener import listening
from graph_simulator.server import config_for

Message = dict[str, Any]


@dataclass(frozen=True)
class Post:
    """One request as received."""

    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def collection(self) -> Message:
        """The body as a collection."""
        collection: Message = msgspec.json.decode(self.body)
        return collection


def echo(token: str) -> Response:
    """Answer a handshake as Graph requires."""
    return Response(token, media_type="text/plain")


@dataclass
class Receiver:
    """Records requests; answers handshakes by `handshake` and notifications with `status`, unless it is `silent`."""

    url: str
    handshake: Callable[[str], Response] = echo
    status: int = 202
    silent: bool = False
    """Answers to new requests wait for this event."""
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

    async def answer(self, request: Request) -> Response:
        """Answer one request."""
        token = request.query_params.get("validationToken")
        target = request.url.path + "?" + request.url.query
        body = await request.body()
        if token is not None:
            self.handshakes.append(target)
            await self._speak()
            return self.handshake(token)
        self.posts.append(Post(target, dict(request.headers), body))
        await self._speak()
        return Response(status_code=self.status)

    async def _speak(self) -> None:
        while self.silent:
            await asyncio.sleep(0.01)


@contextmanager
def receiving(authority: Authority) -> Iterator[Receiver]:
    """Run a receiver on a free port for as long as the context lasts."""
    listener = listening(0)
    receiver = Receiver(f"https://127.0.0.1:{listener.getsockname()[1]}/hook")
    app = Starlette(routes=[Route("/{path:path}", receiver.answer, methods=["GET", "POST"])])
    with in_background(BackgroundServer(config_for(app, authority)), listener):
        yield receiver
