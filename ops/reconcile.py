"""`reconcile` and `rotate-keys`: a run of renew_timer for subscriptions and keys, now."""

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import NoReturn

import click
import msgspec

from ops.report import ExitCode, Report, ReportTable, as_json, echo, finish, table
from shared.configuration.declaration import Declaration
from shared.errors import RelayError, RetryLater
from shared.relay import relay, utc_now
from shared.subscriptions.advice import advice
from shared.subscriptions.results import ListingFailed
from shared.subscriptions.subscription import DesiredState, Outcome
from shared.subscriptions.wait_budget import WaitBudget

_PATIENCE = timedelta(hours=1)
"""Time to wait for Graph's limits: ten thousand subscriptions take several minutes."""


MOST_SHOWN = 20


class StepReport(Report):
    """The outcome of one step."""

    tenant: str
    action: str
    resource: str
    why: str
    error: str | None = None
    advice: str | None = None
    later: bool = False


class Reconciled(Report):
    """The steps in all tenants. new_key: the id of the key that was created.

    steps: failed ones first, at most twenty without --all. counts: of all steps, by action and outcome.
    """

    steps: list[StepReport]
    new_key: str | None = None
    counts: dict[str, int] = msgspec.field(default_factory=dict)
    ends: ExitCode = ExitCode.FINE

    @property
    def exit_code(self) -> ExitCode:
        """Refusals need a person; other failures need only a retry."""
        return self.ends

    def shown(self) -> Iterable[str | ReportTable]:
        """Yield a table of the steps."""
        if self.new_key:
            yield f"New encryption key: {self.new_key}. renew_timer retires the previous one when nothing needs it."
        if not self.steps:
            yield "All subscriptions are as declared."
            return
        in_all = sum(self.counts.values())
        if in_all > len(self.steps):
            counted = ", ".join(f"{number:,} {name}" for name, number in self.counts.items())
            yield f"{in_all:,} steps: {counted}. Below are {len(self.steps)}, failed ones first."
        rows = ((step.tenant, step.resource, step.action, step.why, _outcome(step)) for step in self.steps)
        yield table("Subscriptions", ("Tenant", "Resource", "Action", "Why", "Outcome"), rows)


def _outcome(done: StepReport) -> str:
    return "done" if done.error is None else "; ".join(text for text in (done.error, done.advice) if text)


_every_step = click.option(
    "--all", "show_all", is_flag=True, help=f"All steps, not the {MOST_SHOWN} that failed first."
)


@click.command()
@click.option("--anew", is_flag=True, help="Replace every subscription, even one without a fault.")
@click.option(
    "--take-over",
    is_flag=True,
    help="Replace subscriptions that are not this app's if they make Graph refuse this app's.",
)
@_every_step
@as_json
def reconcile(*, anew: bool, take_over: bool, show_all: bool, as_json: bool) -> None:
    """Make the subscriptions match the declarations now.

    Creates, renews, re-keys, replaces and removes them, as renew_timer does at its next run.

    That run also reads back what was missed.
    """
    desired = replace(relay().desired_state(relay().keys.current()), recreate=anew, take_over=take_over, insists=True)
    _finish(desired, None, show_all=show_all, as_json=as_json)


@click.command("rotate-keys")
@_every_step
@as_json
def rotate_keys(*, show_all: bool, as_json: bool) -> None:
    """Replace the encryption key now.

    Creates a new key and gives it to every subscription with resource data.

    The previous key still decrypts queued messages; renew_timer retires it after KEY_OVERLAP_HOURS.
    """
    key = relay().keys.create()
    _finish(relay().desired_state(key), key.key_id, show_all=show_all, as_json=as_json)


def _finish(desired: DesiredState, new_key: str | None, *, show_all: bool, as_json: bool) -> NoReturn:
    """Reconcile every tenant, and end with its exit code. With --all and --json, each step is a line of its own."""
    counts, steps, ends = Counter[str](), list[StepReport](), ExitCode.FINE
    for done in _every_tenant(desired):
        counts[f"{done.action} {'failed' if done.error else 'done'}"] += 1
        if done.error and ends is not ExitCode.ATTENTION:
            ends = ExitCode.UNREACHABLE if done.later else ExitCode.ATTENTION
        if show_all and as_json:
            echo(done)
        else:
            steps.append(done)
    steps.sort(key=lambda step: step.error is None)
    shown = steps if show_all else steps[:MOST_SHOWN]
    finish(Reconciled(shown, new_key, dict(counts), ends), as_json=as_json)


def _every_tenant(desired: DesiredState) -> Iterator[StepReport]:
    """Reconcile every tenant, including former ones that may still have subscriptions of the app."""
    budget = WaitBudget(_PATIENCE, lambda wait: time.sleep(wait.total_seconds()))
    for tenant_id, _, result in relay().reconciler.every_tenant(desired, _before_gap, budget):
        if isinstance(result, ListingFailed):
            error = result.error
            yield StepReport(
                tenant_id, "list", "subscriptions", "to know what there is", str(error), None, _later(error)
            )
        else:
            yield from map(_done, result.outcomes)


def _before_gap(declarations: Sequence[Declaration]) -> None:
    relay().sweep.suspect_gaps(declarations, utc_now())


def _done(outcome: Outcome) -> StepReport:
    step = outcome.step
    about = step.declaration or step.subscription
    done = StepReport(step.tenant_id, step.action, about.resource if about else "", step.explanation)
    if outcome.error is not None:
        done.error, done.later = str(outcome.error), _later(outcome.error)
        done.advice = advice(outcome.error, done.resource, step.declaration.consent if step.declaration else "tenant")
    return done


def _later(error: RelayError) -> bool:
    return isinstance(error, RetryLater)
