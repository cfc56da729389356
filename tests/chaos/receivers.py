"""What receives events in a fault run: the destination that faults strike, and beside it a slow and a dead one."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from local.feed.server import running
from shared.configuration.destinations import DEFAULT

SLOW, DEAD = "slow", "dead"
SLOW_SECONDS = 1.5
"""That the slow destination takes for a request: less than the app's time limit, however much that is shortened."""


class Conduct:
    """What a feed is told of its conduct, remembered, since each order replaces the last and a new feed has none."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._manner: dict[str, object] = {}
        self._refused: set[str] = set()
        self._relented = False

    @property
    def refused(self) -> frozenset[str]:
        """The ids that are, or were, answered 400."""
        return frozenset(self._refused)

    def behave(self, **manner: object) -> None:
        """Conduct itself so from now on; without arguments, well."""
        self._manner = manner
        self.tell()

    def refuse(self, ids: set[str]) -> None:
        """Answer 400 to these from now on."""
        if ids - self._refused:
            self._refused |= ids
            self.tell()

    def relent(self) -> None:
        """Answer 400 to none any more."""
        self._relented = True
        self.tell()

    def tell(self) -> None:
        """Tell the feed. One that is away is told when it comes back."""
        order = {**self._manner, "refuse_ids": [] if self._relented else sorted(self._refused)}
        try:
            httpx.post(f"{self._url}/control", json=order, timeout=10).raise_for_status()
        except httpx.TransportError:
            return


@dataclass(frozen=True)
class Receiver:
    """A destination of the app, and the feed that stands behind it."""

    name: str
    url: str
    database: Path
    conduct: Conduct

    def summary(self) -> dict[str, Any]:
        """Return the feed's totals."""
        found: dict[str, Any] = httpx.get(f"{self.url}/api/summary", timeout=30).raise_for_status().json()
        return found


def receiver(name: str, url: str, directory: Path) -> Receiver:
    """Return a receiver whose feed is at that address, with its database in that directory."""
    database = directory / ("feed.db" if name == DEFAULT else f"feed-{name}.db")
    return Receiver(name, url, database, Conduct(url))


class Others:
    """The slow and the dead destination, as feeds of this process. They share the secret of the default one."""

    def __init__(self, slow: Receiver, dead: Receiver, secret: str) -> None:
        self.slow = slow
        self.dead = dead
        self._secret = secret
        self._feeds = ExitStack()

    def entries(self) -> list[dict[str, Any]]:
        """Return what DESTINATIONS says of them. The slow one takes so few events that it falls behind."""
        secret = "%DESTINATION_SECRET%"
        return [
            {"name": SLOW, "url": f"{self.slow.url}/events", "secret": secret, "maxRequests": 1, "maxEvents": 2},
            {"name": DEAD, "url": f"{self.dead.url}/events", "secret": secret},
        ]

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run the slow one; nobody listens at the address of the dead one."""
        with self._feeds:
            self._serve(self.slow)
            self.slow.conduct.behave(hang_seconds=SLOW_SECONDS)
            yield

    def recover(self) -> None:
        """Have the slow one answer at once, and start the dead one."""
        self.slow.conduct.behave()
        self._serve(self.dead)
        self.dead.conduct.tell()

    def _serve(self, served: Receiver) -> None:
        port = int(served.url.rpartition(":")[2])
        self._feeds.enter_context(running(self._secret, served.database, port=port))
