"""Queue messages, claim checks and dead letters: the only module that knows Azure Storage.

A text that exceeds what a queue message holds is stored as a blob, and the message is a claim to it.
"""

import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import Any

from azure.core.credentials import TokenCredential
from azure.core.exceptions import AzureError, ResourceExistsError, ResourceNotFoundError
from azure.storage.blob import ContainerClient
from azure.storage.queue import QueueClient

from shared.envelope import MESSAGE_LIMIT
from shared.errors import NotNow, Reason, Unreadable
from shared.settings import StorageSettings

_CLAIM = "claim:"


@dataclass(frozen=True)
class Patience:
    """How long a client tries: seconds to connect and to wait for an answer, and attempts after the first."""

    connect: float
    read: float
    retries: int
    backoff: float

    def options(self) -> dict[str, Any]:
        """The options of an Azure client."""
        return {
            "connection_timeout": self.connect,
            "read_timeout": self.read,
            "retry_total": self.retries,
            "retry_connect": self.retries,
            "retry_read": self.retries,
            "retry_status": self.retries,
            "initial_backoff": self.backoff,
            "increment_base": 2,
            "random_jitter_range": 0,
        }


PROMPT = Patience(connect=1.0, read=1.5, retries=1, backoff=0)
"""For the path of the 202. One retry, at once: a pooled connection may have been closed meanwhile."""

PATIENT = Patience(connect=5, read=20, retries=3, backoff=1)
"""For everything behind the queue."""


@dataclass(frozen=True)
class Claimed:
    """What a queue message stood for, and the blob, if any, to be discarded once it has been dealt with."""

    text: str
    claim: str | None = None


class Storage:
    """The queue, its dead letters and its claim checks; one object serves all threads."""

    def __init__(self, settings: StorageSettings, patience: Patience) -> None:
        self._settings = settings
        self._patience = patience

    def put(self, text: str, *, delay: timedelta = timedelta(0)) -> None:
        """Queue `text`, ASCII; it shows up after `delay`. Raises NotNow."""
        with _translated():
            self._send(self._queue, text, delay)

    def put_all(self, texts: Sequence[str], *, within: timedelta) -> None:
        """Queue `texts`, several at a time. Raises NotNow unless all are durable `within` the time given.

        Some may have been queued even so: whoever sent them sends them all again.
        """
        sending = [self._senders.submit(self.put, text) for text in texts]
        done, unfinished = wait(sending, within.total_seconds(), return_when=FIRST_EXCEPTION)
        for one in unfinished:
            one.cancel()
        for one in done:
            one.result()
        if unfinished:
            raise NotNow(Reason.STORAGE, "the queue did not answer in time")

    def put_dead_letter(self, text: str) -> None:
        """Keep `text`, ASCII, among the dead letters, for ever. Raises NotNow."""
        with _translated():
            self._send(self._dead_letters, text, timedelta(0))

    def fetch(self, message: str) -> Claimed:
        """Return what a queue message stands for.

        Raises:
            Unreadable: its blob is gone: the message was dealt with before.
            NotNow: storage is away.
        """
        if not message.startswith(_CLAIM):
            return Claimed(message)
        name = message.removeprefix(_CLAIM)
        with _translated():
            try:
                content: bytes = self._claims.download_blob(name).readall()
            except ResourceNotFoundError:
                raise Unreadable(Reason.CLAIM_GONE, "the blob of a queue message is gone") from None
        return Claimed(content.decode("ascii"), name)

    def discard(self, claimed: Claimed) -> None:
        """Remove the blob, if there is one, of a message that has been dealt with. Raises NotNow."""
        if claimed.claim is None:
            return
        with _translated():
            try:
                self._claims.delete_blob(claimed.claim)
            except ResourceNotFoundError:
                return

    def is_empty(self) -> bool:
        """Whether no message is in the queue, not even a hidden one; in doubt, no. Raises NotNow."""
        with _translated():
            return self._queue.get_queue_properties().approximate_message_count == 0

    def ready(self) -> None:
        """Make sure that the queues and the container exist. Raises NotNow."""
        with _translated():
            _create(self._queue.create_queue)
            _create(self._dead_letters.create_queue)
            _create(self._claims.create_container)

    def _send(self, queue: QueueClient, text: str, delay: timedelta) -> None:
        message = text if len(text) <= MESSAGE_LIMIT else self._check_in(text)
        seconds = round(delay.total_seconds())
        try:
            queue.send_message(message, visibility_timeout=seconds, time_to_live=-1)
        except ResourceNotFoundError:
            _create(queue.create_queue)
            queue.send_message(message, visibility_timeout=seconds, time_to_live=-1)

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
        return self._queue_client(f"{self._settings.queue}-dead-letters")

    def _queue_client(self, name: str) -> QueueClient:
        options = self._patience.options()
        if self._settings.connection_string:
            return QueueClient.from_connection_string(self._settings.connection_string, name, **options)
        return QueueClient(self._settings.urls[0], name, credential=identity_credential(self._settings), **options)

    @cached_property
    def _claims(self) -> ContainerClient:
        name = f"{self._settings.queue}-claims"
        options = self._patience.options()
        if self._settings.connection_string:
            return ContainerClient.from_connection_string(self._settings.connection_string, name, **options)
        return ContainerClient(self._settings.urls[1], name, credential=identity_credential(self._settings), **options)


def identity_credential(settings: StorageSettings) -> TokenCredential:
    """Return the managed identity that storage is reached with where there is no connection string."""
    from azure.identity import ManagedIdentityCredential  # noqa: PLC0415 - 0.2 s that a connection string saves

    return ManagedIdentityCredential(client_id=settings.identity_client_id)


def _create(create: Any) -> None:
    try:
        create()
    except ResourceExistsError:
        return


@contextmanager
def _translated() -> Iterator[None]:
    """Turn the SDK's errors into ours; their texts hold the names of accounts and are left behind."""
    try:
        yield
    except AzureError as error:
        raise NotNow(Reason.STORAGE, f"the storage account does not answer ({type(error).__name__})") from None
