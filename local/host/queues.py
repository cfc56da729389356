"""Queue functions, polled and retried as the Functions host's queue listener does it."""

import asyncio
import base64
import binascii
import logging
import random
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

from azure.core.exceptions import AzureError, ResourceExistsError
from azure.storage.queue import QueueClient, QueueMessage

from local.host.calls import QueueCall
from local.host.configuration import QueueOptions
from local.host.functions import Function
from local.host.log import FunctionFailed, Invocation, InvocationFailed, Undecodable
from local.host.storage import Account, HostMustEnd, client_options, is_missing, is_out_of_reach, is_server_error
from local.host.worker import Worker

log = logging.getLogger("Host.Triggers.Queue")

SHORTEST_POLL = timedelta(milliseconds=100)


@dataclass(frozen=True)
class Queues:
    """A queue, its poison queue, and the client of both."""

    queue: QueueClient
    poison: QueueClient
    account: Account


def queues(connection_string: str, queue: str, account: Account) -> Queues:
    """Return the clients for `queue` and its poison queue.

    Raises:
        ValueError: the connection string is malformed.
    """
    options = client_options()
    connect = QueueClient.from_connection_string
    return Queues(
        connect(connection_string, queue, **options), connect(connection_string, f"{queue}-poison", **options), account
    )


def polling_delays(longest: timedelta, chance: random.Random) -> Iterator[float]:
    """Yield the seconds to wait after each consecutive empty poll: the shortest first, then growing with jitter."""
    shortest, most = SHORTEST_POLL.total_seconds(), longest.total_seconds()
    delay, step = min(shortest, most), shortest
    while delay < most:
        yield delay
        delay, step = shortest + step * chance.uniform(0.8, 1.2), step * 2
    while True:
        yield most


