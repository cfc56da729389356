"""The timer trigger: keeps subscriptions alive. One run at a time over all instances, by the host's lease."""

import logging
import os
import time

import azure.functions as func

from process_queue.handler import MessageHandler
from renew_timer.drain import drain
from renew_timer.run import LONGEST_RUN, RenewalRun, attempt
from shared import exporting
from shared.configuration.settings import SettingsError
from shared.configuration.triggers import trigger_settings
from shared.errors import RelayError
from shared.relay import relay
from shared.subscriptions.wait_budget import WaitBudget

blueprint = func.Blueprint()  # type: ignore[no-untyped-call]
_log = logging.getLogger("graph_relay.renew")


@blueprint.function_name("renew_timer")
@blueprint.timer_trigger(arg_name="timer", schedule=trigger_settings(os.environ).renew_schedule, use_monitor=True)
def renew_timer(timer: func.TimerRequest) -> None:
    """Ensure that every declared subscription exists, is the app's, is renewed, and carries the current certificate."""
    try:
        app = relay()
        RenewalRun(app, WaitBudget(LONGEST_RUN, lambda wait: time.sleep(wait.total_seconds())))()
        attempt("Looking for work that the queue trigger left", lambda: drain(app, MessageHandler(app).handle_message))
    except SettingsError as error:
        _log.error("Invalid settings; subscriptions are not renewed until they are fixed:\n%s", error)
    except RelayError as error:
        _log.error("This run did nothing; the next run retries: %s", error)
    finally:
        exporting.flush()
