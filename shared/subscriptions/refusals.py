"""Creations that Graph has refused: who waits for what it refuses must not keep others from their subscriptions.

One list of users has rooms and guests without a mailbox. Each is asked for again, later each time, and after what was
never asked for.
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
from shared.subscriptions.subscription import Action, Outcome, Refusal

_log = logging.getLogger("graph_relay.subscriptions")

FIRST_WAIT = timedelta(minutes=4)
"""How long a refused creation waits: the next run of a timer every five minutes tries it. It doubles each time."""

LONGEST_WAIT = timedelta(days=1)

LONGEST_WAIT_FOR_OTHERS = timedelta(hours=1)
"""Where somebody else clears the way and this app does not notice: a consent, another deployment's subscription."""

_BY_OTHERS = (403, 409)

_NOT_OF_ONE = (Reason.GRAPH_THROTTLED, Reason.KEY_STORE, Reason.STORAGE, Reason.LOGIN)
"""Why creations fail whatever they create."""


class StillRefused(RelayError):
    """Graph has refused a creation, and is asked again later."""

    def __init__(self, refusal: Refusal) -> None:
        often = f"{refusal.times} times" if refusal.times > 1 else "once"
        again = (
            f"it is requested again from {refusal.until:%Y-%m-%d %H:%M} UTC on; `python -m ops reconcile` "
            "requests it now"
        )
        super().__init__(Reason.GRAPH_REFUSED, f"Graph has refused it {often}, and {again}")


class Refusals:
    """The creations that failed in all tenants, by the ids of their declarations. Where storage is unavailable, that is
    logged: each is then asked for in each run.
    """

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    def all(self, tenant_id: str) -> dict[str, Refusal]:
        """Return those of a tenant."""
        found = {}
        try:
            for row in self._tables.partition(STATE, _partition(tenant_id)):
                found[str(row["RowKey"])] = Refusal(
                    time_in(row, "last"), int(number_in(row, "times")), time_in(row, "until")
                )
        except RetryLater as retry_later:
            _log.warning("The refused creations of tenant %s can't be read: %s", tenant_id, retry_later)
        return found

    def note(self, tenant_id: str, before: Mapping[str, Refusal], outcomes: Iterable[Outcome], now: datetime) -> None:
        """Note what failed, and forget what succeeded."""
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

    def forget_others(self, tenant_id: str, before: Mapping[str, Refusal], declared: Declarations) -> None:
        """Forget what is declared no more."""
        try:
            self._forget(tenant_id, [name for name in before if name not in declared])
        except RetryLater as retry_later:
            _log.warning("Deleting the refused creations of tenant %s failed: %s", tenant_id, retry_later)

    def _forget(self, tenant_id: str, names: Iterable[str]) -> None:
        for name in names:
            self._tables.remove(STATE, _partition(tenant_id), name)


def report_waiting(tenant_id: str, waiting: Iterable[Outcome]) -> None:
    """Log how many creations wait in a tenant."""
    errors = [outcome.error for outcome in waiting]
    if errors:
        _log.warning("%d subscriptions in tenant %s are missing: %s", len(errors), tenant_id, errors[0])


def _partition(tenant_id: str) -> str:
    return f"refused-{tenant_id}"


def _is_of_one(error: RelayError) -> bool:
    """Whether a creation failed for its own sake: another one may succeed."""
    return not isinstance(error, NotAttempted) and error.reason not in _NOT_OF_ONE and not is_about_endpoint(error)


def _row(before: Refusal | None, error: RelayError, now: datetime) -> Row:
    """Return what to note. What Graph did not decide about does not wait, but goes after the others."""
    times = (before.times if before else 0) + 1
    wait = timedelta(0)
    if isinstance(error, GraphRequestError):
        longest = LONGEST_WAIT_FOR_OTHERS if error.status in _BY_OTHERS else LONGEST_WAIT
        wait = min(FIRST_WAIT * int(2 ** min(times - 1, 10)), longest)
    return {"last": now.isoformat(), "times": times, "until": (now + wait).isoformat()}
