"""Checks of the lists that declarations fan out over, and of Graph's quotas."""

from collections.abc import Iterator

from ops.checks.result import CheckResult, attention, fine, unreachable
from ops.member_lists import member_lists
from ops.report import plural, when
from shared.errors import RetryLater
from shared.relay import relay


def fan_outs() -> Iterator[CheckResult]:
    """Report each list, its number of members, and its problems; and Graph's quotas that are nearly exhausted."""
    try:
        states, limits = member_lists(), relay().declarations.limits()
    except RetryLater as retry_later:
        yield unreachable("lists of members", str(retry_later), "see the checks of the storage account")
        return
    for state in states:
        check = f"members of {state.name} in {state.tenant}"
        says = f"{plural(state.members, 'subscription')} to {state.resource}"
        if state.problem is not None:
            yield attention(
                check, f"{says}; it can't be read: {state.problem}", "its members stay as they are meanwhile"
            )
        elif state.listed is None:
            yield attention(check, "it was not read yet", "the next run of renew_timer reads it; does renew_timer run?")
        elif state.missing:
            todo = (
                "their subscriptions are deleted after ten minutes, or after a day if many are missing: "
                "correct the list before that if it is wrong"
            )
            yield attention(check, f"{says}; {state.missing} of them are no longer listed", todo)
        else:
            yield fine(check, f"{says}, as listed {when(state.listed)}")
    for sentence in limits:
        yield attention("Graph's quotas", sentence, "declare less: the app does not exceed Graph's limits")
