"""The queue trigger: processes notifications that were stored before the 202."""

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
    """Handle one queue message. Raises only if the queue is unavailable, or if this app did not write the message."""
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
    """Return the handler of an app, shared by all invocations, with its cache of verified tokens."""
    return MessageHandler(app)
