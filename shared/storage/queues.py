"""Queue messages, claim checks and dead letters: the only module that knows Azure Storage.

A text that exceeds what a queue message holds is stored as a blob, and the message is a claim to it.
"""

import logging
import math
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import MAXYEAR, UTC, datetime, timedelta
from enum import StrEnum
from functools import cached_property
from typing import Any

from azure.core.credentials import TokenCredential
from azure.core.exceptions import AzureError, HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.core.pipeline.transport import RequestsTransport
from azure.storage.blob import ContainerClient
from azure.storage.queue import QueueClient, QueueMessage

from shared import http_client
from shared.configuration.settings import SettingsError, StorageSettings
from shared.configuration.values import CONNECTION_STRING
from shared.errors import Reason, RetryLater, Undeliverable
from shared.messages.envelope import MESSAGE_LIMIT

_log = logging.getLogger("graph_relay.storage")

_CLAIM = "claim:"


@dataclass(frozen=True)
class TimeLimits:
    """How long a client tries: seconds to connect and to wait for an answer, attempts after the first, and the
    number of seconds whose powers lie between them.
    """

    connect: float
    read: float
    retries: int
    backoff: int

    def options(self) -> dict[str, Any]:
        """The options of an Azure client."""
        # The SDK's own session keeps ten connections, fewer than there are threads.
        transport = RequestsTransport(
            session=http_client.session(), session_owner=False, connection_timeout=self.connect, read_timeout=self.read
        )
        return {
            "transport": transport,
            "retry_total": self.retries,
            "retry_connect": self.retries,
            "retry_read": self.retries,
            "retry_status": self.retries,
            "initial_backoff": 0,
            "increment_base": self.backoff,
            "random_jitter_range": 0,
        }


ACKNOWLEDGE_LIMITS = TimeLimits(connect=1.0, read=2.2, retries=1, backoff=0)
"""For the path of the 202. One retry, at once: a pooled connection may have been closed meanwhile.

A slow answer is waited for as long as Graph leaves us time: what is given up sooner is stored all the same, once more
by the retry, and again each time that Graph re-sends it, which keeps a slow queue slow.
"""

BACKGROUND_LIMITS = TimeLimits(connect=5, read=20, retries=3, backoff=2)
"""For everything behind the queue."""

AT_ONCE = 32
"""Queue messages that one request can peek at or take."""

_VISIBILITY_TIMEOUT = timedelta(minutes=5)
_UNKNOWN = datetime.min.replace(tzinfo=UTC)
_LOOKED_AT = 1000


class Queue(StrEnum):
    """The queues there are: what is put behind the name of the first. The host names the last one so."""

    NOTIFICATIONS = ""
    DEAD_LETTERS = "-dead-letters"
    POISON = "-poison"


@dataclass(frozen=True)
class QueuedMessage:
    """A queue message as it lies on a shelf; `put` is when it was laid there, `expires` when Storage will drop it.

    receipt: "" unless it was taken.
    """

    shelf: Queue
    id: str
    text: str
    put: datetime
    expires: datetime
    receipt: str = ""

    @property
    def is_kept(self) -> bool:
        """Whether it lies there until it is removed."""
        return self.expires.year == MAXYEAR


@dataclass(frozen=True)
class Claimed:
    """What a queue message stood for, and the blob, if any, to be discarded once it has been dealt with."""

    text: str
    claim: str | None = None


