"""Reads back a time range of a resource, page by page (docs/graph.md, "Reading back").

Each page is a queue message, so reading can resume, spreads over instances, and stores no plaintext. Graph has no
tenant-wide read: a tenant-wide resource fans out into its teams or users, each again a queue message.
"""

import hashlib
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TypeVar
from urllib.parse import quote

import msgspec

from shared import telemetry
from shared.configuration.declaration import Declaration, declaration_id
from shared.delivery.resource import time_of
from shared.errors import Reason, RetryLater, Undeliverable
from shared.graph.client import GraphClient, GraphRequestError, Page
from shared.messages.envelope import ReadbackPage
from shared.readback.checkpoints import DeltaLink
from shared.readback.declared import options, selection, unfaithful
from shared.resources.catalog import find
from shared.resources.delta_query import delta_path, is_ranged, latest, says_when, view_of
from shared.resources.identity import identify, read_path
from shared.resources.path import encoded, has_dot_segments, segments, with_query
from shared.resources.permissions import remedy_of_reading

T = TypeVar("T")

DeltaLinks = Callable[[str], DeltaLink | None]
"""Returns the stored delta link of a declaration, by its id."""

_log = logging.getLogger("graph_relay.backfill")

PAGE_SIZE = 50
"""Messages per page: Graph's maximum for a chat."""

_TEAMS = "teams?$select=id&$top=100"
_USERS = "users?$select=id,assignedPlans&$top=100"
_USERS_WITHOUT_PLANS = "users?$select=id&$top=100"
_TEAMS_SERVICE = "teamspaceapi"
"""The service of every plan of Teams, in `assignedPlans`."""

_EXPIRED_LINK_STATUSES = (410, 400, 404)
"""The status of a link that Graph no longer accepts (docs/graph.md, "Delta queries")."""

OVERLAP = timedelta(minutes=15)
"""Overlap between consecutive comparisons."""

_LINK_DIGITS = 16

_VIEW_LENGTH = timedelta(days=366)

_MOST_PAGES = 20_000
"""Of one list: more is no progress (docs/graph.md, "Reading back")."""


@dataclass(frozen=True)
class FetchedPage:
    """The content of one page: resources, as Graph sent them, and the pages to read next.

    link: the delta link for the next query; to be stored after all resources are delivered.
    unsure: pages that read what may be gone, each by itself, once every replica knows it.
    states: entries that do not say when they changed, to be remembered (`DirectoryStates`). is_list: whether they are
    of a list of everything, and the resources those among them that may have changed. ends: whether that list ends.
    """

    resources: list[msgspec.Raw] = field(default_factory=list)
    further: list[ReadbackPage] = field(default_factory=list)
    link: str = ""
    unsure: list[ReadbackPage] = field(default_factory=list)
    states: list[msgspec.Raw] = field(default_factory=list)
    is_list: bool = False
    ends: bool = False


class _Plan(msgspec.Struct, rename="camel"):
    service: str | None = None
    capability_status: str | None = None


class _Entry(msgspec.Struct, rename="camel"):
    """A team or a user. assigned_plans: None if Graph does not show them to this app."""

    id: str = ""
    assigned_plans: list[_Plan] | None = None

    @property
    def may_have_chats(self) -> bool:
        """Whether it has Teams; guests, rooms and unlicensed accounts have not, and Graph refuses to read theirs."""
        return self.assigned_plans is None or any(
            (plan.service or "").lower() == _TEAMS_SERVICE and plan.capability_status in ("Enabled", "Warning")
            for plan in self.assigned_plans
        )


class _Dated(msgspec.Struct, rename="camel"):
    last_modified_date_time: str | None = None


class _RemovedEntry(msgspec.Struct):
    id: str = ""
    removed: dict[str, object] | None = msgspec.field(name="@removed", default=None)


class _Channel(msgspec.Struct, rename="camel"):
    channel_id: str | None = None


class _ChannelMessage(msgspec.Struct, rename="camel"):
    channel_identity: _Channel | None = None


