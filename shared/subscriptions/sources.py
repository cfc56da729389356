"""Reads the members that a template fans out over: complete lists, and changes where there is a delta query."""

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from shared.configuration.declaration import Declaration
from shared.configuration.fan_out import MEMBER
from shared.errors import Reason, RetryLater
from shared.graph.client import GraphClient, GraphRequestError, Page
from shared.resources.member_sources import MemberSource, find_source
from shared.resources.path import segments
from shared.subscriptions.members import is_usable

_LINK_IS_OUTDATED = (400, 404, 410)
"""The status of a delta link that Graph no longer accepts (docs/graph.md, "Delta queries")."""

_MOST_PAGES = 2_000
"""Of one list: more pages count as a loop."""

Key = tuple[str, str]
"""The id of the outer member ("" without an outer list), and of the member."""


class _Entry(msgspec.Struct):
    id: str = ""
    type: str | None = msgspec.field(name="@odata.type", default=None)
    removed: dict[str, object] | None = msgspec.field(name="@removed", default=None)
    members: list["_Entry"] = msgspec.field(name="members@delta", default_factory=list)


@dataclass(frozen=True)
class MemberChanges:
    """The result of a delta query: new members, whether any left, and the next link.

    link: "" if the query must begin again, since Graph no longer accepts the link.
    """

    joined: frozenset[Key] = frozenset()
    any_left: bool = False
    link: str = ""


def has_delta(template: Declaration) -> bool:
    """Whether a template's list has a delta query: a single list without a filter."""
    (source, *inner) = template.sources
    return not inner and "?" not in source and _kind(source).delta != ""


def outer_members(template: Declaration, graph: GraphClient) -> frozenset[str]:
    """Return the ids in the (outer) list of a template. Raises RetryLater, GraphRequestError."""
    return frozenset(_listed(template.sources[0], template.tenant_id, graph))


def inner_members(template: Declaration, parent: str, graph: GraphClient) -> frozenset[str]:
    """Return the ids in the inner list of one outer member: none if the outer member was deleted.

    Raises RetryLater, GraphRequestError.
    """
    try:
        return frozenset(_listed(template.sources[1].replace(MEMBER, parent), template.tenant_id, graph))
    except GraphRequestError as refusal:
        if refusal.status == 404:
            return frozenset()
        raise


def begin_delta(template: Declaration, graph: GraphClient) -> str:
    """Begin a delta query, and return its link: later changes follow from it.

    Raises RetryLater, GraphRequestError.
    """
    source = template.sources[0]
    ids = [part for part, word in zip(segments(source), _kind(source).path.split("/"), strict=True) if word == "{}"]
    return _follow(_kind(source).delta.format(*ids), template, graph).link


def changes(template: Declaration, link: str, graph: GraphClient) -> MemberChanges:
    """Return the changes since a link was issued. Raises RetryLater, GraphRequestError."""
    try:
        return _follow(link, template, graph)
    except GraphRequestError as refusal:
        if refusal.status in _LINK_IS_OUTDATED:
            return MemberChanges()
        raise


def _follow(link: str, template: Declaration, graph: GraphClient) -> MemberChanges:
    kind = _kind(template.sources[0])
    joined: set[Key] = set()
    left = False
    for page in _pages(link, template.sources[0], template.tenant_id, graph):
        for entry in _entries(page, template.sources[0]):
            members = entry.members if "members" in kind.path else [entry]
            left |= any(change.removed is not None for change in members) or entry.removed is not None
            joined -= {("", change.id) for change in members if change.removed is not None}
            joined |= {
                ("", change.id) for change in members if change.removed is None and _counts(change, kind)
            } - _gone_again(members)
        link = page.delta_link or ""
    return MemberChanges(frozenset(joined), left, link)


def _gone_again(entries: list[_Entry]) -> set[Key]:
    """Return the members whose last entry is a removal."""
    last = {entry.id: entry for entry in entries}
    return {("", name) for name, entry in last.items() if entry.removed is not None}


def _listed(source: str, tenant_id: str, graph: GraphClient) -> Iterator[str]:
    kind = _kind(source)
    path, _, query = source.strip("/").partition("?")
    first = f"{path}?{'&'.join(filter(None, (query, kind.query)))}"
    for page in _pages(first, source, tenant_id, graph):
        yield from (entry.id for entry in _entries(page, source) if _counts(entry, kind))


def _pages(link: str, source: str, tenant_id: str, graph: GraphClient) -> Iterator[Page]:
    """Yield the pages of a list. Raises RetryLater if its links form a loop, or it has too many pages."""
    followed: set[str] = set()
    while True:
        followed.add(link)
        page = graph.get_page(tenant_id, link)
        yield page
        if page.next_link is None:
            return
        link = page.next_link
        if link in followed or len(followed) == _MOST_PAGES:
            raise RetryLater(Reason.GRAPH, f"Graph's links of the list {source} form a loop")


def _entries(page: Page, source: str) -> list[_Entry]:
    """Return the entries of a page. Raises RetryLater if one is unreadable: its member must not count as missing."""
    try:
        return [msgspec.json.decode(entry, type=_Entry) for entry in page.value]
    except (msgspec.DecodeError, RecursionError):
        detail = f"Graph shows an entry of {source} that is not an object with an id"
        raise RetryLater(Reason.GRAPH, detail) from None


def _counts(entry: _Entry, kind: MemberSource) -> bool:
    """A group may have groups, devices and applications as members."""
    return is_usable(entry.id) and kind.type in ("", (entry.type or "").lower())


def _kind(source: str) -> MemberSource:
    kind = find_source(source)
    if kind is None:
        raise RetryLater(Reason.GRAPH, f"{source} is not a known list")
    return kind
