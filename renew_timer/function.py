"""The timer trigger: keeps subscriptions alive. A singleton over all instances, by the host's lease."""

import logging
import os
import time
from datetime import timedelta

import azure.functions as func

from renew_timer.run import Run, run
from shared import clients
from shared.configuration.settings import SettingsError, trigger_settings
from shared.errors import RelayError
from shared.messages.retry import WaitBudget
from shared.subscriptions.endpoint import probe

blueprint = func.Blueprint()  # type: ignore[no-untyped-call]
_log = logging.getLogger("graph_relay.renew")

_WAITED = timedelta(minutes=3)
"""For so long a run waits where Graph asks for it, in all: less than lies between two runs."""


@blueprint.function_name("renew_timer")
@blueprint.timer_trigger(arg_name="timer", schedule=trigger_settings(os.environ).renew_schedule, use_monitor=True)
def renew_timer(timer: func.TimerRequest) -> None:
    """Make sure that every declared subscription exists, is ours, lives on and carries the current certificate."""
    try:
        run(_need())
    except SettingsError as error:
        _log.error("Settings are wrong; subscriptions are not looked after until they are mended:\n%s", error)
    except RelayError as error:
        _log.error("This run did nothing, the next one tries again: %s", error)


def _need() -> Run:
    settings = clients.settings()
    return Run(
        tenant_id=settings.tenant_id,
        declarations=settings.declarations,
        desired=clients.desired,
        subscriptions=clients.subscriptions(),
        rotation=clients.rotation(),
        sweep=clients.sweep(),
        silence=clients.silence(),
        ledger=clients.ledger(),
        storage=clients.patient_storage(),
        credential_expiry=clients.credential_expiry(),
        probe=lambda: probe(settings.notification_url, clients.session()),
        clock=clients.now,
        wait_budget=WaitBudget(_WAITED, lambda wait: time.sleep(wait.total_seconds())),
    )