class _Thread(msgspec.Struct):
    """A root message with its replies, as a delta query of a channel lists it."""

    replies: list[msgspec.Raw] = []
    more_replies: str | None = msgspec.field(name="replies@odata.nextLink", default=None)


def read_by(declaration: Declaration) -> str:
    """Return the path by which what a declaration missed is read back.

    All messages of a team take a permission for the tenant; with consent for one team, the channel's own changes are
    asked for (/graph/api/chatmessage-delta).
    """
    parts = segments(declaration.resource)
    if declaration.consent == "resource" and re.fullmatch(_CHANNEL, "/".join(parts).lower()):
        return "/".join((*parts, "delta"))
    return declaration.resource


def page_of(declaration: Declaration, since: datetime, until: datetime, now: datetime) -> ReadbackPage:
    """Return the first page of what a declaration may have missed."""
    return ReadbackPage(now, declaration.tenant_id, read_by(declaration), since, until, declaration=declaration.id)


def unreadable(declaration: Declaration) -> str | None:
    """Return why missed changes of a declaration can't be read back, as a sentence; None if they can."""
    if not can_read(declaration.resource):
        return "Graph does not list what changed there"
    return unfaithful(declaration)


def can_read(resource: str) -> bool:
    """Whether missed changes of a declared resource can be read back."""
    return _reader(resource) is not None or delta_path(resource) is not None


def is_page(resource: str) -> bool:
    """Whether others may be in what is read, or behind it: a single resource holds up none."""
    return identify(resource).type is None


def fetch_page(readback: ReadbackPage, graph: GraphClient, delta_link: DeltaLinks) -> FetchedPage:
    """Read one page.

    One user or team among all whom Graph refuses for good is skipped and counted.

    Raises:
        RetryLater: Graph is unavailable, throttles, or refuses: an administrator may grant consent again. Or a link
            leads nowhere.
        Undeliverable: there is no reader for that path.
    """
    try:
        return ask(readback, graph, delta_link)
    except GraphRequestError as refusal:
        if refusal.status == 404 and not readback.link and not refusal.is_about_mailbox:
            return FetchedPage()  # a deleted chat, team or user has nothing to read
        if readback.among_many and _is_for_good(readback.resource, refusal):
            telemetry.SKIPPED.add(1)
            _log.warning("%s is left out of what is read back: %s", readback.resource, refusal)
            return FetchedPage()
        advice = remedy_of_reading(readback.resource, refusal.granted) if refusal.status == 403 else ""
        raise RetryLater(Reason.GRAPH_REFUSED, f"{refusal}. {advice}" if advice else str(refusal)) from refusal


def ask(readback: ReadbackPage, graph: GraphClient, delta_link: DeltaLinks) -> FetchedPage:
    """Read one page as `fetch_page` does; what Graph refuses raises GraphRequestError, also where there is nothing."""
    reader = _reader(readback.resource)
    if reader is not None:
        return reader(readback, graph)
    if delta_path(readback.resource) is not None:
        changes = _delta(readback, graph, delta_link)
        return _removed_alone(changes, readback) if is_ranged(readback.resource) else changes
    return _one_item(readback, graph)


def _is_for_good(resource: str, refusal: GraphRequestError) -> bool:
    """Whether a refusal is of this user or team alone: consent of the tenant would not change it."""
    if refusal.status == 404:
        return refusal.is_about_mailbox
    kind = find(resource)
    accepted = {name for operation in kind.sweep for name in operation.accepted} if kind else set()
    has_permission = refusal.granted is None or not accepted.isdisjoint(refusal.granted)
    return refusal.status == 403 and refusal.code != "Authorization_RequestDenied" and has_permission


Reader = Callable[[ReadbackPage, GraphClient], FetchedPage]


def _reader(resource: str) -> Reader | None:
    path = "/".join(part.lower() for part in segments(resource))
    if "$filter" in options(resource) and re.fullmatch(_FILTERED_FOLDER, path):
        return _changed_entries  # a delta query does not take that filter
    return next((reader for pattern, reader in _READERS if re.fullmatch(pattern, path)), None)


