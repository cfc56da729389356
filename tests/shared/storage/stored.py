"""The real content of a storage account, read without the app's own clients."""

from azure.storage.blob import ContainerClient
from azure.storage.queue import QueueClient

from shared.configuration.settings import StorageSettings


def received(settings: StorageSettings, suffix: str = "") -> list[str]:
    """Receive the visible messages of a queue, and return their texts."""
    with QueueClient.from_connection_string(settings.connection_string, settings.queue + suffix) as queue:
        return [message.content for message in queue.receive_messages()]


def blobs(settings: StorageSettings) -> list[str]:
    """Return the names of the blobs of claim checks."""
    with ContainerClient.from_connection_string(settings.connection_string, f"{settings.queue}-claims") as container:
        return list(container.list_blob_names())
