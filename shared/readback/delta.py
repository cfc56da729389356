"""Delta queries: what changed since the link of the last query (docs/graph.md, "Delta queries")."""

import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
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
"""The range of a calendar view. Graph keeps it in its links: it is fixed as long as the link is valid."""


class _Dated(msgspec.Struct, rename="camel"):
    last_modified_date_time: str | None = None


class _RemovedEntry(msgspec.Struct):
    id: str = ""
    removed: dict[str, object] | None = msgspec.field(name="@removed", default=None)


def delta(readback: ReadbackPage, graph: GraphClient, delta_link: DeltaLinks) -> FetchedPage:
    """Read the changes since the last query. The first query, with an empty range, only obtains the link, the current
    entries of the directory, and elsewhere what changed after the beginning of the range.

    If there is no link, or Graph has expired it, everything is listed, and entries that did not change in the range are
    skipped.
    """
    if readback.begins and readback.full and not readback.link:
        return _changes_in(_listed(readback, graph), readback)
    known = None if readback.link else delta_link(owner_of(readback))
    if known and readback.begins:
        # The changes after that link are still to be delivered.
        return FetchedPage(further=[] if says_when(readback.resource) else [_current_entries(readback)])
    if not known and not readback.link:
        return _first(readback, graph)
    if known:
        readback = msgspec.structs.replace(readback, full=False)  # it began again, and continues from the stored link
    try:
        page = graph.get_page(readback.tenant_id, known.link if known else readback.link)
    except GraphRequestError as refusal:
        if readback.link or refusal.status not in _EXPIRED_LINK_STATUSES:
            raise  # of a further page: the query continues from the stored link
        _log.warning(
            "The delta link of %s, from %s, has expired. Everything is listed again; deletions since then are not"
            " found: %s",
            *(readback.resource, known.asked if known else None, refusal),
        )
        page, readback = _listed(readback, graph), _resync(readback, known)
    return _changes_in(page, readback)


def _resync(readback: ReadbackPage, known: DeltaLink | None) -> ReadbackPage:
    """Deliver all changes since the link, even outside the range, which a ping makes short: they are listed nowhere
    else.
    """
    asked = known.asked - OVERLAP if known and known.asked else readback.since
    return msgspec.structs.replace(readback, full=True, since=min(readback.since, asked))


def from_now_on(tenant_id: str, resource: str, graph: GraphClient) -> Page:
    """Return the empty first page, with the link, of a delta query that begins now; Graph must offer that (`latest`).

    Raises RetryLater, GraphRequestError.
    """
    return graph.get_page(tenant_id, f"{delta_path(resource)}?{_query(resource, latest(resource))}")


def _first(readback: ReadbackPage, graph: GraphClient) -> FetchedPage:
    """Begin with a list of everything; in the directory, whose entries do not say when they changed, at the present."""
    if says_when(readback.resource):
        return _changes_in(_listed(readback, graph), msgspec.structs.replace(readback, full=True))
    if not readback.begins:
        _log.warning("%s has no delta link yet: changes before now can't be read back", readback.resource)
    page = from_now_on(readback.tenant_id, readback.resource, graph)
    further = following(readback, page.next_link)
    return FetchedPage(
        [], [*further, *([_current_entries(readback)] if readback.begins else [])], page.delta_link or ""
    )


def _current_entries(readback: ReadbackPage) -> ReadbackPage:
    """Return the page that lists the directory, whose entries are later compared with this list."""
    return msgspec.structs.replace(readback, full=True, attempt=0)


def removed_alone(changes: FetchedPage, readback: ReadbackPage, collection: str) -> FetchedPage:
    """Return pages that read each removed entry separately, from the collection in which it would still exist.

    Other entries of a calendar view are skipped: events are read by time, and occurrences of a series cause no
    notification.
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
    """Return a page that reads one resource that Graph reports as removed, or omits: if it is gone, it becomes a
    deletion.
    """
    path = with_query(encoded((*segments(collection), entry_id)), "$select=id")
    return msgspec.structs.replace(readback, resource=path, link="", attempt=0, number=0, full=False, removed=True)


def _listed(readback: ReadbackPage, graph: GraphClient) -> Page:
    ranged = is_ranged(readback.resource)  # which accepts no selection
    query = "&".join(_view_range(readback)) if ranged else _query(readback.resource)
    return graph.get_page(readback.tenant_id, with_query(delta_path(readback.resource) or "", query))


def _changes_in(page: Page, readback: ReadbackPage) -> FetchedPage:
    resources, further, link = page.value, following(readback, page.next_link), page.delta_link or ""
    if not says_when(readback.resource):
        # The list is newer than the link that the query began with.
        ends = readback.full and page.next_link is None
        resources, link = ([], "") if readback.begins else (resources, link)
        return FetchedPage(resources, further, link, states=page.value, is_list=readback.full, ends=ends)
    if readback.full:
        resources = [entry for entry in resources if _may_have_changed(entry, readback)]
    return FetchedPage(resources, further, link)


def _may_have_changed(entry: msgspec.Raw, readback: ReadbackPage) -> bool:
    """Whether an entry of a list changed since the beginning of the range. If the declaration leaves out when, it
    counts as changed, but not in the first list: that would deliver everything there is.
    """
    changed = time_of(decoded(entry, _Dated).last_modified_date_time)
    return not readback.begins if changed is None else changed >= readback.since


def _query(resource: str, *more: str) -> str:
    """The selection is part of the first query; Graph keeps it in its links."""
    selected = options(resource).get("$select")
    return "&".join((*more, *((f"$select={quote(selected, safe=',')}",) if selected else ())))


def _view_range(readback: ReadbackPage) -> tuple[str, str]:
    """The date range of a new round. Changes outside it appear as removals (/graph/api/event-delta, "Response")."""
    begin, end = odata(readback.until - _VIEW_BEFORE), odata(readback.until + _VIEW_AFTER)
    return f"startDateTime={begin}", f"endDateTime={end}"


def owner_of(readback: ReadbackPage) -> str:
    """Return the id of the declaration that a delta link is stored for."""
    return readback.declaration or declaration_id(readback.tenant_id, readback.resource)
