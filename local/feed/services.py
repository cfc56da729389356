"""The services beside the feed."""

from dataclasses import dataclass

from local.feed.backlog import RelayQueue
from local.feed.relay_paths import RelayPaths


@dataclass(frozen=True)
class ConnectedServices:
    """The services that the feed may query; None: unknown, and the page shows less.

    relay: URLs of the functions hosts' metrics, separated by commas. trust: file of authorities for HTTPS. simulator:
    its URL. queue: the relay's queue. paths: the paths of notifications. supervised: whether the process that started
    the feed acts on `GET /api/breakages`.
    """

    relay: str | None = None
    trust: str | None = None
    simulator: str | None = None
    queue: RelayQueue | None = None
    paths: RelayPaths | None = None
    supervised: bool = False
