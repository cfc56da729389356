"""`reconcile` and `rotate-keys`: what renew_timer does about subscriptions and keys, done now."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import click
from rich.console import RenderableType

from ops.report import ExitCode, Report, as_json, finish, table
from shared import clients
from shared.configuration.declaration import Declaration
from shared.errors import RelayError, RetryLater
from shared.messages.retry import WaitBudget
from shared.subscriptions import tenants
from shared.subscriptions.plan import DesiredState, Outcome
from shared.subscriptions.reconcile import advice
from shared.subscriptions.reconcile import reconcile as reconcile_tenant


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
        failed = [one for one in self.steps if one.error]
        if not failed:
            return ExitCode.FINE
        return ExitCode.UNREACHABLE if all(one.later for one in failed) else ExitCode.ATTENTION

    def shown(self) -> Iterable[RenderableType]:
        """Yield a table of the steps."""
        if self.new_key:
            yield f"New encryption key: {self.new_key}. renew_timer retires the one before when nothing needs it."
        if not self.steps:
            yield "Every declared subscription is as it should be."
            return
        rows = ((one.tenant, one.resource, one.action, one.why, _outcome(one)) for one in self.steps)
        yield table("Subscriptions", ("Tenant", "Resource", "Action", "Why", "Outcome"), rows)


def _outcome(done: Done) -> str:
    return "done" if done.error is None else "; ".join(text for text in (done.error, done.advice) if text)


@click.command()
@click.option("--anew", is_flag=True, help="Replace every subscription, even one without fault.")
@as_json
def reconcile(*, anew: bool, as_json: bool) -> None:
    """Create, renew, re-key, replace and remove subscriptions now, as renew_timer does at its next run.

    A gap that this closes is read back at that run.
    """
    finish(
        Reconciled(_every_tenant(replace(clients.desired(clients.key_ring().current()), anew=anew))), as_json=as_json
    )


@click.command("rotate-keys")
@as_json
def rotate_keys(*, as_json: bool) -> None:
    """Make a new encryption key and give it to every subscription, now.

    The key before goes on decrypting what is under way, and is retired by renew_timer after KEY_OVERLAP_HOURS.
    """
    key = clients.key_ring().create()
    finish(Reconciled(_every_tenant(clients.desired(key)), key.key_id), as_json=as_json)


def _every_tenant(desired: DesiredState) -> list[Done]:
    """Tenants that are declared no more are among them, as long as they may have subscriptions of ours."""
    settings = clients.settings()
    by_tenant = tenants.by_tenant(settings.tenant_id, settings.declarations)
    by_tenant |= {tenant_id: [] for tenant_id in tenants.former(by_tenant, clients.tables(), clients.now())}
    return [done for tenant_id, declared in by_tenant.items() for done in _tenant(tenant_id, declared, desired)]


def _tenant(tenant_id: str, declarations: Sequence[Declaration], desired: DesiredState) -> list[Done]:
    """One tenant that can't be read must not cost the others."""
    try:
        reconciled = reconcile_tenant(
            tenant_id, declarations, desired, clients.subscriptions(), _before_gap, clients.now, WaitBudget.none()
        )
    except RelayError as error:
        return [Done(tenant_id, "list", "subscriptions", "to know what there is", str(error), None, _later(error))]
    return [_done(outcome) for outcome in reconciled.outcomes]


def _before_gap(declaration: Declaration) -> None:
    clients.sweep().suspect_gap(declaration, clients.now())


def _done(outcome: Outcome) -> Done:
    step = outcome.step
    about = step.declaration or step.subscription
    done = Done(step.tenant_id, step.action, about.resource if about else "", step.why)
    if outcome.error is not None:
        done.error, done.later = str(outcome.error), _later(outcome.error)
        done.advice = advice(outcome.error, done.resource)
    return done


def _later(error: RelayError) -> bool:
    return isinstance(error, RetryLater)
