"""The queue trigger: what was stored before the 202, on its way to the destination."""

import logging
import os
import random
from datetime import timedelta

import azure.functions as func

from process_queue.changes import Relay, relay_changes
from process_queue.lifecycle import Keeper, act
from process_queue.verify import Proofs
from shared import clients, envelope, telemetry
from shared.envelope import Envelope
from shared.errors import NotNow, Reason, Unreadable
from shared.retry import GiveUp, after_failure
from shared.settings import SettingsError, trigger_settings

blueprint = func.Blueprint()  # type: ignore[no-untyped-call]
_log = logging.getLogger("graph_relay.process")

_UNTIL_SETTINGS_ARE_MENDED = timedelta(minutes=1)


@blueprint.function_name("process_queue")
@blueprint.queue_trigger(
    arg_name="message", queue_name=trigger_settings(os.environ).queue, connection="AzureWebJobsStorage"
)
def process_queue(message: func.QueueMessage) -> None:
    """Deal with one queue message. Raises only if storage is away, and for what this app did not write: the host
    then offers the message again, and after its limit moves it to the poison queue.
    """
    text = message.get_body().decode("utf-8")
    storage = clients.patient_storage()
    try:
        claimed = storage.fetch(text)
        _process(envelope.read(claimed.text))
        storage.discard(claimed)
    except SettingsError as error:
        _log.error("Settings are wrong; messages stay queued until they are mended:\n%s", error)
        storage.put(text, delay=_UNTIL_SETTINGS_ARE_MENDED)
    except Unreadable as unreadable:
        if unreadable.reason is not Reason.CLAIM_GONE:
            raise
        telemetry.DUPLICATES.add(1)  # the same message, offered twice: it was dealt with the first time


def _process(content: Envelope) -> None:
    settings = clients.settings()
    storage = clients.patient_storage()
    if content.kind == "change":
        proofs = Proofs(settings.tenant_id, settings.client_id, clients.signing_keys().find, clients.key_ring().find)
        horizon = settings.delivery_horizon
        relay_changes(content, Relay(proofs, clients.destination(), storage, horizon, clients.now, random.random))
        return
    try:
        act(content, Keeper(settings.tenant_id, settings.declarations, clients.subscriptions(), clients.ours))
    except NotNow as not_now:
        decision = after_failure(
            content.attempt,
            content.received,
            clients.now(),
            settings.delivery_horizon,
            not_now.retry_after,
            random.random,
        )
        if isinstance(decision, GiveUp):
            _log.error("Lifecycle notifications given up; renew_timer keeps trying: %s", not_now)
            return
        storage.put(envelope.write(envelope.again(content, content.items)), delay=decision.delay)
        telemetry.RETRIED.add(len(content.items), {"reason": not_now.reason})
