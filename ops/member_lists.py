"""The lists that declarations fan out over, as the app last read them."""

from datetime import datetime

import msgspec

from shared.relay import relay


class MemberListState(msgspec.Struct):
    """A declaration that fans out, and its list.

    members: the members that need a subscription. missing: members that Graph's list omits, not yet confirmed. listed:
    when the whole list was last read. problem: why the last reading failed.
    """

    tenant: str
    resource: str
    lists: list[str]
    members: int
    missing: int
    listed: datetime | None
    problem: str | None = None

    @property
    def name(self) -> str:
        """The list as declared; if there are two, both."""
        return " then ".join(self.lists)


def member_lists() -> list[MemberListState]:
    """Return the state of each list. Raises RetryLater if storage is unavailable."""
    found = []
    for template in relay().declarations.templates:
        state = relay().membership.state(template)
        found.append(
            MemberListState(
                template.tenant_id,
                template.resource,
                list(template.sources),
                relay().declarations.count(template),
                state.missing,
                state.listed,
                state.problem or None,
            )
        )
    return found