class QueueListener:
    """One queue function: polls, works on up to a batch and a threshold of messages at a time, settles each."""

    def __init__(
        self,
        function: Function,
        queues: Queues,
        options: QueueOptions,
        worker: Worker,
        *,
        lease: int,
        chance: random.Random,
    ) -> None:
        self.function = function
        self._queue = queues.queue
        self._poison = queues.poison
        self._call = queues.account.call
        self._options = options
        self._worker = worker
        self._lease = lease
        self._chance = chance
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Stop polling."""
        self._stopping.set()

    async def run(self) -> None:
        """Work until `stop`, and then until every message in progress is settled.

        Raises:
            HostMustEnd: storage refuses requests, or is unavailable for too long.
        """
        running: set[asyncio.Task[None]] = set()
        delays = polling_delays(self._options.max_polling_interval, self._chance)
        while not self._stopping.is_set():
            batch = await self._receive()
            if self._stopping.is_set():
                break  # messages of the last poll stay hidden for the length of their lease
            if batch:
                delays = polling_delays(self._options.max_polling_interval, self._chance)
                running |= {asyncio.create_task(self._process(message)) for message in batch}
                while len(running) > self._options.new_batch_threshold:
                    running = await self._some_done(running)
            else:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), next(delays))
                running = _unfinished(running)
        while running:
            running = await self._some_done(running)

    async def _some_done(self, running: "set[asyncio.Task[None]]") -> "set[asyncio.Task[None]]":
        await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        return _unfinished(running)

    async def _receive(self) -> list[QueueMessage]:
        try:
            return await self._call(receive, self._queue, self._options.batch_size, self._lease)
        except AzureError as error:
            if is_missing(error):
                return []  # the listener waits until the queue exists
            if not is_server_error(error):
                raise HostMustEnd(f"{self.function.name} can't poll its queue: {_named(error)}") from error
            log.warning("%s can't poll its queue: %s", self.function.name, _named(error))
        return []

    async def _process(self, message: QueueMessage) -> None:
        """Work on one message and settle it: delete it, hide it until the next attempt, or poison it."""
        done = asyncio.Event()
        renewal = asyncio.create_task(self._keep_hidden(message, done))
        try:
            succeeded = await self._succeeds(message)
            hopeless = not succeeded and (message.dequeue_count or 0) >= self._options.max_dequeue_count
        except Undecodable as error:
            log.warning("%s: %s It goes to the poison queue", self.function.name, error)
            succeeded, hopeless = False, True
        finally:
            done.set()
        receipt = await renewal
        if hopeless and not await self._set_aside(message):
            return
        await self._settle(message, receipt, gone=succeeded or hopeless)

    async def _settle(self, message: QueueMessage, receipt: str, *, gone: bool) -> None:
        try:
            if gone:
                await self._call(self._queue.delete_message, message.id, receipt)
            else:
                hidden = int(self._options.visibility_timeout.total_seconds())
                await self._call(self._queue.update_message, message.id, receipt, visibility_timeout=hidden)
        except AzureError as error:
            if not is_out_of_reach(error):
                raise HostMustEnd(f"{self.function.name} can't settle a message: {_named(error)}") from error

    async def _succeeds(self, message: QueueMessage) -> bool:
        if (message.dequeue_count or 0) > self._options.max_dequeue_count:
            return False  # the last attempt ended with the process
        call = self._as_given(message)
        details = (
            f"MessageId: {message.id}, DequeueCount: {message.dequeue_count}, InsertionTime: {message.inserted_on}"
        )
        reason = f"New queue message detected on '{self._queue.queue_name}'."
        invocation = Invocation(self.function.name, reason, details)
        invocation.begin()
        try:
            await self._worker.call(self.function.name, call)
        except (FunctionFailed, InvocationFailed) as error:
            invocation.fail(error)
            return False
        invocation.succeed()
        return True

    def _as_given(self, message: QueueMessage) -> QueueCall:
        """Build the worker's value of a message.

        Raises:
            Undecodable: the message is not base64, although host.json says so.
        """
        content = str(message.content)
        try:
            encoded = self._options.message_encoding.lower() == "base64"
            body = base64.b64decode(content, validate=True) if encoded else content.encode()
        except binascii.Error:
            raise Undecodable("A message is not base64, as messageEncoding in host.json has it.") from None
        return QueueCall(
            id=message.id,
            body=body,
            dequeue_count=message.dequeue_count or 0,
            expiration_time=message.expires_on,
            insertion_time=message.inserted_on,
            time_next_visible=message.next_visible_on,
            pop_receipt=str(message.pop_receipt),
        )

    async def _keep_hidden(self, message: QueueMessage, done: asyncio.Event) -> str:
        """Renew the lease at half its time until `done`, or until the message is out of reach; return the last
        pop receipt.
        """
        receipt = str(message.pop_receipt)
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(done.wait(), self._lease / 2)
            if done.is_set():
                return receipt
            try:
                update = self._queue.update_message
                renewed = await self._call(update, message.id, receipt, visibility_timeout=self._lease)
                receipt = str(renewed.pop_receipt)
            except AzureError as error:
                if is_out_of_reach(error):
                    await done.wait()
                    return receipt
                log.warning("%s can't renew a lease: %s", self.function.name, _named(error))

    async def _set_aside(self, message: QueueMessage) -> bool:
        """Move a message to the poison queue; return whether that succeeded."""
        send = self._poison.send_message
        try:
            try:
                await self._call(send, message.content)
            except AzureError as error:
                if not is_missing(error):
                    raise
                with suppress(ResourceExistsError):
                    await self._call(self._poison.create_queue)
                await self._call(send, message.content)
        except AzureError as error:
            if not is_server_error(error) and not is_missing(error):
                raise HostMustEnd(f"{self.function.name} can't use its poison queue: {_named(error)}") from error
            log.warning("%s can't use its poison queue: %s", self.function.name, _named(error))
            return False
        log.warning(
            "Message has reached MaxDequeueCount of %d. Moving message to queue '%s'.",
            self._options.max_dequeue_count,
            self._poison.queue_name,
        )
        return True


def _unfinished(running: "set[asyncio.Task[None]]") -> "set[asyncio.Task[None]]":
    """Return the tasks that still run. Raises the exception of a task that failed."""
    for task in running:
        if task.done():
            task.result()
    return {task for task in running if not task.done()}


def _named(error: AzureError) -> str:
    """Name an error without its text, which may quote a request."""
    code = getattr(error, "error_code", None)
    return f"{type(error).__name__} {code}" if code else type(error).__name__


def receive(queue: QueueClient, count: int, hidden: int) -> list[QueueMessage]:
    """Return up to `count` messages (32 at most), hidden from others for `hidden` seconds."""
    pages = queue.receive_messages(messages_per_page=count, max_messages=count, visibility_timeout=hidden)
    return list(next(pages.by_page(), ()))
