"""Updates the members of templates: new members are declared at once, others removed only after confirmation.

Graph has shown empty and outdated lists for days (docs/graph.md, "Subscriptions"). So two readings must agree that a
member has left; if many members of a list are missing, the app waits for a day.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from shared import deadline
from shared.configuration.declaration import Declaration
from shared.deadline import time_limit
from shared.errors import NotAttempted, RelayError, RetryLater
from shared.graph.client import GraphClient, GraphRequestError
from shared.resources.permissions import member_needs_of, missing
from shared.storage.state import STATE, Times, number_in, time_in
from shared.storage.tables import Row, Tables
from shared.subscriptions.members import Member, Members
from shared.subscriptions.sources import (
    Key,
    MemberChanges,
    begin_delta,
    changes,
    has_delta,
    inner_members,
    outer_members,
)
from shared.threads import ContextThreadPool

_log = logging.getLogger("graph_relay.members")

LIST_AGAIN_AFTER = timedelta(minutes=15)
"""Maximum age of a list without delta query. Inner lists, of which there may be thousands: an hour."""
INNER_AGAIN_AFTER = timedelta(hours=1)
LIST_ALL_AFTER = timedelta(days=1)
"""Maximum age of a list with delta query."""

CONFIRMED_AFTER = timedelta(minutes=10)
"""How long a member must have been missing."""
MANY_CONFIRMED_AFTER = timedelta(days=1)
"""The same, if many members of a list are missing."""
_FEW = 3
"""This many members may always leave together, unless they are all."""
_MANY = 0.1
"""Share of a list above which missing members count as many: Graph may have truncated the list."""

_AT_ONCE = 8
"""Inner lists that are read concurrently."""

_TIME = timedelta(minutes=1)
"""Time per run for all lists: existing subscriptions have priority. The next run continues."""

_PARTITION = "sources"


@dataclass(frozen=True)
class SourceState:
    """The state of the list of a template.

    listed: when it was last read completely; None: never. link: of its delta query; "": none. problem: why the last
    reading failed; "": it did not. count: members with a subscription. missing: members that Graph's list omits, not
    yet confirmed. version: changes with the members. tried: when a run last processed it.
    """

    listed: datetime | None = None
    link: str = ""
    problem: str = ""
    count: int = 0
    missing: int = 0
    version: int = 0
    tried: datetime | None = None


@dataclass(frozen=True)
class _Listing:
    """One reading of a template's list. covers: whether the reading includes the members of an outer member."""

    found: frozenset[Key]
    covers: Callable[[str], bool]

    def misses(self, member: Member) -> bool:
        """Whether the reading omits a member; False for lists that were not read."""
        return member.key not in self.found and self.covers(member.parent)


