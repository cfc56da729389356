"""Reads back a time range of a resource, page by page (docs/graph.md, "Reading back").

Each page is a queue message, so reading can resume, spreads over instances, and stores no plaintext. Graph has no
tenant-wide read: a tenant-wide resource fans out into its teams or users, each again a queue message.
"""

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypeVar
from urllib.parse import quote

import msgspec

from shared.configuration.declaration import Declaration, declaration_id
from shared.errors import Reason, RetryLater, Undeliverable
from shared.graph.client import GraphClient, GraphRequestError
from shared.messages.envelope import ReadbackPage
from shared.resources.delta_query import delta_path
from shared.resources.identity import identify, read_path
from shared.resources.path import encoded, has_dot_segments, segments

T = TypeVar("T")

_log = logging.getLogger("graph_relay.backfill")

PAGE_SIZE = 50
"""Messages per page: Graph's maximum for a chat."""

_TEAMS = "teams?$select=id&$top=100"
_USERS = "users?$select=id&$top=100"

_EXPIRED_LINK_STATUSES = (410, 400)
"""The status of a delta link that Graph no longer accepts (docs/graph.md, "Delta queries")."""


@dataclass(frozen=True)
class FetchedPage:
    """The content of one page: resources, as Graph sent them, and the pages to read next.

    link: the delta link for the next query; to be stored after all resources are delivered.
    """

    resources: list[msgspec.Raw] = field(default_factory=list)
    further: list[ReadbackPage] = field(default_factory=list)
    link: str = ""


class _Entry(msgspec.Struct):
    """A team, a user or a message."""

    id: str = ""


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


def can_read(resource: str) -> bool:
    """Whether missed changes of a declared resource can be read back."""
    return _reader(resource) is not None or delta_path(resource) is not None


def is_page(resource: str) -> bool:
    """Whether others may be in what is read, or behind it: a single resource holds up none."""
    return identify(resource).type is None


def fetch_page(readback: ReadbackPage, graph: GraphClient, delta_link: Callable[[str], str | None]) -> FetchedPage:
    """Read one page. `delta_link`: returns the stored delta link of a declaration id.

    Raises:
        RetryLater: Graph is unavailable, throttles, or refuses: an administrator may grant consent again.
        Undeliverable: there is no reader for that path.
    """
    reader = _reader(readback.resource)
    try:
        if reader is not None:
            return reader(readback, graph)
        if delta_path(readback.resource) is not None:
            return _delta(readback, graph, delta_link)
        return _one_item(readback, graph)
    except GraphRequestError as refusal:
        if refusal.status == 404:
            return FetchedPage()  # a deleted chat, team or user has nothing to read
        raise RetryLater(Reason.GRAPH_REFUSED, str(refusal)) from refusal


Reader = Callable[[ReadbackPage, GraphClient], FetchedPage]


def _reader(resource: str) -> Reader | None:
    path = "/".join(part.lower() for part in segments(resource))
    return next((reader for pattern, reader in _READERS if re.fullmatch(pattern, path)), None)


def _delta(readback: ReadbackPage, graph: GraphClient, delta_link: Callable[[str], str | None]) -> FetchedPage:
    """Read the changes since the last query. The very first query, with an empty range, only obtains the link."""
    first = delta_path(readback.resource) or ""
    known = None if readback.link else delta_link(declaration_id(readback.tenant_id, readback.resource))
    if known and readback.since >= readback.until:
        return FetchedPage()  # the link exists already; the changes after it are still to be delivered
    link = readback.link or known
    try:
        page = graph.get_page(readback.tenant_id, link or first)
    except GraphRequestError as refusal:
        if refusal.status not in _EXPIRED_LINK_STATUSES or not link:
            raise
        page = graph.get_page(readback.tenant_id, first)  # everything from the start
    resources = page.value if readback.since < readback.until else []
    return FetchedPage(resources, _next(readback, page.next_link), page.delta_link or "")


def _one_item(readback: ReadbackPage, graph: GraphClient) -> FetchedPage:
    """One resource alone; a deleted one reads as it does in a delta query (docs/graph.md, "Delta queries")."""
    path = _path_of_item(readback.resource)
    if path is None:
        raise Undeliverable(Reason.READBACK_UNKNOWN, "this resource can't be read back")
    try:
        return FetchedPage([msgspec.Raw(graph.get_raw(readback.tenant_id, path))])
    except GraphRequestError as refusal:
        if refusal.status != 404:
            raise
        gone = {"id": segments(readback.resource)[-1], "@removed": {"reason": "deleted"}}
        return FetchedPage([msgspec.Raw(msgspec.json.encode(gone))])


def _path_of_item(resource: str) -> str | None:
    return None if has_dot_segments(segments(resource)) else read_path(identify(resource))


def _each_team(readback: ReadbackPage, graph: GraphClient) -> FetchedPage:
    return _fan_out(readback, graph, _TEAMS, "teams/{id}/channels/getAllMessages")


def _each_user(readback: ReadbackPage, graph: GraphClient) -> FetchedPage:
    return _fan_out(readback, graph, _USERS, "users/{id}/chats/getAllMessages")


def _fan_out(readback: ReadbackPage, graph: GraphClient, path: str, resource: str) -> FetchedPage:
    page = graph.get_page(readback.tenant_id, readback.link or path)
    ids = [_decoded(entry, _Entry).id for entry in page.value]
    each = [
        msgspec.structs.replace(readback, resource=resource.replace("{id}", user_id), link="", attempt=0)
        for user_id in ids
        if user_id
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
    """What Graph lists without a delta query, by the time of its last change. Deletions are not listed."""
    since, until = (_odata(timestamp) for timestamp in (readback.since, readback.until))
    condition = quote(f"lastModifiedDateTime ge {since} and lastModifiedDateTime le {until}")
    return _messages(readback, graph, f"{encoded(segments(readback.resource))}?$top={PAGE_SIZE}&$filter={condition}")


def _messages(readback: ReadbackPage, graph: GraphClient, path: str) -> FetchedPage:
    page = graph.get_page(readback.tenant_id, readback.link or path)
    return FetchedPage(page.value, _next(readback, page.next_link))


def _next(readback: ReadbackPage, link: str | None) -> list[ReadbackPage]:
    return [msgspec.structs.replace(readback, link=link, attempt=0)] if link else []


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


_CHANNEL = r"teams/[^/]+/channels/[^/]+/messages"
_READERS: tuple[tuple[str, Reader], ...] = (
    (r"teams/getallmessages", _each_team),
    (r"chats/getallmessages", _each_user),
    (r"teams/[^/]+/channels/getallmessages", _all_messages),
    (r"users/[^/]+/chats/getallmessages", _all_messages),
    (_CHANNEL, _channel),
    (rf"{_CHANNEL}/delta", _channel_changes),
    (r"chats/[^/]+/messages", _chat),
    (r"users/[^/]+/contacts", _changed_entries),
)
