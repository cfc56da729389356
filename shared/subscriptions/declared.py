"""The declarations in force: a blob may hold their list, and they may fan out over the members of lists."""

import logging
import re
import threading
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from shared.configuration.declaration import Declaration, Declarations
from shared.configuration.fan_out import MEMBER, PARENT
from shared.errors import RetryLater
from shared.in_force import InForce
from shared.resources.quotas import Allowance, quota_of
from shared.subscriptions.members import Members
from shared.subscriptions.membership import Membership

_log = logging.getLogger("graph_relay.members")

READ_AGAIN_AFTER = timedelta(minutes=1)
"""How old the cached members may be; an unknown member is looked up immediately."""

_REMEMBERED = 16_384
"""Cached members that were looked up individually."""


@dataclass(frozen=True)
class _Expansion:
    """The declarations, including those of all members. unlisted: resources of templates whose lists were never read;
    existing subscriptions may belong to them. versions: of the members, as read.
    """

    base: Declarations
    versions: Mapping[str, str]
    by_id: Mapping[str, Declaration]
    counts: Mapping[str, int]
    unlisted: tuple[re.Pattern[str], ...]
    allowance: Allowance = field(compare=False)


class DeclarationsInForce(Declarations):
    """The current declarations. Every method raises RetryLater while they can't be read at all."""

    def __init__(
        self,
        in_force: InForce[Declarations],
        members: Members,
        membership: Membership,
        clock: Callable[[], datetime],
    ) -> None:
        super().__init__(())
        self._in_force = in_force
        self._members = members
        self._membership = membership
        self._clock = clock
        self._lock = threading.Lock()
        self._expansion: _Expansion | None = None
        self._looked: datetime | None = None
        self._found: dict[str, tuple[datetime, Declaration]] = {}

    @property
    def templates(self) -> tuple[Declaration, ...]:
        """See Declarations."""
        return self._in_force.get().templates

    @property
    def entries(self) -> Sequence[Declaration]:
        """See Declarations."""
        return self._in_force.get().entries

    def by_id(self) -> Mapping[str, Declaration]:
        """See Declarations."""
        return self._expanded().by_id

    def get(self, declaration_id: str, tenant_id: str) -> Declaration | None:
        """See Declarations. Also knows members that left recently, because their last items may still arrive.

        Another instance may know a declaration that is unknown here: look at the table of members, then at the blob.
        """
        base = self._in_force.get()
        found = base.get(declaration_id, tenant_id) or self._of_member(base, declaration_id, tenant_id)
        if found is not None:
            return found
        newer = self._in_force.confirmed()
        if newer is base:
            return None
        return newer.get(declaration_id, tenant_id) or self._of_member(newer, declaration_id, tenant_id)

    def refresh(self) -> None:
        """Update the members of all lists, for the timer. Raises RetryLater if storage is unavailable."""
        self._membership.update(self.templates)
        self.read_again()
        for sentence in self.limits():
            _log.error("%s", sentence)

    def read_again(self) -> None:
        """See Declarations."""
        base = self._in_force.refresh()
        with self._lock:
            self._update(base)

    def may_belong(self, resource: str) -> bool:
        """Whether a subscription to a resource ("": unknown) may belong to a template whose list was never read."""
        return any(not resource or pattern.fullmatch(resource.strip("/")) for pattern in self._expanded().unlisted)

    def count(self, template: Declaration) -> int:
        """Return how many subscriptions the members of a template need."""
        return self._expanded().counts.get(template.id, 0)

    def example(self, template: Declaration) -> Declaration | None:
        """Return the declaration of one member of a template; None if it has no members."""
        members = self._members.of(template)
        return next((template.member(member.id, member.parent) for member in members if member.left is None), None)

    def limits(self) -> list[str]:
        """Return a sentence for each quota of Graph that is exhausted or nearly so."""
        allowance = self._expanded().allowance
        problems = []
        for quota, used in allowance.nearly_used().items():
            others = ", which other apps share" if quota.shared else ""
            sentence = f"Graph allows {quota.most} subscriptions for {quota.name}{others}; {used} are declared"
            beyond = allowance.beyond.get(quota, 0)
            problems.append(f"{sentence}, and {beyond} more are left out" if beyond else sentence)
        return problems

    def _of_member(self, base: Declarations, declaration_id: str, tenant_id: str) -> Declaration | None:
        templates = [template for template in base.templates if template.tenant_id == tenant_id]
        if not templates:
            return None
        now = self._clock()
        known = self._found.get(declaration_id)
        if known is not None and now - known[0] < READ_AGAIN_AFTER and known[1].tenant_id == tenant_id:
            return known[1]
        for template in templates:
            member = self._members.find(template, declaration_id)
            if member is not None:
                if len(self._found) >= _REMEMBERED:
                    self._found.clear()
                declaration = template.member(member.id, member.parent)
                self._found[declaration_id] = now, declaration
                return declaration
        return None

    def _expanded(self) -> _Expansion:
        """Return the members, and check at intervals whether they have changed; one thread at a time."""
        base, known = self._in_force.get(), self._expansion
        usable = known is not None and known.base is base
        if usable and known is not None and not self._is_due(base):
            return known
        if self._lock.acquire(blocking=not usable):
            try:
                return self._update(base)
            except RetryLater as retry_later:
                if known is None or not usable:
                    raise
                _log.warning("The stored members of lists can't be read: %s", retry_later)
            finally:
                self._lock.release()
        return known or self._expanded()

    def _is_due(self, base: Declarations) -> bool:
        return bool(base.templates) and (self._looked is None or self._clock() - self._looked >= READ_AGAIN_AFTER)

    def _update(self, base: Declarations) -> _Expansion:
        """Read the members if they have changed. The caller holds the lock. Raises RetryLater if storage is
        unavailable.
        """
        states = {template.id: self._membership.state(template) for template in base.templates}
        versions = {name: f"{state.version} {state.listed is None}" for name, state in states.items()}
        known = self._expansion
        if known is None or known.base is not base or known.versions != versions:
            known = self._expansion = self._expand(
                base, versions, {name for name, state in states.items() if state.listed}
            )
        self._looked = self._clock()
        return known

    def _expand(self, base: Declarations, versions: Mapping[str, str], listed: Container[str]) -> _Expansion:
        allowance, by_id = Allowance(), dict(base.by_id())
        counts: dict[str, int] = {}
        for declaration in base if base.templates else ():
            allowance.admit([declaration], quota_of(declaration.resource))
        for template in base.templates:
            present = [member for member in self._members.of(template) if member.left is None]
            present.sort(key=lambda member: (member.joined, member.key))
            own = [template.member(member.id, member.parent) for member in present]
            new = [declaration for declaration in own if declaration.id not in by_id]
            admitted = allowance.admit(new, quota_of(template.resource))
            by_id |= {declaration.id: declaration for declaration in admitted}
            counts[template.id] = len(own) - len(new) + len(admitted)
        unlisted = tuple(_pattern(template) for template in base.templates if template.id not in listed)
        return _Expansion(base, versions, by_id, counts, unlisted, allowance)


def _pattern(template: Declaration) -> re.Pattern[str]:
    text = re.escape(template.resource.strip("/"))
    for place in (MEMBER, PARENT):
        text = text.replace(re.escape(place), "[^/]+")
    return re.compile(text, re.IGNORECASE)
