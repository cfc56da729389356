"""The queue trigger: what was stored before the 202, on its way to the destination."""

import logging
import os
from functools import lru_cache

import azure.functions as func

from process_queue.handler import RESCHEDULE_AFTER, MessageHandler
from shared.configuration.settings import SettingsError
from shared.configuration.triggers import trigger_settings
from shared.relay import Relay, relay, storage

blueprint = func.Blueprint()  # type: ignore[no-untyped-call]
_log = logging.getLogger("graph_relay.process")


@blueprint.function_name("process_queue")
@blueprint.queue_trigger(
    arg_name="message", queue_name=trigger_settings(os.environ).queue, connection="AzureWebJobsStorage"
)
def process_queue(message: func.QueueMessage) -> None:
    """Handle one queue message. Raises only if the queue is unavailable, and for what this app did not write."""
    text = message.get_body().decode("utf-8")
    try:
        app = relay()
    except SettingsError as error:
        _log.error("Invalid settings; messages stay queued until they are fixed:\n%s", error)
        storage().queues.send(text, delay=RESCHEDULE_AFTER)
    else:
        app.activity.note()
        _handler(app).handle_message(text, failed_before=(message.dequeue_count or 1) > 1)


@lru_cache(maxsize=1)
def _handler(app: Relay) -> MessageHandler:
    """Return the handler of an app: the same for all invocations, with the tokens that it has checked."""
    return MessageHandler(app)
