"""How many subscriptions Graph allows (docs/graph.md, "Subscriptions"): what is beyond that is not asked for."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from shared.resources.catalog import find
from shared.resources.path import segments


class Declared(Protocol):
    """What of a declaration decides which quota it counts for."""

    @property
    def resource(self) -> str: ...
    @property
    def tenant_id(self) -> str: ...


D = TypeVar("D", bound=Declared)


@dataclass(frozen=True)
class Quota:
    """A number of subscriptions that Graph allows together. shared: whether other apps use it too."""

    name: str
    most: int
    shared: bool


TEAMS = Quota("Teams resources of an organization", 10_000, shared=True)
DIRECTORY = Quota("users and groups of a tenant, for one app", 100, shared=False)
MAILBOX = Quota("one mailbox", 1_000, shared=True)

_TEAMS_KINDS = frozenset(
    {"chatmessage", "chat", "channel", "team", "conversationmember", "calltranscript", "callrecording"}
)
_MAILBOX_KINDS = frozenset({"message", "event", "contact"})
_DIRECTORY_KINDS = frozenset({"user", "group"})


def quota_of(resource: str) -> Quota | None:
    """Return the quota that a subscription to a resource counts for; None if none is known."""
    kind = find(resource)
    name = kind.name.lower() if kind is not None else ""
    if name in _TEAMS_KINDS:
        return TEAMS
    if name in _DIRECTORY_KINDS:
        return DIRECTORY
    return MAILBOX if name in _MAILBOX_KINDS else None


class Allowance:
    """Counts declarations against the quotas."""

    def __init__(self) -> None:
        self._used: Counter[tuple[Quota, str, str]] = Counter()
        self.beyond: Counter[Quota] = Counter()

    def admit(self, declarations: Iterable[D], quota: Quota | None) -> list[D]:
        """Return those that still fit, in their order, and count the others as `beyond`."""
        if quota is None:
            return list(declarations)
        admitted = []
        for declaration in declarations:
            owner = segments(declaration.resource)[1].lower() if quota is MAILBOX else ""
            pot = (quota, declaration.tenant_id, owner)
            if self._used[pot] < quota.most:
                self._used[pot] += 1
                admitted.append(declaration)
            else:
                self.beyond[quota] += 1
        return admitted

    def nearly_used(self, share: float = 0.8) -> dict[Quota, int]:
        """Return the quotas of which so much is used, with how much."""
        used: dict[Quota, int] = {}
        for (quota, _, _), number in self._used.items():
            if number >= quota.most * share:
                used[quota] = max(number, used.get(quota, 0))
        return used