def _delta(readback: ReadbackPage, graph: GraphClient, delta_link: DeltaLinks) -> FetchedPage:
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
        _log.warning("The delta link of %s is no longer valid; all is listed again: %s", readback.resource, refusal)
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
            _log.warning("%s was never compared: what changed before now can't be told", readback.resource)
        page = graph.get_page(readback.tenant_id, f"{delta_path(readback.resource)}?{_query(readback.resource, start)}")
        further = _next(readback, page.next_link)
        if begins and not says_when(readback.resource):
            further.append(msgspec.structs.replace(readback, full=True, attempt=0))
        return FetchedPage([], further, page.delta_link or "")
    return _changes_in(_listed(readback, graph), msgspec.structs.replace(readback, full=True), begins)


def _removed_alone(changes: FetchedPage, readback: ReadbackPage) -> FetchedPage:
    """Return pages that read what a calendar view calls removed, each by itself: it may only be outside the range.

    What it has is read by time. Occurrences of a series, which nobody was told of, are entries too.
    """
    events = [*segments(readback.resource)[:2], "events"]
    entries = [_decoded(entry, _RemovedEntry) for entry in changes.resources]
    removed = [
        msgspec.structs.replace(
            readback,
            resource=with_query(encoded((*events, entry.id)), selection(readback.resource)),
            link="",
            attempt=0,
            number=0,
            full=False,
        )
        for entry in entries
        if entry.id and entry.removed is not None
    ]
    return FetchedPage([], changes.further, changes.link, removed)


def _listed(readback: ReadbackPage, graph: GraphClient) -> Page:
    ranged = is_ranged(readback.resource)  # which takes no selection
    query = "&".join(_view_range(readback)) if ranged else _query(readback.resource)
    return graph.get_page(readback.tenant_id, with_query(delta_path(readback.resource) or "", query))


def _changes_in(page: Page, readback: ReadbackPage, begins: bool) -> FetchedPage:
    resources, further, link = [] if begins else page.value, _next(readback, page.next_link), page.delta_link or ""
    if not says_when(readback.resource):
        # A list that only says what there is ends later than the link that it began with.
        ends = readback.full and page.next_link is None
        link = "" if begins else link
        return FetchedPage(resources, further, link, states=page.value, is_list=readback.full, ends=ends)
    if readback.full:
        resources = [entry for entry in resources if _may_have_changed(entry, readback.since)]
    return FetchedPage(resources, further, link)


def _may_have_changed(entry: msgspec.Raw, since: datetime) -> bool:
    changed = time_of(_decoded(entry, _Dated).last_modified_date_time)
    return changed is None or changed >= since


def _query(resource: str, *more: str) -> str:
    """What a declared resource selects goes into the first query; Graph carries it on in its links."""
    selected = options(resource).get("$select")
    return "&".join((*more, *((f"$select={quote(selected, safe=',')}",) if selected else ())))


def _view_range(readback: ReadbackPage) -> tuple[str, str]:
    """The range of dates of a new round. Changes outside it come as removals (/graph/api/event-delta, "Response")."""
    begin, end = (_odata(moment) for moment in (readback.until, readback.until + _VIEW_LENGTH))
    return f"startDateTime={begin}", f"endDateTime={end}"


def owner_of(readback: ReadbackPage) -> str:
    """Return the id of the declaration that a delta link is stored for."""
    return readback.declaration or declaration_id(readback.tenant_id, readback.resource)


def _one_item(readback: ReadbackPage, graph: GraphClient) -> FetchedPage:
    """One resource alone; a deleted one reads as it does in a delta query (docs/graph.md, "Delta queries")."""
    path = _path_of_item(readback.resource)
    if path is None:
        raise Undeliverable(Reason.READBACK_UNKNOWN, "this resource can't be read back")
    try:
        return FetchedPage([msgspec.Raw(graph.get_raw(readback.tenant_id, path))])
    except GraphRequestError as refusal:
        if refusal.status != 404 or refusal.is_about_mailbox:
            raise
        gone = {"id": segments(readback.resource)[-1], "@removed": {"reason": "deleted"}}
        return FetchedPage([msgspec.Raw(msgspec.json.encode(gone))])


