"""The content of a read-back page, and the page that follows it."""

import hashlib
import logging
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypeVar

import msgspec

from shared.errors import Reason, RetryLater
from shared.messages.envelope import ReadbackPage

T = TypeVar("T")

_log = logging.getLogger("graph_relay.backfill")

_LINK_DIGITS = 16

_MOST_PAGES = 20_000
"""Of one list: more pages count as a loop (docs/graph.md, "Reading back")."""


@dataclass(frozen=True)
class FetchedPage:
    """The content of one page: resources as Graph sent them, and the pages to read next.

    link: the delta link for the next query; to be stored after all resources are delivered. unsure: pages that read
    possibly removed resources separately, after all replicas know. states: entries without a modification time, to be
    stored (`DirectoryStates`). is_list: whether they are of a complete list; then `resources` are those that may have
    changed. ends: whether that list ends.
    """

    resources: list[msgspec.Raw] = field(default_factory=list)
    further: list[ReadbackPage] = field(default_factory=list)
    link: str = ""
    unsure: list[ReadbackPage] = field(default_factory=list)
    states: list[msgspec.Raw] = field(default_factory=list)
    is_list: bool = False
    ends: bool = False


def following(readback: ReadbackPage, link: str | None) -> list[ReadbackPage]:
    """Return the page that follows, none at the end.

    Raises RetryLater if the link leads back to an earlier page, as Graph was seen to do.
    """
    if not link:
        return []
    digest = hashlib.sha256(link.encode()).hexdigest()[:_LINK_DIGITS]
    if link == readback.link or digest == readback.passed or readback.number >= _MOST_PAGES:
        raise RetryLater(Reason.GRAPH, "Graph's link to the next page leads nowhere: it is read again later")
    number = readback.number + 1
    # The link of each power of two is kept: a loop of any length reaches it again (Brent).
    passed = digest if number & (number - 1) == 0 else readback.passed
    return [msgspec.structs.replace(readback, link=link, attempt=0, number=number, passed=passed)]


def decoded(entry: msgspec.Raw, kind: type[T]) -> T:
    """Decode an entry of a page; a malformed one reads as empty, and does not affect the rest of the page."""
    try:
        return msgspec.json.decode(entry, type=kind)
    except (msgspec.DecodeError, RecursionError):
        _log.warning("Graph lists an unreadable entry; it is skipped")
        return kind()


def odata(timestamp: datetime) -> str:
    """Return a time in the format of Graph's filters: UTC, to the millisecond."""
    return timestamp.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
