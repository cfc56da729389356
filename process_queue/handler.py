"""Handles one queue message: opens it, passes its envelopes to their handlers, or keeps it for later."""

import logging
from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial

import msgspec

from process_queue.changes import ChangeHandler
from process_queue.hydration import Hydration
from process_queue.lifecycle import LifecycleHandler
from process_queue.readback import ReadbackHandler
from process_queue.requeue import Requeue
from process_queue.verify import Verifier
from shared import deadline, telemetry
from shared.deadline import time_limit
from shared.errors import AlreadyProcessed, Refused, RetryLater
from shared.messages.admission import Admitted
from shared.messages.envelope import ChangeBatch, Envelope, LifecycleBatch, ReadbackPage, parts
from shared.relay import Relay
from shared.storage.claim_check import ClaimCheck, Opened
from shared.storage.queues import PROBE

_log = logging.getLogger("graph_relay.process")

RESCHEDULE_AFTER = timedelta(minutes=1)
"""Delay of a message that can't be opened: settings are invalid, or blobs are unavailable while the queue is not."""

MESSAGE_TIME = timedelta(minutes=2)
"""After this time, no further slow operation begins for a message: well below the host's functionTimeout, which would
restart the worker process with all its other invocations (docs/host.md)."""


class MessageHandler:
    """Handles the messages of one app; one object serves all threads.

    changes, readback, lifecycle: the handlers of each kind of envelope. requeue: stores unfinished envelopes.
    """

    def __init__(self, relay: Relay) -> None:
        settings = relay.settings
        self._claims = relay.storage.claims
        self._queues = relay.storage.queues
        self._admission = relay.admission
        self._clock = relay.clock
        self._account = relay.account
        self.requeue = Requeue(
            relay.queues, settings.delivery_horizon, relay.clock, relay.random.random, relay.paths, relay.account
        )
        verifier = Verifier(
            settings.tenant_id,
            settings.client_id,
            relay.declarations,
            relay.signing_keys,
            relay.keys,
            Hydration(relay.graph, relay.clock, relay.resolver, relay.confirmations, relay.hydration_failures),
            relay.readers,
        )
        self.changes = ChangeHandler(
            verifier,
            relay.outboxes,
            relay.last_seen,
            self.requeue,
            relay.clock,
            relay.pings,
            relay.paths,
            relay.account,
        )
        self.readback = ReadbackHandler(
            relay.graph,
            relay.checkpoints,
            relay.queues,
            relay.outboxes,
            self.requeue,
            relay.clock,
            relay.declarations,
            relay.resolver,
            relay.directory_states,
            relay.recovered_changes,
            relay.paths,
        )
        self.lifecycle = LifecycleHandler(
            settings.tenant_id,
            relay.declarations,
            relay.subscriptions,
            relay.reconciler,
            relay.known_subscriptions,
            relay.sweep,
            lambda: relay.desired_state(relay.keys.current_if_any()),
            relay.clock,
            relay.lifecycle_actions,
        )

    def handle_message(self, text: str, *, failed_before: bool = False) -> None:
        """Handle the text of a queue message.

        failed_before: it was received before, and not deleted. Then its envelopes are enqueued separately, so that an
        envelope that kills the process does not take the others to the poison queue.

        Raises RetryLater if the queue is unavailable, Undeliverable if this app did not write the text: then the host
        retries the message, and finally moves it to the poison queue.
        """
        if text == PROBE:
            return
        try:
            opened = self._claims.open(text)
            together = parts(opened.text)
            if failed_before and len(together) > 1:
                for part in together:
                    self._queues.send(part)
            else:
                self._handle_texts(together)
        except AlreadyProcessed:
            telemetry.DUPLICATES.add(1)  # received twice; the first time it was processed
        except RetryLater as retry_later:  # it could be neither handled nor requeued
            _log.warning("A message can't be handled yet and stays queued: %s", retry_later)
            self._queues.send(text, delay=RESCHEDULE_AFTER)
        else:
            _delete_claim(self._claims, opened)

    def _handle_texts(self, texts: Sequence[str]) -> None:
        """Handle the envelopes of a queue message; a refused one is counted, and does not affect the others."""
        admitted: list[Admitted] = []
        for text in texts:
            try:
                admitted.append(self._admission.read(text))
            except Refused as refused:
                telemetry.REFUSED.add(1, {"reason": refused.reason})
                _log.error("A queue message is dropped: %s", refused)
        self.handle([each.envelope for each in admitted])
        self._account.finished(*(each.envelope for each in admitted if each.authentic))  # others were never recorded

    def handle(self, envelopes: Sequence[Envelope]) -> None:
        """Handle the envelopes of a queue message; unfinished ones are requeued.

        Raises RetryLater if that fails.
        """
        with time_limit(MESSAGE_TIME, self._clock):
            self._handle_in_time(envelopes)

    def _handle_in_time(self, envelopes: Sequence[Envelope]) -> None:
        together: dict[tuple[str, bool], list[ChangeBatch]] = defaultdict(list)
        for envelope in envelopes:
            if isinstance(envelope, ChangeBatch):
                together[envelope.destination, envelope.replayed is not None].append(envelope)
        for changes in together.values():
            self._handle(changes, partial(self.changes.handle, *changes))
        for envelope in envelopes:  # these may have to wait for Graph
            match envelope:
                case LifecycleBatch():
                    self._handle([envelope], partial(self._handle_lifecycle, envelope))
                case ReadbackPage():
                    self._handle([envelope], partial(self.readback.handle, envelope))

    def _handle(self, envelopes: Sequence[Envelope], handle: Callable[[], None]) -> None:
        for envelope in envelopes:
            if not envelope.attempt:
                telemetry.QUEUE_AGE_SECONDS.record((self._clock() - envelope.received).total_seconds())
        try:
            traces = (envelope.trace for envelope in envelopes)
            with telemetry.span("process_queue", *traces):
                deadline.check()
                handle()
        except RetryLater as failure:
            for envelope in envelopes:
                self.requeue.later(envelope, failure)

    def _handle_lifecycle(self, envelope: LifecycleBatch) -> None:
        outcome = self.lifecycle.handle(envelope)
        for retry in outcome.retries:
            again = msgspec.structs.replace(envelope, items=tuple(retry.items))
            self.requeue.later(again, retry.failure)
        acted_upon = len(envelope.items) - len(outcome.retries.items()) - outcome.refused
        self._account.ended(envelope, refused=outcome.refused, acted_upon=acted_upon)


def _delete_claim(claims: ClaimCheck, opened: Opened) -> None:
    """Delete the blob of a processed message. On failure, the blob stays: any other reaction would cost more."""
    try:
        claims.delete(opened)
    except RetryLater as retry_later:
        _log.warning("A blob that no message refers to was not deleted: %s", retry_later)
