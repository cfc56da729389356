"""The groups of a tenant with their members, and the delta query of memberships (docs/graph.md, "Delta queries")."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from graph_simulator.paging import Pager
from graph_simulator.query import only
from graph_simulator.refusal import bad_request, not_found
from graph_simulator.world import World

_ID = re.compile(r"\s*id eq '([^']+)'\s*", re.IGNORECASE)
MOST_FILTERED = 50
PAGE = 100

Entry = dict[str, Any]


@dataclass(frozen=True)
class Membership:
    """One change of a group: who came or left. kind: `user`, `group`, `device` or `servicePrincipal`."""

    group: str
    member: str
    kind: str
    removed: bool


@dataclass
class Groups:
    """Every team is a group of its members; the group with the tenant's id is everybody. Others are made by a change.

    lists_nobody: whether lists of members are empty, as Graph's have been seen to be.
    """

    world: World
    changes: list[Membership] = field(default_factory=list)
    lists_nobody: bool = False

    def change(self, group: str, member: str, kind: str = "user", *, removed: bool = False) -> None:
        """Add a member, by id, to a group, or remove one."""
        self.changes.append(Membership(group.lower(), member.lower(), kind, removed))

    def members(self, group: str) -> dict[str, str]:
        """Return the kind of each direct member, by id.

        Raises:
            Refusal: 404.
        """
        group, known = group.lower(), dict[str, str]()
        team = self.world.teams.get(group)
        there = team is not None or group == self.world.tenant.lower()
        for person in team.members if team else self.world.people if there else ():
            known[person.id] = "user"
        for change in self.changes:
            if change.group == group:
                there = True
                known.pop(change.member, None)
                known |= {} if change.removed else {change.member: change.kind}
        if not there:
            raise not_found(f"Resource '{group}' does not exist.", "Request_ResourceNotFound")
        return {} if self.lists_nobody else known

    def transitive_members(self, group: str) -> dict[str, str]:
        """Return the members of a group and of those within it, each once."""
        found: dict[str, str] = {}
        waiting = [group.lower()]
        while waiting:
            for member, kind in self.members(waiting.pop()).items():
                if member not in found:
                    found[member] = kind
                    waiting += [member] if kind == "group" else []
        return found

    def delta(self, pager: Pager, options: Mapping[str, str], link: str) -> Entry:
        """Return the changes of the memberships of some groups since the last round, or from the beginning.

        Raises:
            Refusal: 400, a filter other than by id; 410, the link is outdated.
        """
        if "$skiptoken" in options:
            return pager.next_page(options["$skiptoken"])
        token = options.get("$deltatoken", "")
        latest = token == "latest"  # noqa: S105 - Graph's word, no secret
        start = pager.delta_start(token) if token and not latest else None
        first = dict(start.options if start else options)
        only(first, "$select", "$filter", "$deltatoken")
        groups = _filtered(first.get("$filter", ""))
        now = len(self.changes)
        if latest:
            return pager.page(link, [], PAGE, now, first)
        return pager.page(link, self._changed(groups, start.since or 0 if start else None), PAGE, now, first)

    def _changed(self, groups: set[str] | None, since: int | None) -> list[Entry]:
        """Return an entry for each group with what changed. since: the number of changes before; None: all there is."""
        entries: dict[str, list[Entry]] = {}
        if since is None:
            names = groups or {*self.world.teams, self.world.tenant.lower(), *(change.group for change in self.changes)}
            for group in names:
                entries[group] = [_entry(member, kind) for member, kind in self.members(group).items()]
        else:
            for change in self.changes[since:]:
                if groups is None or change.group in groups:
                    gone = {"@removed": {"reason": "deleted"}} if change.removed else {}
                    entries.setdefault(change.group, []).append({**_entry(change.member, change.kind), **gone})
        return [{"id": group, "members@delta": members} for group, members in entries.items()]

    def listed(self, members: Mapping[str, str]) -> list[Entry]:
        """Return members as a list shows them."""
        return [_entry(member, kind) for member, kind in members.items()]


def selects_members(options: Mapping[str, str], pager: Pager) -> bool:
    """Whether a delta query of groups asks for their members, now or in its first request."""
    token = options.get("$deltatoken", "")
    if token and token != "latest":  # noqa: S105
        options = pager.delta_start(token).options
    return "members" in options.get("$select", "").split(",")


def _entry(member: str, kind: str) -> Entry:
    return {"@odata.type": f"#microsoft.graph.{kind}", "id": member}


def _filtered(text: str) -> set[str] | None:
    if not text:
        return None
    parts = re.split(r"\bor\b", text, flags=re.IGNORECASE)
    found = [match[1].lower() for part in parts if (match := _ID.fullmatch(part))]
    if len(found) < len(parts) or len(found) > MOST_FILTERED:
        raise bad_request("Unsupported or invalid query filter clause specified.", "Request_UnsupportedQuery")
    return set(found)
