"""The results of a run in one tenant."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from shared import telemetry
from shared.configuration.declaration import Declaration
from shared.errors import NotAttempted, Reason, RelayError
from shared.subscriptions.advice import advice_on_tenant
from shared.subscriptions.subscription import Outcome, Subscription

_log = logging.getLogger("graph_relay.subscriptions")


@dataclass(frozen=True)
class Reconciled:
    """The subscriptions found, the outcome of each step, and the subscription that serves each declaration (id)
    afterwards.
    """

    found: list[Subscription]
    outcomes: list[Outcome]
    serving: Mapping[str, Subscription] = field(default_factory=dict)

    @property
    def failing(self) -> set[str]:
        """The ids of the declarations without a proper subscription."""
        return {
            outcome.step.declaration.id
            for outcome in self.outcomes
            if outcome.error is not None and outcome.step.declaration is not None
        }

    @property
    def alive(self) -> list[Subscription]:
        """The subscriptions after the run. In case of doubt, a subscription counts as alive."""
        return alive_after(self.found, self.outcomes)

    @property
    def is_clean(self) -> bool:
        """Whether nothing failed."""
        return all(outcome.error is None for outcome in self.outcomes)

    @property
    def is_cut_short(self) -> bool:
        """Whether the time ran out."""
        return any(is_out_of_time(outcome.error) for outcome in self.outcomes)


@dataclass(frozen=True)
class ListingFailed:
    """A tenant whose subscriptions could not be listed, and the error."""

    error: RelayError

    @property
    def refuses(self) -> bool:
        """Whether the tenant refuses: consent is missing or was withdrawn."""
        return self.error.reason in (Reason.GRAPH_REFUSED, Reason.LOGIN)

    @property
    def is_cut_short(self) -> bool:
        """Whether the time ran out."""
        return is_out_of_time(self.error)


def is_out_of_time(error: RelayError | None) -> bool:
    """A delay that Graph's limits demand may exceed the time, too."""
    return isinstance(error, NotAttempted) or (error is not None and error.reason is Reason.GRAPH_THROTTLED)


def alive_after(found: Sequence[Subscription], outcomes: Sequence[Outcome]) -> list[Subscription]:
    now_there = {outcome.subscription.id: outcome.subscription for outcome in outcomes if outcome.subscription}
    gone = {outcome.step.subscription.id for outcome in outcomes if outcome.step.subscription and outcome.error is None}
    before = (
        subscription for subscription in found if subscription.id not in gone and subscription.id not in now_there
    )
    return [*before, *now_there.values()]


def report_listing_failure(tenant_id: str, declarations: Iterable[Declaration], error: RelayError) -> None:
    """Count a tenant whose subscriptions can't be listed, and log the advice."""
    telemetry.RECONCILED.add(1, {"action": "list", "outcome": error.reason})
    _log.error(
        "The subscriptions of tenant %s are left as they are: %s. %s",
        tenant_id,
        error,
        advice_on_tenant(error, declarations),
    )
