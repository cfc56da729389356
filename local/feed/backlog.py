"""How many messages wait in the relay's queue, asked of Storage: the relay itself may be what is down."""

from azure.core.exceptions import AzureError
from azure.storage.queue import QueueClient

_TIME_LIMIT = 2
"""Seconds; the page asks every second."""


class RelayQueue:
    """The queue of one relay, looked at without touching it."""

    def __init__(self, connection: str, name: str) -> None:
        """Raises ValueError if the connection string is none."""
        self._client = QueueClient.from_connection_string(
            connection, name, retry_total=0, connection_timeout=_TIME_LIMIT, read_timeout=_TIME_LIMIT
        )

    def length(self) -> int | None:
        """Return the number of messages, including those that wait for their next attempt; None if it is unknown."""
        try:
            return self._client.get_queue_properties().approximate_message_count
        except AzureError:
            return None
