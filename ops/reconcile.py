"""`reconcile` and `rotate-keys`: what renew_timer does about subscriptions and keys, done now."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import timedelta

import click

from ops.report import ExitCode, Report, Sheet, as_json, finish, table
from shared.configuration.declaration import Declaration
from shared.errors import RelayError, RetryLater
from shared.relay import relay, utc_now
from shared.subscriptions.advice import advice
from shared.subscriptions.reconcile import Unlisted
from shared.subscriptions.subscription import DesiredState, Outcome
from shared.subscriptions.wait_budget import WaitBudget

_PATIENCE = timedelta(hours=1)
"""For what Graph limits: ten thousand subscriptions take several minutes."""


class Done(Report):
    """What became of one step."""

    tenant: str
    action: str
    resource: str
    why: str
    error: str | None = None
    advice: str | None = None
    later: bool = False


class Reconciled(Report):
    """What was done in every tenant. `new_key`: the id of the key that was made for it."""

    steps: list[Done]
    new_key: str | None = None

    @property
    def exit_code(self) -> ExitCode:
        """Refusals need a person; for the rest, trying again is enough."""
        failed = [step for step in self.steps if step.error]
        if not failed:
            return ExitCode.FINE
        return ExitCode.UNREACHABLE if all(step.later for step in failed) else ExitCode.ATTENTION

    def shown(self) -> Iterable[str | Sheet]:
        """Yield a table of the steps."""
        if self.new_key:
            yield f"New encryption key: {self.new_key}. renew_timer retires the previous one when nothing needs it."
        if not self.steps:
            yield "Every declared subscription is as it should be."
            return
        rows = ((step.tenant, step.resource, step.action, step.why, _outcome(step)) for step in self.steps)
        yield table("Subscriptions", ("Tenant", "Resource", "Action", "Why", "Outcome"), rows)


def _outcome(done: Done) -> str:
    return "done" if done.error is None else "; ".join(text for text in (done.error, done.advice) if text)


@click.command()
@click.option("--anew", is_flag=True, help="Replace every subscription, even one without a fault.")
@click.option("--take-over", is_flag=True, help="Replace what is not ours, where Graph refuses ours for its sake.")
@as_json
def reconcile(*, anew: bool, take_over: bool, as_json: bool) -> None:
    """Make the subscriptions as declared, now.

    Creates, renews, re-keys, replaces and removes them, as renew_timer does at its next run.

    A gap that this closes is read back at that run.
    """
    desired = replace(relay().desired_state(relay().keys.current()), recreate=anew, take_over=take_over)
    finish(Reconciled(_every_tenant(desired)), as_json=as_json)


@click.command("rotate-keys")
@as_json
def rotate_keys(*, as_json: bool) -> None:
    """Replace the encryption key, now.

    Makes a new one and gives it to every subscription with resource data.

    The previous key still decrypts queued messages; renew_timer retires it after KEY_OVERLAP_HOURS.
    """
    key = relay().keys.create()
    finish(Reconciled(_every_tenant(relay().desired_state(key)), key.key_id), as_json=as_json)


def _every_tenant(desired: DesiredState) -> list[Done]:
    """Reconcile every tenant; those that are declared no more too, as long as they may have subscriptions of ours."""
    done: list[Done] = []
    budget = WaitBudget(_PATIENCE, lambda wait: time.sleep(wait.total_seconds()))
    for tenant_id, _, result in relay().reconciler.every_tenant(desired, _before_gap, budget):
        if isinstance(result, Unlisted):
            error = result.error
            done.append(
                Done(tenant_id, "list", "subscriptions", "to know what there is", str(error), None, _later(error))
            )
        else:
            done += [_done(outcome) for outcome in result.outcomes]
    return done


def _before_gap(declarations: Sequence[Declaration]) -> None:
    relay().sweep.suspect_gaps(declarations, utc_now())


def _done(outcome: Outcome) -> Done:
    step = outcome.step
    about = step.declaration or step.subscription
    done = Done(step.tenant_id, step.action, about.resource if about else "", step.explanation)
    if outcome.error is not None:
        done.error, done.later = str(outcome.error), _later(outcome.error)
        done.advice = advice(outcome.error, done.resource, step.declaration.consent if step.declaration else "tenant")
    return done


def _later(error: RelayError) -> bool:
    return isinstance(error, RetryLater)
