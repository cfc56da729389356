"""The queues: notifications, dead letters, and the host's poison queue."""

import math
from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, wait
from dataclasses import dataclass
from datetime import MAXYEAR, UTC, datetime, timedelta
from enum import StrEnum
from functools import cached_property
from typing import Protocol

from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.storage.queue import QueueClient, QueueMessage

from shared.configuration.settings import StorageSettings
from shared.errors import Reason, RetryLater
from shared.storage.account import TimeLimits, identity_credential, settings_checked, translated
from shared.storage.claim_check import ClaimCheck
from shared.threads import ContextThreadPool

MESSAGE_LIMIT = 65_536
"""Maximum size of a queue message's text, in bytes."""

BATCH_SIZE = 32
"""Maximum number of messages that one request can peek at or receive."""

PROBE = '{"kind": "probe"}'
"""The text of a message that only tries the queue. If the process dies before it deletes the message, or the queue
carries out a request that it does not answer, the message is visible in the last second before it expires.
"""

_UNSEEN = 60
"""Seconds for which this message is hidden."""

_UNKNOWN = datetime.min.replace(tzinfo=UTC)


class Queue(StrEnum):
    """The queues, as suffixes to the configured name. The Functions host defines the suffix of the poison queue."""

    NOTIFICATIONS = ""
    DEAD_LETTERS = "-dead-letters"
    POISON = "-poison"


@dataclass(frozen=True)
class QueuedMessage:
    """A queue message, peeked at or received; `enqueued` and `expires` are UTC.

    receipt: "" unless it was received.
    """

    queue: Queue
    id: str
    text: str
    enqueued: datetime
    expires: datetime
    receipt: str = ""

    @property
    def never_expires(self) -> bool:
        """Whether the message stays until it is deleted."""
        return self.expires.year == MAXYEAR


class Sender(Protocol):
    """Enqueues. Every method raises RetryLater if storage is unavailable."""

    def send(self, text: str, queue: Queue = Queue.NOTIFICATIONS, *, delay: timedelta = timedelta(0)) -> None:
        """Enqueue `text`, ASCII of any length; it becomes visible after `delay`, rounded up to seconds."""

    def send_all(self, texts: Sequence[str], *, within: timedelta) -> None:
        """Enqueue notifications, several at a time. Raises RetryLater unless all are durable `within` that time.

        If it raises, some may have been enqueued: the sender sends all of them again.
        """


class Queues(Sender, Protocol):
    """The queue operations of this app. Every method raises RetryLater if storage is unavailable.

    A received message belongs to its receiver until the visibility timeout ends.
    """

    def receive(self, queue: Queue, visibility_timeout: timedelta) -> list[QueuedMessage]:
        """Return up to 32 messages and hide them from other receivers for the timeout."""

    def peek(self, queue: Queue, number: int = BATCH_SIZE) -> list[QueuedMessage]:
        """Return the first visible messages, at most `number` and 32, without hiding them."""

    def release(self, message: QueuedMessage) -> None:
        """Make a received message visible again; no effect if another receiver holds the message by now."""

    def delete(self, message: QueuedMessage) -> None:
        """Delete a received message; no effect if another receiver holds the message by now."""

    def length(self, queue: Queue = Queue.NOTIFICATIONS) -> int:
        """Return the approximate number of messages, including hidden ones; never too low."""

    def try_write(self) -> None:
        """Enqueue a hidden notification, and delete it: shows whether the identity may."""

    def create_missing(self) -> None:
        """Create the queues and the container of claim checks if they do not exist."""


