"""The host's requests to the storage account, and which of their failures end the host."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from functools import partial
from http import HTTPStatus
from typing import Any, TypeVar

import requests
from azure.core.exceptions import AzureError, HttpResponseError
from azure.core.pipeline.transport import RequestsTransport
from azure.storage.queue import StorageErrorCode
from requests.adapters import HTTPAdapter

POOL = 50  # open connections: more than concurrent calls (batchSize is 32 at most)

Result = TypeVar("Result")


class HostMustEnd(Exception):
    """Storage refuses requests or is unavailable: the Functions host shuts down, and is started again from outside."""


class Account:
    """Makes requests on threads of its own; retries after each of `retries` seconds if that may help."""

    def __init__(self, threads: Executor, retries: Sequence[float]) -> None:
        self._threads = threads
        self._retries = retries

    async def call(self, operation: Callable[..., Result], *arguments: object, **options: object) -> Result:
        """Make a request.

        Raises:
            AzureError: storage refused the request, or every attempt failed.
        """
        request = partial(operation, *arguments, **options)
        loop = asyncio.get_running_loop()
        for delay in self._retries:
            try:
                return await loop.run_in_executor(self._threads, request)
            except AzureError as error:
                if not may_pass(error):
                    raise
            await asyncio.sleep(delay)
        return await loop.run_in_executor(self._threads, request)


def client_options() -> dict[str, Any]:
    """Return the options of the SDK's clients: no retries of their own, one pool of connections."""
    session = requests.Session()
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(pool_maxsize=POOL))
    # The time limits belong to the transport: beside a custom transport the client ignores them.
    transport = RequestsTransport(session=session, session_owner=False, connection_timeout=2, read_timeout=10)
    return {"retry_total": 0, "transport": transport}


def status_of(error: AzureError) -> int | None:
    """Return the status of storage's answer; None without an answer."""
    return error.status_code if isinstance(error, HttpResponseError) else None


def may_pass(error: AzureError) -> bool:
    """Whether a retry may help: no answer, or an error of the server."""
    status = status_of(error)
    return (
        status is None or is_server_error(error) or status in (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)
    )


def is_server_error(error: AzureError) -> bool:
    """Whether storage answered with a status of 500 or above."""
    return (status_of(error) or 0) >= HTTPStatus.INTERNAL_SERVER_ERROR


def is_missing(error: AzureError) -> bool:
    """Whether storage answered 404."""
    return status_of(error) == HTTPStatus.NOT_FOUND


_OUT_OF_REACH = {
    (HTTPStatus.BAD_REQUEST, StorageErrorCode.POP_RECEIPT_MISMATCH),
    (HTTPStatus.CONFLICT, StorageErrorCode.QUEUE_BEING_DELETED),
    (HTTPStatus.CONFLICT, StorageErrorCode.QUEUE_DISABLED),
}


def is_out_of_reach(error: AzureError) -> bool:
    """Whether the host can do no more for a message: another host has it, or it is gone, or its queue is gone, being
    deleted or disabled. The queue extension ignores these answers when it deletes, hides or renews.
    """
    return is_missing(error) or (status_of(error), getattr(error, "error_code", None)) in _OUT_OF_REACH