class Membership:
    """Updates the rows of members. Only the timer uses it; one object serves all threads."""

    def __init__(
        self,
        graph: GraphClient,
        tables: Tables,
        members: Members,
        readers: ContextThreadPool,
        clock: Callable[[], datetime],
        remembered: timedelta,
        joined: Callable[[Sequence[Declaration], datetime], object],
    ) -> None:
        """remembered: how long the rows of former members stay. joined: called with the declarations of new members
        that are to be read back, and of returning members, before they have a subscription.
        """
        self._graph = graph
        self._tables = tables
        self._members = members
        self._readers = readers
        self._clock = clock
        self._remembered = remembered
        self._joined = joined

    def state(self, template: Declaration) -> SourceState:
        """Return the state of the list of a template. Raises RetryLater if storage is unavailable."""
        row = self._tables.get(STATE, _PARTITION, template.id)
        if row is None:
            return SourceState()
        return SourceState(
            time_in(row, "listed") if "listed" in row else None,
            str(row.get("link", "")),
            str(row.get("problem", "")),
            int(number_in(row, "count")),
            int(number_in(row, "missing")),
            int(number_in(row, "version")),
            time_in(row, "tried") if "tried" in row else None,
        )

    def update(self, templates: Sequence[Declaration]) -> None:
        """Read each list that is due, and the delta queries. A failing list does not affect the others.

        Raises RetryLater if storage is unavailable.
        """
        self._forget_others(templates)
        states = {template.id: self.state(template) for template in templates}
        with time_limit(_TIME, self._clock):
            for template in sorted(templates, key=lambda each: states[each.id].tried or _NEVER):
                if deadline.left() <= timedelta(0):
                    _log.warning("This run is out of time for lists; the next one begins with the remaining ones")
                    break
                self._update(template, states[template.id])

    def _forget_others(self, templates: Sequence[Declaration]) -> None:
        known = {str(row["RowKey"]) for row in self._tables.partition(STATE, _PARTITION, ["RowKey"])}
        for template_id in known - {template.id for template in templates}:
            self._members.forget(template_id)
            for row in list(self._tables.partition(STATE, _inner(template_id), ["RowKey"])):
                self._tables.remove(STATE, _inner(template_id), str(row["RowKey"]))
            self._tables.remove(STATE, _PARTITION, template_id)

    def _update(self, template: Declaration, state: SourceState) -> None:
        members = {member.key: member for member in self._members.of(template)}
        self._members.save(template, [member for member in members.values() if member.outdated])
        state = replace(state, tried=self._clock())
        now, before, known = self._clock(), state, {member.key: member.left for member in members.values()}
        try:
            joined, any_left, state = self._delta_changes(template, state)
            members |= self._join(template, members, joined, now)
            if any_left or _is_due(template, state, members.values(), now):
                listing, is_whole = self._read_lists(template, now)
                members |= self._join(template, members, listing.found, now)
                members |= self._leave(template, members, listing, now)
                state = replace(state, listed=now if is_whole else state.listed)
            state = replace(state, problem="")
        except NotAttempted as error:
            _log.warning("The list %s is read in the next run: %s", _named(template), error)
            state = before
        except RelayError as error:
            state = replace(before, problem=_problem(template, error))
            _log.error(
                "The list %s can't be read, so its members stay as they are: %s", _named(template), state.problem
            )
        kept = self._forget(template, members, now)
        if {member.key: member.left for member in kept} != known:
            state = replace(state, version=state.version + 1)
        self._save(template, state, kept)

    def _delta_changes(self, template: Declaration, state: SourceState) -> tuple[frozenset[Key], bool, SourceState]:
        """Return the members that the delta query adds, whether any left, and the state with the next link.

        Without a valid link, the list is due: it is read after a new delta query has begun.
        """
        if not has_delta(template):
            return frozenset(), False, state
        delta = changes(template, state.link, self._graph) if state.link else MemberChanges()
        if delta.link:
            return delta.joined, delta.any_left, replace(state, link=delta.link)
        return frozenset(), True, replace(state, link=begin_delta(template, self._graph))

    def _read_lists(self, template: Declaration, now: datetime) -> tuple[_Listing, bool]:
        """Return what the list contains, and whether all of it is known. Raises RetryLater, GraphRequestError."""
        outer = outer_members(template, self._graph)
        if len(template.sources) < 2:
            return _Listing(frozenset(("", member) for member in outer), lambda _: True), True
        times = Times(self._tables, _inner(template.id), "listed").all()
        due = [
            outer_member
            for outer_member in outer
            if outer_member not in times or now - times[outer_member] >= INNER_AGAIN_AFTER
        ]
        read = self._read_inner(template, sorted(due, key=lambda outer_member: times.get(outer_member, _NEVER)))
        rows: dict[str, Row] = {parent: {"listed": now.isoformat()} for parent in read}
        if rows:
            self._tables.put_all(STATE, _inner(template.id), rows)
        found = frozenset((parent, member) for parent, members in read.items() for member in members)
        return _Listing(found, lambda parent: parent in read or parent not in outer), outer <= {*times, *read}

    def _read_inner(self, template: Declaration, parents: Sequence[str]) -> dict[str, frozenset[str]]:
        """Return the contents of the inner lists that Graph returns within the time."""
        read: dict[str, frozenset[str]] = {}

        def members_of(parent: str) -> frozenset[str] | RelayError:
            try:
                return inner_members(template, parent, self._graph)
            except RelayError as error:
                return error

        for first in range(0, len(parents), _AT_ONCE):
            few = parents[first : first + _AT_ONCE]
            postponed = False
            for parent, members in zip(few, self._readers.map(members_of, few), strict=True):
                if isinstance(members, frozenset):
                    read[parent] = members
                elif isinstance(members, RetryLater):
                    postponed = True
                else:
                    _log.error("%s of %s can't be read: %s", template.sources[1], parent, _problem(template, members))
            if postponed:
                break
        return read

    def _join(
        self, template: Declaration, members: Mapping[Key, Member], found: Iterable[Key], now: datetime
    ) -> dict[Key, Member]:
        """Return new members, stored. Changes during an absence are not read back."""
        new = [
            Member(member, parent, now)
            for parent, member in found
            if (parent, member) not in members or members[parent, member].left is not None
        ]
        begin = new if template.read_back else [member for member in new if member.key in members]
        if begin:
            self._joined([template.member(member.id, member.parent) for member in begin], now)
        self._members.save(template, new)
        if new:
            _log.info("%d joined %s", len(new), _named(template))
        return {member.key: member for member in new}

    def _leave(
        self, template: Declaration, members: Mapping[Key, Member], listing: _Listing, now: datetime
    ) -> dict[Key, Member]:
        """Return the members that are newly missing, found again, or confirmed to have left; stored.

        If fewer members are missing than in an earlier reading with many missing, two further readings must agree.
        """
        present = [member for member in members.values() if member.left is None]
        absent = [member for member in present if listing.misses(member)]
        many = _are_many(len(absent), len(present))
        if not many and _are_many(sum(member.missing is not None for member in present), len(present)):
            absent = [replace(member, missing=None) for member in absent]
        patience = MANY_CONFIRMED_AFTER if many else CONFIRMED_AFTER
        changed = [
            replace(member, missing=None)
            for member in present
            if member.missing is not None and member.key in listing.found
        ]
        new = [replace(member, missing=now) for member in absent if member.missing is None]
        left = [
            replace(member, left=now)
            for member in absent
            if member.missing is not None and now - member.missing >= patience
        ]
        if many and new:
            _log.error(
                "Graph no longer lists %d of %d members of %s. Their subscriptions are deleted if that lasts for %s",
                *(len(absent), len(present), _named(template), patience),
            )
        if left:
            _log.info("%d left %s", len(left), _named(template))
        self._members.save(template, [*changed, *new, *left])
        return {member.key: member for member in (*changed, *new, *left)}

    def _forget(self, template: Declaration, members: dict[Key, Member], now: datetime) -> list[Member]:
        """Delete members that left long ago; return the others."""
        kept = []
        for member in members.values():
            if member.left is not None and now - member.left > self._remembered:
                self._members.remove(template, member)
            else:
                kept.append(member)
        return kept

    def _save(self, template: Declaration, state: SourceState, members: Sequence[Member]) -> None:
        present = [member for member in members if member.left is None]
        missing = sum(member.missing is not None for member in present)
        row: Row = {
            "link": state.link,
            "problem": state.problem,
            "version": state.version,
            "count": len(present),
            "missing": missing,
        }
        for name, time in (("listed", state.listed), ("tried", state.tried)):
            if time is not None:
                row = {**row, name: time.isoformat()}
        self._tables.put(STATE, _PARTITION, template.id, row)


_NEVER = datetime.min.replace(tzinfo=UTC)


def _are_many(absent: int, present: int) -> bool:
    """Whether so many members are missing that the list is probably wrong."""
    return absent == present or absent > max(_FEW, present * _MANY)


def _is_due(template: Declaration, state: SourceState, members: Iterable[Member], now: datetime) -> bool:
    if state.listed is None or state.problem:
        return True
    if any(member.missing is not None and member.left is None for member in members):
        return now - state.listed >= CONFIRMED_AFTER
    return now - state.listed >= (LIST_ALL_AFTER if has_delta(template) else LIST_AGAIN_AFTER)


def _inner(template_id: str) -> str:
    return f"inner-{template_id}"


def _named(template: Declaration) -> str:
    return f"{' then '.join(template.sources)} in tenant {template.tenant_id}"


def _problem(template: Declaration, error: RelayError) -> str:
    """Return why a list can't be read, with advice."""
    if not isinstance(error, GraphRequestError) or error.status != 403:
        return str(error)
    lacking = missing(member_needs_of(template.sources), error.granted or ())
    return (
        f"{error}. Grant the application permission {', '.join(lacking)}, with admin consent" if lacking else str(error)
    )