class AzureQueues:
    """Azure Storage queues; one object serves all threads."""

    def __init__(self, settings: StorageSettings, limits: TimeLimits, claims: ClaimCheck) -> None:
        self._settings = settings
        self._limits = limits
        self._claims = claims

    def send(self, text: str, queue: Queue = Queue.NOTIFICATIONS, *, delay: timedelta = timedelta(0)) -> None:
        """See Queues."""
        if len(text) <= MESSAGE_LIMIT:
            self._send(queue, text, delay)
            return
        claim = self._claims.check_in(text)
        try:
            self._send(queue, claim, delay)
        except RetryLater:
            # The message may have been enqueued although the call failed. Its blob is gone then, so it counts as
            # processed already; the caller still has the content and sends it again.
            self._claims.withdraw(claim)
            raise

    def send_all(self, texts: Sequence[str], *, within: timedelta) -> None:
        """See Queues."""
        sending = [self._senders.submit(self.send, text) for text in texts]
        done, unfinished = wait(sending, within.total_seconds(), return_when=FIRST_EXCEPTION)
        for future in unfinished:
            future.cancel()
        for future in done:
            future.result()
        if unfinished:
            raise RetryLater(Reason.STORAGE, "the queue did not answer in time")

    def receive(self, queue: Queue, visibility_timeout: timedelta) -> list[QueuedMessage]:
        """See Queues."""
        with translated():
            try:
                received = self._clients[queue].receive_messages(
                    messages_per_page=BATCH_SIZE,
                    max_messages=BATCH_SIZE,
                    visibility_timeout=round(visibility_timeout.total_seconds()),
                )
                return [_queued(queue, message) for message in received]
            except ResourceNotFoundError:
                return []

    def peek(self, queue: Queue, number: int = BATCH_SIZE) -> list[QueuedMessage]:
        """See Queues."""
        with translated():
            try:
                return [_queued(queue, message) for message in self._clients[queue].peek_messages(number)]
            except ResourceNotFoundError:
                return []

    def release(self, message: QueuedMessage) -> None:
        """See Queues."""
        with translated():
            try:
                self._clients[message.queue].update_message(message.id, message.receipt, visibility_timeout=0)
            except HttpResponseError as error:
                _raise_unless_lost(error)

    def delete(self, message: QueuedMessage) -> None:
        """See Queues."""
        with translated():
            try:
                self._clients[message.queue].delete_message(message.id, message.receipt)
            except HttpResponseError as error:
                _raise_unless_lost(error)

    def length(self, queue: Queue = Queue.NOTIFICATIONS) -> int:
        """See Queues."""
        with translated():
            try:
                return self._clients[queue].get_queue_properties().approximate_message_count or 0
            except ResourceNotFoundError:
                return 0

    def try_write(self) -> None:
        """See Queues."""
        client = self._clients[Queue.NOTIFICATIONS]
        with translated():
            _create(client)
            sent = client.send_message(PROBE, visibility_timeout=_UNSEEN, time_to_live=_UNSEEN + 1)
            client.delete_message(sent.id, sent.pop_receipt)

    def create_missing(self) -> None:
        """See Queues."""
        with translated():
            _create(self._clients[Queue.NOTIFICATIONS])
            _create(self._clients[Queue.DEAD_LETTERS])
        self._claims.create_missing()

    def _send(self, queue: Queue, message: str, delay: timedelta) -> None:
        client = self._clients[queue]
        seconds = math.ceil(delay.total_seconds())  # Storage takes whole seconds: round up
        with translated():
            try:
                client.send_message(message, visibility_timeout=seconds, time_to_live=-1)
            except ResourceNotFoundError:
                _create(client)
                client.send_message(message, visibility_timeout=seconds, time_to_live=-1)

    @cached_property
    def _senders(self) -> ContextThreadPool:
        return ContextThreadPool(max_workers=32, thread_name_prefix="storage")

    @cached_property
    def _clients(self) -> dict[Queue, QueueClient]:
        return {queue: self._client(f"{self._settings.queue}{queue}") for queue in Queue}

    def _client(self, name: str) -> QueueClient:
        options = self._limits.options()
        if self._settings.connection_string:
            with settings_checked():
                return QueueClient.from_connection_string(self._settings.connection_string, name, **options)
        return QueueClient(self._settings.urls[0], name, credential=identity_credential(self._settings), **options)


def _queued(queue: Queue, message: QueueMessage) -> QueuedMessage:
    enqueued, expires = message.inserted_on or _UNKNOWN, message.expires_on or _UNKNOWN
    return QueuedMessage(queue, message.id, message.content, enqueued, expires, message.pop_receipt or "")


def _raise_unless_lost(error: HttpResponseError) -> None:
    """Raise `error` unless the message is gone or another receiver holds it."""
    if getattr(error, "error_code", None) not in ("MessageNotFound", "PopReceiptMismatch", "QueueNotFound"):
        raise error


def _create(client: QueueClient) -> None:
    try:
        client.create_queue()
    except ResourceExistsError:
        return
