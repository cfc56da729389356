"""Delta queries: what changed since the link of the last query (docs/graph.md, "Delta queries")."""

import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from urllib.parse import quote

import msgspec

from shared.configuration.declaration import declaration_id
from shared.delivery.resource import time_of
from shared.graph.client import GraphClient, GraphRequestError, Page
from shared.messages.envelope import ReadbackPage
from shared.readback.checkpoints import DeltaLink
from shared.readback.declared import options
from shared.readback.fetched import FetchedPage, decoded, following, odata
from shared.resources.delta_query import delta_path, is_ranged, latest, says_when
from shared.resources.path import encoded, segments, with_query

DeltaLinks = Callable[[str], DeltaLink | None]
"""Returns the stored delta link of a declaration, by its id."""

_log = logging.getLogger("graph_relay.backfill")

OVERLAP = timedelta(minutes=15)
"""Overlap between consecutive comparisons."""

_EXPIRED_LINK_STATUSES = (410, 400, 404)
"""The status of a link that Graph no longer accepts (docs/graph.md, "Delta queries")."""

_VIEW_BEFORE, _VIEW_AFTER = timedelta(days=31), timedelta(days=3 * 366)
"""The range of a calendar view. Graph carries it on in its links: it stays while the link lives."""


class _Dated(msgspec.Struct, rename="camel"):
    last_modified_date_time: str | None = None


class _RemovedEntry(msgspec.Struct):
    id: str = ""
    removed: dict[str, object] | None = msgspec.field(name="@removed", default=None)


def delta(readback: ReadbackPage, graph: GraphClient, delta_link: DeltaLinks) -> FetchedPage:
    """Read the changes since the last query. The very first query, with an empty range, only obtains the link, and of
    the directory also what there is.

    Where Graph forgot the link, or there was none, everything is listed, and what says that it did not change in the
    range is left out.
    """
    begins = readback.since >= readback.until
    if begins and readback.full and not readback.link:
        return _changes_in(_listed(readback, graph), readback, begins)
    known = None if readback.link else delta_link(owner_of(readback))
    if known and begins:
        return FetchedPage()  # the link exists already; the changes after it are still to be delivered
    if not known and not readback.link:
        return _first(readback, graph, begins)
    if known:
        readback = msgspec.structs.replace(readback, full=False)  # it began again, and goes on from the stored link
    try:
        page = graph.get_page(readback.tenant_id, known.link if known else readback.link)
    except GraphRequestError as refusal:
        if readback.link or refusal.status not in _EXPIRED_LINK_STATUSES:
            raise  # of a further page: it goes on from the stored link
        _log.warning(
            "The delta link of %s, from %s, has expired. Everything is listed again; deletions since then are not"
            " found: %s",
            *(readback.resource, known.asked if known else None, refusal),
        )
        page, readback = _listed(readback, graph), _resync(readback, known)
    return _changes_in(page, readback, begins)


def _resync(readback: ReadbackPage, known: DeltaLink | None) -> ReadbackPage:
    """What changed since the link is listed no other way: not only what the range holds, which a ping makes short."""
    asked = known.asked - OVERLAP if known and known.asked else readback.since
    return msgspec.structs.replace(readback, full=True, since=min(readback.since, asked))


def _first(readback: ReadbackPage, graph: GraphClient, begins: bool) -> FetchedPage:
    """Begin: from now on, where Graph offers it and nothing else can be told; else with everything."""
    start = latest(readback.resource)
    if start and (begins or not says_when(readback.resource)):
        if not begins:
            _log.warning("%s has no delta link yet: changes before now can't be read back", readback.resource)
        page = graph.get_page(readback.tenant_id, f"{delta_path(readback.resource)}?{_query(readback.resource, start)}")
        further = following(readback, page.next_link)
        if begins and not says_when(readback.resource):
            further.append(msgspec.structs.replace(readback, full=True, attempt=0))
        return FetchedPage([], further, page.delta_link or "")
    return _changes_in(_listed(readback, graph), msgspec.structs.replace(readback, full=True), begins)


def removed_alone(changes: FetchedPage, readback: ReadbackPage, collection: str) -> FetchedPage:
    """Return pages that read what is called removed, each by itself, from the collection that has it if it lives.

    Of a calendar view nothing else is kept: what an event has is read by time. Occurrences of a series, of which no
    notification came, are entries too.
    """
    kept: list[msgspec.Raw] = []
    unsure: list[ReadbackPage] = []
    for content in changes.resources:
        entry = decoded(content, _RemovedEntry)
        if entry.removed is None or not entry.id:
            kept.append(content)
        else:
            unsure.append(removed_page(readback, collection, entry.id))
    return replace(changes, resources=[] if is_ranged(readback.resource) else kept, unsure=unsure)


def removed_page(readback: ReadbackPage, collection: str, entry_id: str) -> ReadbackPage:
    """Return what reads one resource that Graph has called removed, or lists no more: it is told if it is gone."""
    path = with_query(encoded((*segments(collection), entry_id)), "$select=id")
    return msgspec.structs.replace(readback, resource=path, link="", attempt=0, number=0, full=False, removed=True)


def _listed(readback: ReadbackPage, graph: GraphClient) -> Page:
    ranged = is_ranged(readback.resource)  # which takes no selection
    query = "&".join(_view_range(readback)) if ranged else _query(readback.resource)
    return graph.get_page(readback.tenant_id, with_query(delta_path(readback.resource) or "", query))


def _changes_in(page: Page, readback: ReadbackPage, begins: bool) -> FetchedPage:
    resources, further, link = [] if begins else page.value, following(readback, page.next_link), page.delta_link or ""
    if not says_when(readback.resource):
        # A list that only says what there is ends later than the link that it began with.
        ends = readback.full and page.next_link is None
        link = "" if begins else link
        return FetchedPage(resources, further, link, states=page.value, is_list=readback.full, ends=ends)
    if readback.full:
        resources = [entry for entry in resources if _may_have_changed(entry, readback.since)]
    return FetchedPage(resources, further, link)


def _may_have_changed(entry: msgspec.Raw, since: datetime) -> bool:
    changed = time_of(decoded(entry, _Dated).last_modified_date_time)
    return changed is None or changed >= since


def _query(resource: str, *more: str) -> str:
    """What a declared resource selects goes into the first query; Graph carries it on in its links."""
    selected = options(resource).get("$select")
    return "&".join((*more, *((f"$select={quote(selected, safe=',')}",) if selected else ())))


def _view_range(readback: ReadbackPage) -> tuple[str, str]:
    """The range of dates of a new round. Changes outside it come as removals (/graph/api/event-delta, "Response")."""
    begin, end = odata(readback.until - _VIEW_BEFORE), odata(readback.until + _VIEW_AFTER)
    return f"startDateTime={begin}", f"endDateTime={end}"


def owner_of(readback: ReadbackPage) -> str:
    """Return the id of the declaration that a delta link is stored for."""
    return readback.declaration or declaration_id(readback.tenant_id, readback.resource)