class Storage:
    """The queue, its dead letters and its claim checks; one object serves all threads."""

    def __init__(self, settings: StorageSettings, limits: TimeLimits) -> None:
        self._settings = settings
        self._patience = limits

    def put(self, text: str, *, delay: timedelta = timedelta(0)) -> None:
        """Queue `text`, ASCII; it shows up after `delay`. Raises RetryLater."""
        with _translated():
            self._send(self._queue, text, delay)

    def put_all(self, texts: Sequence[str], *, within: timedelta) -> None:
        """Queue `texts`, several at a time. Raises RetryLater unless all are durable `within` the time given.

        Some may have been queued even so: whoever sent them sends them all again.
        """
        sending = [self._senders.submit(self.put, text) for text in texts]
        done, unfinished = wait(sending, within.total_seconds(), return_when=FIRST_EXCEPTION)
        for one in unfinished:
            one.cancel()
        for one in done:
            one.result()
        if unfinished:
            raise RetryLater(Reason.STORAGE, "the queue did not answer in time")

    def put_dead_letter(self, text: str) -> None:
        """Keep `text`, ASCII, among the dead letters, for ever. Raises RetryLater."""
        with _translated():
            self._send(self._dead_letters, text, timedelta(0))

    def fetch(self, message: str) -> Claimed:
        """Return what a queue message stands for.

        Raises:
            Undeliverable: its blob is gone: the message was dealt with before.
            RetryLater: storage is away.
        """
        if not message.startswith(_CLAIM):
            return Claimed(message)
        name = message.removeprefix(_CLAIM)
        with _translated():
            try:
                content: bytes = self._claims.download_blob(name).readall()
            except ResourceNotFoundError:
                raise Undeliverable(Reason.CLAIM_GONE, "the blob of a queue message is gone") from None
        return Claimed(content.decode("ascii"), name)

    def discard(self, claimed: Claimed) -> None:
        """Remove the blob, if there is one, of a message that has been dealt with. Raises RetryLater."""
        if claimed.claim is None:
            return
        with _translated():
            try:
                self._claims.delete_blob(claimed.claim)
            except ResourceNotFoundError:
                return

    def is_empty(self) -> bool:
        """Whether no message is in the queue, not even a hidden one; in doubt, no. Raises RetryLater."""
        with _translated():
            return self._queue.get_queue_properties().approximate_message_count == 0

    def length(self, shelf: Queue) -> int:
        """Return how many messages lie on a shelf, hidden ones too: never fewer than there are. Raises RetryLater."""
        with _translated():
            try:
                return self._shelf(shelf).get_queue_properties().approximate_message_count or 0
            except ResourceNotFoundError:
                return 0

    def peek(self, shelf: Queue, number: int = AT_ONCE) -> list[QueuedMessage]:
        """Return the first `number` messages, 32 at most, that are not hidden, and leave them. Raises RetryLater."""
        with _translated():
            try:
                return [_queued_message(shelf, one) for one in self._shelf(shelf).peek_messages(number)]
            except ResourceNotFoundError:
                return []

    def take(self, shelf: Queue, hidden: timedelta) -> list[QueuedMessage]:
        """Return some messages, 32 at most, and hide them from everybody else for a time. Raises RetryLater."""
        seconds = round(hidden.total_seconds())
        with _translated():
            try:
                pages = self._shelf(shelf).receive_messages(
                    messages_per_page=AT_ONCE, max_messages=AT_ONCE, visibility_timeout=seconds
                )
                return [_queued_message(shelf, one) for one in pages]
            except ResourceNotFoundError:
                return []

    def give_back(self, taken: QueuedMessage) -> None:
        """Make a received message visible again; one that another has received since is left. Raises RetryLater."""
        with _translated():
            try:
                self._shelf(taken.shelf).update_message(taken.id, taken.receipt, visibility_timeout=0)
            except HttpResponseError as error:
                _unless_it_is_theirs(error)

    def remove(self, taken: QueuedMessage) -> None:
        """Remove a message that was taken; one that others hold by now is theirs. Raises RetryLater."""
        with _translated():
            try:
                self._shelf(taken.shelf).delete_message(taken.id, taken.receipt)
            except HttpResponseError as error:
                _unless_it_is_theirs(error)

    def keep_poison(self) -> None:
        """Have what the host has given up kept for ever: the host lays it there for a week. Raises RetryLater.

        Interrupted, it may leave a message twice; replayed twice, its events have the same ids. A shelf that is
        very full is looked through in several runs: what was looked at goes behind the others.
        """
        kept: list[QueuedMessage] = []
        while len(kept) < _LOOKED_AT and (taken := self.take(Queue.POISON, _VISIBILITY_TIMEOUT)):
            for one in taken:
                if one.is_kept:
                    kept.append(one)
                else:
                    with _translated():
                        self._send(self._poison, one.text, timedelta(0))
                    self.remove(one)
        for one in kept:
            self.give_back(one)

    def ready(self) -> None:
        """Make sure that the queues and the container exist. Raises RetryLater."""
        with _translated():
            _create(self._queue.create_queue)
            _create(self._dead_letters.create_queue)
            _create(self._claims.create_container)

    def _send(self, queue: QueueClient, text: str, delay: timedelta) -> None:
        if len(text) <= MESSAGE_LIMIT:
            self._lay(queue, text, delay)
            return
        claim = self._check_in(text)
        try:
            self._lay(queue, claim, delay)
        except AzureError:
            # Should the message lie there all the same, it is taken for a double when its blob is found gone: whoever
            # is told that storage is away keeps what was to be sent, and sends it again.
            self._clear_away(claim)
            raise

    def _lay(self, queue: QueueClient, message: str, delay: timedelta) -> None:
        seconds = math.ceil(delay.total_seconds())  # a queue counts whole ones: never come earlier than told
        try:
            queue.send_message(message, visibility_timeout=seconds, time_to_live=-1)
        except ResourceNotFoundError:
            _create(queue.create_queue)
            queue.send_message(message, visibility_timeout=seconds, time_to_live=-1)

    def _clear_away(self, claim: str) -> None:
        try:
            self._claims.delete_blob(claim.removeprefix(_CLAIM))
        except AzureError as error:
            _log.debug("A blob stays behind that no message claims (%s)", type(error).__name__)

    def _check_in(self, text: str) -> str:
        name = str(uuid.uuid4())
        content = text.encode("ascii")
        try:
            self._claims.upload_blob(name, content)
        except ResourceNotFoundError:
            _create(self._claims.create_container)
            self._claims.upload_blob(name, content)
        return _CLAIM + name

    @cached_property
    def _senders(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(max_workers=32, thread_name_prefix="storage")

    @cached_property
    def _queue(self) -> QueueClient:
        return self._queue_client(self._settings.queue)

    @cached_property
    def _dead_letters(self) -> QueueClient:
        return self._queue_client(f"{self._settings.queue}{Queue.DEAD_LETTERS}")

    @cached_property
    def _poison(self) -> QueueClient:
        return self._queue_client(f"{self._settings.queue}{Queue.POISON}")

    def _shelf(self, shelf: Queue) -> QueueClient:
        match shelf:
            case Queue.NOTIFICATIONS:
                return self._queue
            case Queue.DEAD_LETTERS:
                return self._dead_letters
            case Queue.POISON:
                return self._poison

    def _queue_client(self, name: str) -> QueueClient:
        options = self._patience.options()
        if self._settings.connection_string:
            with settings_checked():
                return QueueClient.from_connection_string(self._settings.connection_string, name, **options)
        return QueueClient(self._settings.urls[0], name, credential=identity_credential(self._settings), **options)

    @cached_property
    def _claims(self) -> ContainerClient:
        name = f"{self._settings.queue}-claims"
        options = self._patience.options()
        if self._settings.connection_string:
            with settings_checked():
                return ContainerClient.from_connection_string(self._settings.connection_string, name, **options)
        return ContainerClient(self._settings.urls[1], name, credential=identity_credential(self._settings), **options)


def identity_credential(settings: StorageSettings) -> TokenCredential:
    """Return who reaches storage where there is no connection string: the managed identity in Azure, and on a desk
    the person who has signed in with `az login`.
    """
    from azure.identity import DefaultAzureCredential  # noqa: PLC0415 - 0.2 s that a connection string saves

    return DefaultAzureCredential(managed_identity_client_id=settings.identity_client_id)


def _queued_message(shelf: Queue, message: QueueMessage) -> QueuedMessage:
    enqueued, expires = message.inserted_on or _UNKNOWN, message.expires_on or _UNKNOWN
    return QueuedMessage(shelf, message.id, message.content, enqueued, expires, message.pop_receipt or "")


def _unless_it_is_theirs(error: HttpResponseError) -> None:
    """Raise `error` again unless it says that the message is gone, or that its time ran out and another took it."""
    if getattr(error, "error_code", None) not in ("MessageNotFound", "PopReceiptMismatch", "QueueNotFound"):
        raise error


def _create(create: Any) -> None:
    try:
        create()
    except ResourceExistsError:
        return


@contextmanager
def settings_checked() -> Iterator[None]:
    """The SDK alone knows all forms of a connection string; its complaint may quote it."""
    try:
        yield
    except ValueError:
        raise SettingsError([f"AzureWebJobsStorage: {CONNECTION_STRING}"]) from None


@contextmanager
def _translated() -> Iterator[None]:
    """Turn the SDK's errors into ours; their texts hold the names of accounts and are left behind."""
    try:
        yield
    except AzureError as error:
        raise RetryLater(Reason.STORAGE, f"the storage account does not answer ({type(error).__name__})") from None