def _path_of_item(resource: str) -> str | None:
    path = None if has_dot_segments(segments(resource)) else read_path(identify(resource))
    return path and with_query(path, selection(resource))


def _each_team(readback: ReadbackPage, graph: GraphClient) -> FetchedPage:
    return _fan_out(readback, graph, _TEAMS, "teams/{id}/channels/getAllMessages")


def _each_user(readback: ReadbackPage, graph: GraphClient) -> FetchedPage:
    """Those with a plan of Teams, if Graph shows the plans: that takes more than listing users does."""
    try:
        return _fan_out(readback, graph, _USERS, _USER_CHATS)
    except GraphRequestError as refusal:
        if refusal.status != 403 or readback.link:
            raise
        return _fan_out(readback, graph, _USERS_WITHOUT_PLANS, _USER_CHATS)


def _fan_out(readback: ReadbackPage, graph: GraphClient, path: str, resource: str) -> FetchedPage:
    page = graph.get_page(readback.tenant_id, readback.link or path)
    entries = [_decoded(entry, _Entry) for entry in page.value]
    each = [
        msgspec.structs.replace(
            readback, resource=resource.replace("{id}", entry.id), link="", attempt=0, number=0, among_many=True
        )
        for entry in entries
        if entry.id and entry.may_have_chats
    ]
    return FetchedPage(further=each + _next(readback, page.next_link))


def _all_messages(readback: ReadbackPage, graph: GraphClient) -> FetchedPage:
    return _messages(readback, graph, f"{encoded(segments(readback.resource))}?$top={PAGE_SIZE}&{_range(readback)}")


def _chat(readback: ReadbackPage, graph: GraphClient) -> FetchedPage:
    # Without the order, Graph silently ignores the filter.
    order = "$orderby=lastModifiedDateTime%20desc"
    path = encoded(segments(readback.resource))
    return _messages(readback, graph, f"{path}?$top={PAGE_SIZE}&{order}&{_range(readback)}")


def _channel(readback: ReadbackPage, graph: GraphClient) -> FetchedPage:
    """Read the whole team and filter: that API includes replies and has a 200 times higher limit."""
    _, team, _, channel, _ = segments(readback.resource)
    path = encoded(("teams", team, "channels", "getAllMessages"))
    reading = _messages(readback, graph, f"{path}?$top={PAGE_SIZE}&{_range(readback)}")
    return FetchedPage(
        [resource for resource in reading.resources if _channel_of(resource) == channel], reading.further
    )


def _channel_changes(readback: ReadbackPage, graph: GraphClient) -> FetchedPage:
    """Root messages and their replies. Only a lower bound is taken; a link to more replies leads to replies alone."""
    since = quote(f"lastModifiedDateTime gt {_odata(readback.since)}")
    path = f"{encoded(segments(readback.resource))}?$top={PAGE_SIZE}&$expand=replies&$filter={since}"
    page = graph.get_page(readback.tenant_id, readback.link or path)
    threads = [_decoded(message, _Thread) for message in page.value]
    links = [page.next_link, *(thread.more_replies for thread in threads)]
    replies = [reply for thread in threads for reply in thread.replies]
    roots = [
        _without_replies(message) if thread.replies else message
        for message, thread in zip(page.value, threads, strict=True)
    ]
    return FetchedPage([*roots, *replies], [further for link in links for further in _next(readback, link)])


def _without_replies(message: msgspec.Raw) -> msgspec.Raw:
    """A root message as it is pushed, its replies being messages of their own."""
    members = msgspec.json.decode(message, type=dict[str, msgspec.Raw])
    kept = {name: value for name, value in members.items() if not name.startswith("replies@")}
    return msgspec.Raw(msgspec.json.encode({**kept, "replies": []}))


