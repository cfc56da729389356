"""The queue trigger: what was stored before the 202, on its way to the destination."""

import logging
import os
import random
from datetime import timedelta

import azure.functions as func

from process_queue.changes import Delivering, relay_changes
from process_queue.hydration import Hydration
from process_queue.lifecycle import LifecycleHandler, Recently, act
from process_queue.readback import Reader, relay_readback
from process_queue.settle import Requeue
from process_queue.verify import Proofs
from shared import clients, telemetry
from shared.configuration.settings import SettingsError, trigger_settings
from shared.errors import Reason, RetryLater, Undeliverable
from shared.messages import envelope
from shared.messages.envelope import ChangeBatch, Envelope, LifecycleBatch, ReadbackPage
from shared.storage.queues import Claimed

blueprint = func.Blueprint()  # type: ignore[no-untyped-call]
_log = logging.getLogger("graph_relay.process")

_LATER = timedelta(minutes=1)
"""For what can't even be begun: settings are wrong, or the blobs are away and the queue is not."""

_recently = Recently()


@blueprint.function_name("process_queue")
@blueprint.queue_trigger(
    arg_name="message", queue_name=trigger_settings(os.environ).queue, connection="AzureWebJobsStorage"
)
def process_queue(message: func.QueueMessage) -> None:
    """Deal with one queue message. Raises only if the queue is away, and for what this app did not write: the host
    then offers the message again, and after its limit moves it to the poison queue.
    """
    text = message.get_body().decode("utf-8")
    storage = clients.patient_storage()
    try:
        claimed = storage.fetch(text)
        content = envelope.read(claimed.text)
        with telemetry.span("process_queue", content.trace):
            process(content)
        _discard(claimed)
    except SettingsError as error:
        _log.error("Settings are wrong; messages stay queued until they are mended:\n%s", error)
        storage.put(text, delay=_LATER)
    except RetryLater as retry_later:
        _log.warning("A message stays queued: %s", retry_later)
        storage.put(text, delay=_LATER)
    except Undeliverable as undeliverable:
        if undeliverable.reason is not Reason.CLAIM_GONE:
            raise
        telemetry.DUPLICATES.add(1)  # the same message, offered twice: it was dealt with the first time


def _discard(claimed: Claimed) -> None:
    """Remove the blob of what has been dealt with. One that can't be is left: doing all of it again would cost more."""
    try:
        clients.patient_storage().discard(claimed)
    except RetryLater as retry_later:
        _log.warning("A blob stays behind that no message claims: %s", retry_later)


def process(content: Envelope) -> None:
    """Deal with an envelope; what can't be dealt with now is queued again. Raises RetryLater if the queue is away."""
    settings = clients.settings()
    storage = clients.patient_storage()
    if not content.attempt:
        telemetry.QUEUE_AGE_SECONDS.record((clients.now() - content.received).total_seconds())
    requeue = Requeue(storage, settings.delivery_horizon, clients.now, random.random)
    try:
        match content:
            case ChangeBatch():
                relay_changes(content, _proofs(), _delivering(), requeue)
            case LifecycleBatch():
                act(content, _keeper())
            case ReadbackPage():
                relay_readback(content, Reader(clients.graph(), clients.tables(), storage), _delivering(), requeue)
    except RetryLater as retry_later:
        requeue.postpone(content, retry_later)


def _proofs() -> Proofs:
    settings = clients.settings()
    hydration = Hydration(settings.declarations, clients.graph())
    return Proofs(
        settings.tenant_id,
        settings.client_id,
        clients.signing_keys().find,
        clients.key_ring().find,
        hydration.event,
        settings.declarations,
    )


def _delivering() -> Delivering:
    return Delivering(clients.destination(), clients.ledger(), clients.silence(), clients.now)


def _keeper() -> LifecycleHandler:
    settings = clients.settings()
    return LifecycleHandler(
        settings.tenant_id,
        settings.declarations,
        clients.subscriptions(),
        clients.sweep(),
        lambda: clients.desired(clients.key_ring().current_if_any()),
        clients.now,
        _recently,
    )
