"""Reads back a time range of a resource, page by page (docs/graph.md, "Reading back").

Each page is a queue message, so reading can resume, is spread over instances, and stores no plaintext. `by_time` reads
lists that Graph filters by time, `delta` reads delta queries; a single resource is read directly.
"""

import logging
import re
from datetime import datetime

import msgspec

from shared import telemetry
from shared.configuration.declaration import Declaration
from shared.errors import Reason, RetryLater, Undeliverable
from shared.graph.client import GraphClient, GraphRequestError
from shared.messages.envelope import ReadbackPage
from shared.readback.by_time import CHANNEL, reader
from shared.readback.declared import selection, unfaithful
from shared.readback.delta import DeltaLinks, delta, removed_alone
from shared.readback.fetched import FetchedPage
from shared.resources.catalog import find
from shared.resources.delta_query import collection_left, delta_path
from shared.resources.identity import identify, read_path
from shared.resources.path import has_dot_segments, segments, with_query
from shared.resources.permissions import remedy_of_reading

_log = logging.getLogger("graph_relay.backfill")


def read_by(declaration: Declaration) -> str:
    """Return the path that is read back for a declaration.

    Reading all messages of a team needs a permission for the tenant; with consent for one team, the delta query of each
    channel is read (/graph/api/chatmessage-delta).
    """
    parts = segments(declaration.resource)
    if declaration.consent == "resource" and re.fullmatch(CHANNEL, "/".join(parts).lower()):
        return "/".join((*parts, "delta"))
    return declaration.resource


def page_of(declaration: Declaration, since: datetime, until: datetime, now: datetime) -> ReadbackPage:
    """Return the first page to read back for a declaration."""
    return ReadbackPage(now, declaration.tenant_id, read_by(declaration), since, until, declaration=declaration.id)


def unreadable(declaration: Declaration) -> str | None:
    """Return why changes of a declaration can't be read back, as a sentence; None if they can."""
    if not can_read(declaration.resource):
        return "Graph does not list what changed there"
    return unfaithful(declaration)


def can_read(resource: str) -> bool:
    """Whether changes of a declared resource can be read back."""
    return reader(resource) is not None or delta_path(resource) is not None


def is_page(resource: str) -> bool:
    """Whether a read returns a page of several resources. A single resource delays no others."""
    return identify(resource).type is None


def fetch_page(readback: ReadbackPage, graph: GraphClient, delta_link: DeltaLinks) -> FetchedPage:
    """Read one page.

    A user or team among many that Graph refuses permanently is skipped and counted.

    Raises:
        RetryLater: Graph is unavailable, throttles, or refuses (an administrator may grant consent again), or a link
            leads nowhere.
        Undeliverable: there is no reader for that path.
    """
    try:
        return ask(readback, graph, delta_link)
    except GraphRequestError as refusal:
        if refusal.status == 404 and not readback.link and not refusal.is_about_mailbox:
            if readback.declaration and not readback.among_many:
                _log.warning(
                    "%s does not exist, so there is nothing to read back: remove its declaration if it was deleted",
                    readback.resource,
                )
            return FetchedPage()  # a deleted chat, team or user has nothing to read
        if readback.among_many and _is_for_good(readback.resource, refusal):
            telemetry.SKIPPED.add(1)
            _log.warning("%s is not read back: %s", readback.resource, refusal)
            return FetchedPage()
        advice = remedy_of_reading(readback.resource, refusal.granted) if refusal.status == 403 else ""
        raise RetryLater(Reason.GRAPH_REFUSED, f"{refusal}. {advice}" if advice else str(refusal)) from refusal


def ask(readback: ReadbackPage, graph: GraphClient, delta_link: DeltaLinks) -> FetchedPage:
    """Read one page as `fetch_page` does; every refusal of Graph raises GraphRequestError."""
    by_time = reader(readback.resource)
    if by_time is not None:
        return by_time(readback, graph)
    if delta_path(readback.resource) is not None:
        changes, collection = delta(readback, graph, delta_link), collection_left(readback.resource)
        return changes if collection is None else removed_alone(changes, readback, collection)
    return _one_item(readback, graph)


def _is_for_good(resource: str, refusal: GraphRequestError) -> bool:
    """Whether a refusal concerns only this user or team: consent of the tenant would not change it."""
    if refusal.status == 404:
        return refusal.is_about_mailbox
    kind = find(resource)
    accepted = {name for operation in kind.sweep for name in operation.accepted} if kind else set()
    has_permission = refusal.granted is None or not accepted.isdisjoint(refusal.granted)
    return refusal.status == 403 and refusal.code != "Authorization_RequestDenied" and has_permission


def _one_item(readback: ReadbackPage, graph: GraphClient) -> FetchedPage:
    """A single resource; a deleted one looks as in a delta query (docs/graph.md, "Delta queries")."""
    path = _path_of_item(readback.resource)
    if path is None:
        raise Undeliverable(Reason.READBACK_UNKNOWN, "this resource can't be read back")
    try:
        content = msgspec.Raw(graph.get_raw(readback.tenant_id, path))
        return FetchedPage([] if readback.removed else [content])
    except GraphRequestError as refusal:
        if refusal.status != 404 or refusal.is_about_mailbox:
            raise
        gone = {"id": segments(readback.resource)[-1], "@removed": {"reason": "deleted"}}
        return FetchedPage([msgspec.Raw(msgspec.json.encode(gone))])


def _path_of_item(resource: str) -> str | None:
    path = None if has_dot_segments(segments(resource)) else read_path(identify(resource))
    return path and with_query(path, selection(resource))
