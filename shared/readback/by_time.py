"""Lists that Graph filters by the time of the last change: messages of Teams, mail, contacts and events.

A tenant-wide resource fans out into its teams or users, since Graph has no tenant-wide read.
"""

import re
from collections.abc import Callable
from urllib.parse import quote

import msgspec

from shared.graph.client import GraphClient, GraphRequestError
from shared.messages.envelope import ReadbackPage
from shared.readback.declared import options, selection
from shared.readback.fetched import FetchedPage, decoded, following, odata
from shared.resources.delta_query import view_of
from shared.resources.path import encoded, segments, with_query

Reader = Callable[[ReadbackPage, GraphClient], FetchedPage]

PAGE_SIZE = 50
"""Messages per page: Graph's maximum for a chat."""

_TEAMS = "teams?$select=id&$top=100"
_USERS = "users?$select=id,assignedPlans&$top=100"
_USERS_WITHOUT_PLANS = "users?$select=id&$top=100"
_TEAMS_SERVICE = "teamspaceapi"
"""The service of every Teams plan in `assignedPlans`."""


class _Plan(msgspec.Struct, rename="camel"):
    service: str | None = None
    capability_status: str | None = None


class _Entry(msgspec.Struct, rename="camel"):
    """A team or a user. assigned_plans: None if Graph does not show them to this app."""

    id: str = ""
    assigned_plans: list[_Plan] | None = None

    @property
    def may_have_chats(self) -> bool:
        """Whether the user has Teams. Guests, rooms and unlicensed accounts do not, and Graph refuses to read their
        chats.
        """
        return self.assigned_plans is None or any(
            (plan.service or "").lower() == _TEAMS_SERVICE and plan.capability_status in ("Enabled", "Warning")
            for plan in self.assigned_plans
        )


class _Channel(msgspec.Struct, rename="camel"):
    channel_id: str | None = None


class _ChannelMessage(msgspec.Struct, rename="camel"):
    channel_identity: _Channel | None = None


class _Thread(msgspec.Struct):
    """A root message with its replies, as a delta query of a channel lists it."""

    replies: list[msgspec.Raw] = []
    more_replies: str | None = msgspec.field(name="replies@odata.nextLink", default=None)


def reader(resource: str) -> Reader | None:
    """Return the reader of a resource by time; None if Graph has no such filter for it."""
    path = "/".join(part.lower() for part in segments(resource))
    if "$filter" in options(resource) and re.fullmatch(_FILTERED_FOLDER, path):
        return _changed_entries  # a delta query does not accept that filter
    return next((reader for pattern, reader in _READERS if re.fullmatch(pattern, path)), None)


def reads_each_of_a_list(resource: str) -> bool:
    """Whether the first read is a list of teams or users, each of which is then read separately."""
    return reader(resource) in (_each_team, _each_user)


def _each_team(readback: ReadbackPage, graph: GraphClient) -> FetchedPage:
    return _fan_out(readback, graph, _TEAMS, "teams/{id}/channels/getAllMessages")


def _each_user(readback: ReadbackPage, graph: GraphClient) -> FetchedPage:
    """Users with a Teams plan, if Graph shows the plans: that requires more permissions than listing users."""
    try:
        return _fan_out(readback, graph, _USERS, _USER_CHATS)
    except GraphRequestError as refusal:
        if refusal.status != 403 or readback.link:
            raise
        return _fan_out(readback, graph, _USERS_WITHOUT_PLANS, _USER_CHATS)


