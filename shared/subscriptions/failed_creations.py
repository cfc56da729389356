"""Creations that Graph has refused: they must not delay other creations.

A list of users also contains rooms and guests without a mailbox. Each refused creation is retried at growing intervals,
after new ones.
"""

import logging
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from shared.configuration.declaration import Declarations
from shared.errors import NotAttempted, Reason, RelayError, RetryLater
from shared.graph.client import GraphRequestError
from shared.storage.state import STATE, number_in, time_in
from shared.storage.tables import Row, Tables
from shared.subscriptions.client import is_about_endpoint
from shared.subscriptions.subscription import Action, FailedCreation, Outcome

_log = logging.getLogger("graph_relay.subscriptions")

FIRST_WAIT = timedelta(minutes=4)
"""Initial delay of a retry: the next run of a timer every five minutes. It doubles each time."""

LONGEST_WAIT = timedelta(days=1)

LONGEST_WAIT_FOR_OTHERS = timedelta(hours=1)
"""Longest delay if somebody else must act unnoticed by this app: grant consent, delete another deployment's
subscription."""

_BY_OTHERS = (403, 409)

_NOT_OF_ONE = (Reason.GRAPH_THROTTLED, Reason.KEY_STORE, Reason.STORAGE, Reason.LOGIN)
"""Reasons that apply to every creation."""


class CreationPostponed(RelayError):
    """Graph has refused a creation, which is retried later."""

    def __init__(self, refusal: FailedCreation) -> None:
        often = f"{refusal.times} times" if refusal.times > 1 else "once"
        again = (
            f"it is requested again from {refusal.until:%Y-%m-%d %H:%M} UTC on; `python -m ops reconcile` "
            "requests it now"
        )
        super().__init__(Reason.GRAPH_REFUSED, f"Graph has refused it {often}, and {again}")


class FailedCreations:
    """The failed creations of all tenants, by the id of the declaration. If storage is unavailable, this is logged, and
    each is retried in every run.
    """

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    def all(self, tenant_id: str) -> dict[str, FailedCreation]:
        """Return the failed creations of a tenant."""
        found = {}
        try:
            for row in self._tables.partition(STATE, _partition(tenant_id)):
                found[str(row["RowKey"])] = FailedCreation(
                    time_in(row, "last"), int(number_in(row, "times")), time_in(row, "until")
                )
        except RetryLater as retry_later:
            _log.warning("The refused creations of tenant %s can't be read: %s", tenant_id, retry_later)
        return found

    def note(
        self, tenant_id: str, before: Mapping[str, FailedCreation], outcomes: Iterable[Outcome], now: datetime
    ) -> None:
        """Store failed creations, and delete those that succeeded."""
        failed: dict[str, Row] = {}
        try:
            for outcome in outcomes:
                declaration = outcome.step.declaration
                if declaration is None or not outcome.attempted:
                    continue
                if outcome.error is None:
                    self._forget(tenant_id, before.keys() & {declaration.id})
                elif outcome.step.action is Action.CREATE and _is_of_one(outcome.error):
                    failed[declaration.id] = _row(before.get(declaration.id), outcome.error, now)
            if failed:
                self._tables.put_all(STATE, _partition(tenant_id), failed)
        except RetryLater as retry_later:
            _log.warning("Storing the refused creations of tenant %s failed: %s", tenant_id, retry_later)

    def forget_others(self, tenant_id: str, before: Mapping[str, FailedCreation], declared: Declarations) -> None:
        """Delete those that are no longer declared."""
        try:
            self._forget(tenant_id, [name for name in before if name not in declared])
        except RetryLater as retry_later:
            _log.warning("Deleting the refused creations of tenant %s failed: %s", tenant_id, retry_later)

    def _forget(self, tenant_id: str, names: Iterable[str]) -> None:
        for name in names:
            self._tables.remove(STATE, _partition(tenant_id), name)


def report_waiting(tenant_id: str, waiting: Iterable[Outcome]) -> None:
    """Log the number of waiting creations of a tenant."""
    errors = [outcome.error for outcome in waiting]
    if errors:
        _log.warning("%d subscriptions in tenant %s are missing: %s", len(errors), tenant_id, errors[0])


def _partition(tenant_id: str) -> str:
    return f"refused-{tenant_id}"


def _is_of_one(error: RelayError) -> bool:
    """Whether the failure concerns this creation alone: another one may succeed."""
    return not isinstance(error, NotAttempted) and error.reason not in _NOT_OF_ONE and not is_about_endpoint(error)


def _row(before: FailedCreation | None, error: RelayError, now: datetime) -> Row:
    """Return the row to store. A creation that Graph did not decide on does not wait, but comes after the others."""
    times = (before.times if before else 0) + 1
    wait = timedelta(0)
    if isinstance(error, GraphRequestError):
        longest = LONGEST_WAIT_FOR_OTHERS if error.status in _BY_OTHERS else LONGEST_WAIT
        wait = min(FIRST_WAIT * int(2 ** min(times - 1, 10)), longest)
    return {"last": now.isoformat(), "times": times, "until": (now + wait).isoformat()}
