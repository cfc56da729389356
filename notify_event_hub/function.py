"""The Event Hubs trigger. It exists only if `NOTIFICATION_URL` names a hub."""

import logging
import os
from typing import List  # noqa: UP035 - see below

import azure.functions as func

from notify_event_hub.receive import receive
from shared.configuration.settings import SettingsError
from shared.configuration.triggers import EVENT_HUB_CONNECTION, trigger_settings
from shared.relay import relay

blueprint = func.Blueprint()  # type: ignore[no-untyped-call]
_log = logging.getLogger("graph_relay.notify")


def notify_event_hub(events: List[func.EventHubEvent]) -> None:  # noqa: UP006 - Azure's worker refuses `list` here
    """Store the notifications of some events. Raises if that fails: the host continues only after success.

    Without its retry policy, the host would skip failed events: a hub does not take events back.
    """
    try:
        app = relay()
        bodies = (event.get_body() for event in events)
        receive(bodies, app.recipient, app.queues, app.clock(), app.paths, app.account)
    except SettingsError as error:
        _log.error("Invalid settings; notifications stay in the event hub until they are fixed:\n%s", error)
        raise


_hub = trigger_settings(os.environ).event_hub
if _hub is not None:
    _triggered = blueprint.event_hub_message_trigger(
        arg_name="events",
        event_hub_name=_hub,
        connection=EVENT_HUB_CONNECTION,
        cardinality=func.Cardinality.MANY,
        data_type=func.DataType.BINARY,
    )(notify_event_hub)
    blueprint.retry("exponential_backoff", "-1", minimum_interval="00:00:02", maximum_interval="00:01:00")(_triggered)