def _fan_out(readback: ReadbackPage, graph: GraphClient, path: str, resource: str) -> FetchedPage:
    page = graph.get_page(readback.tenant_id, readback.link or path)
    entries = [decoded(entry, _Entry) for entry in page.value]
    each = [
        msgspec.structs.replace(
            readback, resource=resource.replace("{id}", entry.id), link="", attempt=0, number=0, among_many=True
        )
        for entry in entries
        if entry.id and entry.may_have_chats
    ]
    return FetchedPage(further=each + following(readback, page.next_link))


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
    """Root messages and their replies. Graph accepts only a lower bound; a link to more replies leads only to
    replies.
    """
    since = quote(f"lastModifiedDateTime gt {odata(readback.since)}")
    path = f"{encoded(segments(readback.resource))}?$top={PAGE_SIZE}&$expand=replies&$filter={since}"
    page = graph.get_page(readback.tenant_id, readback.link or path)
    threads = [decoded(message, _Thread) for message in page.value]
    links = [page.next_link, *(thread.more_replies for thread in threads)]
    replies = [reply for thread in threads for reply in thread.replies]
    roots = [
        _without_replies(message) if thread.replies else message
        for message, thread in zip(page.value, threads, strict=True)
    ]
    return FetchedPage([*roots, *replies], [further for link in links for further in following(readback, link)])


def _without_replies(message: msgspec.Raw) -> msgspec.Raw:
    """A root message as it is pushed: without its replies, which are messages of their own."""
    members = msgspec.json.decode(message, type=dict[str, msgspec.Raw])
    kept = {name: value for name, value in members.items() if not name.startswith("replies@")}
    return msgspec.Raw(msgspec.json.encode({**kept, "replies": []}))


def _changed_entries(readback: ReadbackPage, graph: GraphClient) -> FetchedPage:
    """Outlook items by the time of their last change, as the declaration filters and selects them. Deletions are not
    listed.
    """
    since, until = (odata(timestamp) for timestamp in (readback.since, readback.until))
    condition = f"lastModifiedDateTime ge {since} and lastModifiedDateTime le {until}"
    if declared := options(readback.resource).get("$filter"):
        condition = f"{condition} and ({declared})"
    parts = (f"$top={PAGE_SIZE}", f"$filter={quote(condition)}", selection(readback.resource))
    return _messages(readback, graph, f"{encoded(segments(readback.resource))}?{'&'.join(filter(None, parts))}")


def _changed_events(readback: ReadbackPage, graph: GraphClient) -> FetchedPage:
    """Also removed items, by a delta query that continues from the stored link."""
    page = _changed_entries(readback, graph)
    view = view_of(readback.resource)
    is_filtered = "$filter" in options(readback.resource)  # the delta query of a view does not accept them
    if readback.link or not readback.declaration or view is None or is_filtered:
        return page
    deletions = msgspec.structs.replace(readback, resource=with_query(view, selection(readback.resource)), attempt=0)
    return FetchedPage(page.resources, [*page.further, deletions])


def _messages(readback: ReadbackPage, graph: GraphClient, path: str) -> FetchedPage:
    page = graph.get_page(readback.tenant_id, readback.link or path)
    return FetchedPage(page.value, following(readback, page.next_link))


def _channel_of(message: msgspec.Raw) -> str | None:
    identity = decoded(message, _ChannelMessage).channel_identity
    return identity.channel_id if identity else None


def _range(readback: ReadbackPage) -> str:
    """Bounds are exclusive, at a resolution of milliseconds."""
    since, until = (odata(timestamp) for timestamp in (readback.since, readback.until))
    condition = f"lastModifiedDateTime gt {since} and lastModifiedDateTime lt {until}"
    return f"$filter={quote(condition)}"


_USER_CHATS = "users/{id}/chats/getAllMessages"

CHANNEL = r"teams/[^/]+/channels/[^/]+/messages"

_READERS: tuple[tuple[str, Reader], ...] = (
    (r"teams/getallmessages", _each_team),
    (r"chats/getallmessages", _each_user),
    (r"teams/[^/]+/channels/getallmessages", _all_messages),
    (r"users/[^/]+/chats/getallmessages", _all_messages),
    (CHANNEL, _channel),
    (rf"{CHANNEL}/delta", _channel_changes),
    (r"chats/[^/]+/messages", _chat),
    (r"users/[^/]+/(messages|contacts)", _changed_entries),
    (r"users/[^/]+/(calendar/|calendars/[^/]+/)?events", _changed_events),
)

_FILTERED_FOLDER = r"users/[^/]+/(mailfolders/[^/]+/messages|contactfolders/[^/]+/contacts)"
