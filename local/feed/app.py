"""The feed over HTTP: it receives events, serves the page and its queries, and takes commands to misbehave."""

from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

import msgspec
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from local.feed.answers import in_json
from local.feed.breakage import Broken, Unavailable
from local.feed.control import Control
from local.feed.headers import SafeHeaders
from local.feed.health import refusing_on_purpose
from local.feed.live import LiveState
from local.feed.own_origin import ForeignOrigin, read_order
from local.feed.queries import Queries
from local.feed.receiver import Receiver
from local.feed.services import ConnectedServices
from local.feed.signature import Verifier
from local.feed.simulator import SimulatorUnavailable
from local.feed.store import Store

PAGE = Path(__file__).parent / "page"


class BreakOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The fault of `local.feed.breakage.BREAKAGES` to switch on or off."""

    name: str
    on: bool = True


class Feed:
    """One feed: the parts that answer, and the commands that make it misbehave."""

    def __init__(
        self, store: Store, verifier: Verifier, services: ConnectedServices, clock: Callable[[], datetime]
    ) -> None:
        self._broken = Broken(simulated=services.simulator is not None, supervised=services.supervised)
        self.queries = Queries(store, services.paths)
        self.live = LiveState(store, services, self._broken, self._refusing, clock)
        self.receiver = Receiver(store, verifier, clock, self.live.applied)

    async def show_control(self, _: Request) -> Response:
        """`GET /control`."""
        return in_json(self.receiver.control)

    async def set_control(self, request: Request) -> Response:
        """`POST /control`: see `Control`."""
        try:
            self.receiver.control = await read_order(request, Control)
        except ForeignOrigin as refused:
            return in_json({"error": refused.message}, refused.status)
        return in_json(self.receiver.control)

    async def show_broken(self, _: Request) -> Response:
        """`GET /api/breakages`: the faults that can be switched on, and their states."""
        return in_json(self._broken.states())

    async def set_broken(self, request: Request) -> Response:
        """`POST /api/breakages`: see `BreakOrder`. Answers with the new list."""
        try:
            order = await read_order(request, BreakOrder)
            breakage = self._broken.order(order.name, on=order.on)
            if breakage.where == "destination":
                self.receiver.control = self._broken.conduct()
            elif breakage.where == "graph" and self.live.simulator is not None:
                await self.live.simulator.apply(self._broken.faults())
                if order.on:
                    await self.live.simulator.act(breakage)
        except ForeignOrigin as refused:
            return in_json({"error": refused.message}, refused.status)
        except Unavailable:
            return in_json({"error": "name: expected one that GET /api/breakages lists as available"}, 400)
        except SimulatorUnavailable as error:
            return in_json({"error": f"the Graph simulator can't be reached ({error})"}, 502)
        self.live.hub.publish("broken", self._broken.states())
        return in_json(self._broken.states())

    def _refusing(self) -> Sequence[tuple[str, str]]:
        control = self.receiver.control
        active = {breakage.name: breakage.title for breakage in self._broken.active()}
        return refusing_on_purpose(control.mode, control.status, control.hang_seconds, active)


def create_app(feed: Feed) -> Starlette:
    """Mount the feed's endpoints and its page."""
    return Starlette(
        routes=[
            Route("/events", feed.receiver.receive, methods=["POST"]),
            Route("/api/stream", feed.live.stream),
            Route("/api/messages", feed.queries.messages),
            Route("/api/inspect", feed.queries.inspect),
            Route("/api/path", feed.queries.path),
            Route("/api/failures", feed.queries.failures),
            Route("/api/refusals", feed.queries.refusals),
            Route("/api/breakages", feed.show_broken, methods=["GET"]),
            Route("/api/breakages", feed.set_broken, methods=["POST"]),
            Route("/api/message", feed.queries.message),
            Route("/api/conversations", feed.queries.conversations),
            Route("/api/summary", feed.live.summary),
            Route("/api/contents", feed.queries.contents),
            Route("/control", feed.show_control, methods=["GET"]),
            Route("/control", feed.set_control, methods=["POST"]),
            Route("/", _page),
            Mount("/page", StaticFiles(directory=PAGE)),
        ],
        # Local names only: DNS rebinding must not let another site read the messages.
        middleware=[
            Middleware(SafeHeaders),
            Middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"]),
        ],
        lifespan=feed.live.lifespan,
    )


async def _page(_: Request) -> Response:
    return FileResponse(PAGE / "index.html")
