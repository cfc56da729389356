"""Queue functions, polled and retried as the Functions host's queue listener does it.

One thing is kinder here: the host in Azure waits for a missing queue to appear, this one creates it.
"""

import asyncio
import base64
import logging
import random
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TypeVar

import requests
from azure.core.exceptions import AzureError, ResourceExistsError, ResourceNotFoundError
from azure.core.pipeline.transport import RequestsTransport
from azure.functions.queue import QueueMessage as FunctionMessage
from azure.storage.queue import ExponentialRetry, QueueClient, QueueMessage
from requests.adapters import HTTPAdapter

from local.host.configuration import QueueOptions
from local.host.functions import Function
from local.host.worker import Worker, report_failure

log = logging.getLogger("local.host")

LEASE = timedelta(minutes=10)  # the host's own constant: how long a message is hidden while it is worked on
POOL = 50  # connections kept open: more than there are ever calls at once (batchSize is 32 at most)
SHORTEST_POLL = timedelta(milliseconds=100)

Result = TypeVar("Result")


@dataclass(frozen=True)
class Storage:
    """A queue, the queue for what never succeeds, and the threads on which both are called."""

    queue: QueueClient
    poison: QueueClient
    threads: Executor

    async def call(self, operation: Callable[..., Result], *arguments: object, **options: object) -> Result:
        """Call one storage operation without holding up the loop."""
        return await asyncio.get_running_loop().run_in_executor(self.threads, partial(operation, *arguments, **options))


def storage(connection_string: str, queue: str, threads: Executor) -> Storage:
    """Return the clients for `queue` and its poison queue; both try again for half a minute in an outage."""
    session = requests.Session()
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(pool_maxsize=POOL))

    def client(name: str) -> QueueClient:
        return QueueClient.from_connection_string(
            connection_string,
            name,
            retry_policy=ExponentialRetry(initial_backoff=1, increment_base=2, retry_total=5),
            # The time limits belong to the transport: beside one of ours the client ignores them.
            transport=RequestsTransport(session=session, session_owner=False, connection_timeout=2, read_timeout=10),
        )

    return Storage(client(queue), client(f"{queue}-poison"), threads)


def polling_delays(longest: timedelta, chance: random.Random) -> Iterator[float]:
    """Yield the seconds to wait after each poll in a row that found nothing: growing, with some jitter."""
    delay = SHORTEST_POLL.total_seconds()
    while True:
        yield min(delay, longest.total_seconds())
        delay = min(delay * 2 * chance.uniform(0.8, 1.2), longest.total_seconds())


class QueueListener:
    """One queue function: polls, works on up to a batch and a threshold of messages at a time, settles each."""

    def __init__(
        self,
        function: Function,
        storage: Storage,
        options: QueueOptions,
        worker: Worker,
        *,
        lease: timedelta,
        chance: random.Random,
    ) -> None:
        self.function = function
        self._storage = storage
        self._options = options
        self._worker = worker
        self._lease = lease
        self._chance = chance
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Poll no more."""
        self._stopping.set()

    async def run(self) -> None:
        """Work until `stop`, and then until all that was received is settled."""
        running: set[asyncio.Task[None]] = set()
        delays = polling_delays(self._options.max_polling_interval, self._chance)
        while not self._stopping.is_set():
            batch = await self._receive()
            if batch:
                delays = polling_delays(self._options.max_polling_interval, self._chance)
                running |= {asyncio.create_task(self._process(message)) for message in batch}
                while len(running) > self._options.new_batch_threshold:
                    _, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            else:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), next(delays))
                running = {task for task in running if not task.done()}
        if running:
            await asyncio.wait(running)

    async def _receive(self) -> list[QueueMessage]:
        queue, count = self._storage.queue, self._options.batch_size
        try:
            return await self._storage.call(receive, queue, count, int(self._lease.total_seconds()))
        except ResourceNotFoundError:
            await self._create(queue)
        except AzureError as error:
            log.warning("%s: cannot poll its queue: %s", self.function.name, type(error).__name__)
        return []

    async def _process(self, message: QueueMessage) -> None:
        """Work on one message and settle it: done, hidden for another try, or set aside for good."""
        done = asyncio.Event()
        renewal = asyncio.create_task(self._keep_hidden(message, done))
        succeeded = await self._succeeds(message)
        done.set()
        receipt = await renewal
        try:
            if not succeeded and (message.dequeue_count or 0) < self._options.max_dequeue_count:
                hidden = int(self._options.visibility_timeout.total_seconds())
                await self._storage.call(
                    self._storage.queue.update_message, message.id, receipt, visibility_timeout=hidden
                )
                return
            if not succeeded:
                await self._set_aside(message)
            await self._storage.call(self._storage.queue.delete_message, message.id, receipt)
        except ResourceNotFoundError:
            pass  # somebody else has the message by now, or has settled it: as in Azure, that is not an error
        except AzureError as error:
            log.warning("%s: a message comes again: %s", self.function.name, type(error).__name__)

    async def _succeeds(self, message: QueueMessage) -> bool:
        if (message.dequeue_count or 0) > self._options.max_dequeue_count:
            return False  # its last try ended with the process
        try:
            await self._worker.call(self.function, self._as_given(message))
        except Exception as error:  # the host outlives whatever a function raises
            report_failure(self.function, error)
            return False
        return True

    def _as_given(self, message: QueueMessage) -> FunctionMessage:
        """Build what the worker hands to a function.

        Raises:
            binascii.Error: the message is not base64, and host.json says that it is.
        """
        content = str(message.content)
        encoded = self._options.message_encoding == "base64"
        given: FunctionMessage = FunctionMessage(  # type: ignore[no-untyped-call]  # azure-functions has no types
            id=message.id,
            body=base64.b64decode(content, validate=True) if encoded else content.encode(),
            dequeue_count=message.dequeue_count,
            expiration_time=message.expires_on,
            insertion_time=message.inserted_on,
            time_next_visible=message.next_visible_on,
            pop_receipt=message.pop_receipt,
        )
        return given

    async def _keep_hidden(self, message: QueueMessage, done: asyncio.Event) -> str:
        """Renew the lease at half its time until `done`; return the receipt that is valid then."""
        receipt = str(message.pop_receipt)
        lease = self._lease.total_seconds()
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(done.wait(), lease / 2)
            if done.is_set():
                return receipt
            try:
                update = self._storage.queue.update_message
                renewed = await self._storage.call(update, message.id, receipt, visibility_timeout=int(lease))
                receipt = str(renewed.pop_receipt)
            except AzureError as error:
                log.warning("%s: cannot renew a lease: %s", self.function.name, type(error).__name__)

    async def _set_aside(self, message: QueueMessage) -> None:
        try:
            await self._storage.call(self._storage.poison.send_message, message.content)
        except ResourceNotFoundError:
            await self._create(self._storage.poison)
            await self._storage.call(self._storage.poison.send_message, message.content)
        log.error("%s: a message failed too often and is in the poison queue", self.function.name)

    async def _create(self, queue: QueueClient) -> None:
        try:
            await self._storage.call(queue.create_queue)
        except ResourceExistsError:
            pass
        except AzureError as error:
            log.warning("%s: cannot create a queue: %s", self.function.name, type(error).__name__)


def receive(queue: QueueClient, count: int, hidden: int) -> list[QueueMessage]:
    """Return up to `count` messages (32 at most), hidden from others for `hidden` seconds; try only once."""
    pages = queue.receive_messages(
        messages_per_page=count, max_messages=count, visibility_timeout=hidden, retry_total=0
    )
    return list(next(pages.by_page(), ()))
