"""The destinations of a fault run: one with injected faults, a slow one and a dead one."""

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
"""Seconds of each request to the slow destination: less than the app's time limit, even when shortened."""


class Conduct:
    """The faults of a feed, stored here, since each order replaces the last and a restarted feed has none."""

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
        """Set the faults; without arguments, none."""
        self._manner = manner
        self.tell()

    def refuse(self, ids: set[str]) -> None:
        """Answer 400 to these events from now on."""
        if ids - self._refused:
            self._refused |= ids
            self.tell()

    def relent(self) -> None:
        """Answer 400 to no event any more."""
        self._relented = True
        self.tell()

    def tell(self) -> None:
        """Send the faults to the feed. A stopped feed gets them at its start."""
        order = {**self._manner, "refuse_ids": [] if self._relented else sorted(self._refused)}
        try:
            httpx.post(f"{self._url}/control", json=order, timeout=10).raise_for_status()
        except httpx.TransportError:
            return


@dataclass(frozen=True)
class Receiver:
    """A destination of the app, and its feed."""

    name: str
    url: str
    database: Path
    conduct: Conduct

    def summary(self) -> dict[str, Any]:
        """Return the feed's totals."""
        found: dict[str, Any] = httpx.get(f"{self.url}/api/summary", timeout=30).raise_for_status().json()
        return found


def receiver(name: str, url: str, directory: Path) -> Receiver:
    """Return a receiver with its feed at that URL and its database in that directory."""
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
        """Return their entries of DESTINATIONS. The slow one accepts so few events per request that it falls behind."""
        secret = "%DESTINATION_SECRET%"
        return [
            {"name": SLOW, "url": f"{self.slow.url}/events", "secret": secret, "maxRequests": 1, "maxEvents": 2},
            {"name": DEAD, "url": f"{self.dead.url}/events", "secret": secret},
        ]

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run the slow one; no server listens at the URL of the dead one."""
        with self._feeds:
            self._serve(self.slow)
            self.slow.conduct.behave(hang_seconds=SLOW_SECONDS)
            yield

    def recover(self) -> None:
        """Make the slow one answer at once, and start the dead one."""
        self.slow.conduct.behave()
        self._serve(self.dead)
        self.dead.conduct.tell()

    def _serve(self, served: Receiver) -> None:
        port = int(served.url.rpartition(":")[2])
        self._feeds.enter_context(running(self._secret, served.database, port=port))
