"""The number of messages in the relay's queue, read from Storage, because the relay may be down."""

from azure.core.exceptions import AzureError
from azure.storage.queue import QueueClient

_TIME_LIMIT = 2
"""Seconds; the page asks every second."""


class RelayQueue:
    """The queue of one relay, without changing it."""

    def __init__(self, connection: str, name: str) -> None:
        """Raises ValueError if the connection string is invalid."""
        self._client = QueueClient.from_connection_string(
            connection, name, retry_total=0, connection_timeout=_TIME_LIMIT, read_timeout=_TIME_LIMIT
        )

    def length(self) -> int | None:
        """Return the number of messages, including those that wait for their next attempt; None if it is unknown."""
        try:
            return self._client.get_queue_properties().approximate_message_count
        except AzureError:
            return None