def _changed_entries(readback: ReadbackPage, graph: GraphClient) -> FetchedPage:
    """What Outlook lists by the time of its last change, as the declaration filters and selects it. Deletions are not
    listed.
    """
    since, until = (_odata(timestamp) for timestamp in (readback.since, readback.until))
    condition = f"lastModifiedDateTime ge {since} and lastModifiedDateTime le {until}"
    if declared := options(readback.resource).get("$filter"):
        condition = f"{condition} and ({declared})"
    parts = (f"$top={PAGE_SIZE}", f"$filter={quote(condition)}", selection(readback.resource))
    return _messages(readback, graph, f"{encoded(segments(readback.resource))}?{'&'.join(filter(None, parts))}")


def _changed_events(readback: ReadbackPage, graph: GraphClient) -> FetchedPage:
    """Of a declaration also those that are gone, by a delta query: that goes on from the link of the last one."""
    page = _changed_entries(readback, graph)
    view = view_of(readback.resource)
    is_filtered = "$filter" in options(readback.resource)  # which the delta query of a view does not take
    if readback.link or not readback.declaration or view is None or is_filtered:
        return page
    deletions = msgspec.structs.replace(readback, resource=with_query(view, selection(readback.resource)), attempt=0)
    return FetchedPage(page.resources, [*page.further, deletions])


def _messages(readback: ReadbackPage, graph: GraphClient, path: str) -> FetchedPage:
    page = graph.get_page(readback.tenant_id, readback.link or path)
    return FetchedPage(page.value, _next(readback, page.next_link))


def _next(readback: ReadbackPage, link: str | None) -> list[ReadbackPage]:
    """The page behind this one. Raises RetryLater if there is no progress: Graph was seen to link to the same page."""
    if not link:
        return []
    digest = hashlib.sha256(link.encode()).hexdigest()[:_LINK_DIGITS]
    if link == readback.link or digest == readback.passed or readback.number >= _MOST_PAGES:
        raise RetryLater(Reason.GRAPH, "Graph's link to the next page leads nowhere: it is read again later")
    number = readback.number + 1
    # The link of each power of two is kept: a circle of any length meets it again (Brent).
    passed = digest if number & (number - 1) == 0 else readback.passed
    return [msgspec.structs.replace(readback, link=link, attempt=0, number=number, passed=passed)]


def _channel_of(message: msgspec.Raw) -> str | None:
    identity = _decoded(message, _ChannelMessage).channel_identity
    return identity.channel_id if identity else None


def _decoded(entry: msgspec.Raw, kind: type[T]) -> T:
    """A malformed entry reads as an empty one; the rest of the page is not affected."""
    try:
        return msgspec.json.decode(entry, type=kind)
    except (msgspec.DecodeError, RecursionError):
        _log.warning("Graph lists an unreadable entry; it is skipped")
        return kind()


def _range(readback: ReadbackPage) -> str:
    """Bounds are exclusive, at a resolution of milliseconds."""
    since, until = (_odata(timestamp) for timestamp in (readback.since, readback.until))
    condition = f"lastModifiedDateTime gt {since} and lastModifiedDateTime lt {until}"
    return f"$filter={quote(condition)}"


def _odata(timestamp: datetime) -> str:
    return timestamp.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


_USER_CHATS = "users/{id}/chats/getAllMessages"
_CHANNEL = r"teams/[^/]+/channels/[^/]+/messages"
_READERS: tuple[tuple[str, Reader], ...] = (
    (r"teams/getallmessages", _each_team),
    (r"chats/getallmessages", _each_user),
    (r"teams/[^/]+/channels/getallmessages", _all_messages),
    (r"users/[^/]+/chats/getallmessages", _all_messages),
    (_CHANNEL, _channel),
    (rf"{_CHANNEL}/delta", _channel_changes),
    (r"chats/[^/]+/messages", _chat),
    (r"users/[^/]+/(messages|contacts)", _changed_entries),
    (r"users/[^/]+/(calendar/|calendars/[^/]+/)?events", _changed_events),
)
_FILTERED_FOLDER = r"users/[^/]+/(mailfolders/[^/]+/messages|contactfolders/[^/]+/contacts)"
