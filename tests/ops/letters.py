"""Dead letters as the app and the host write them."""

from datetime import UTC, datetime, timedelta

from azure.storage.queue import QueueClient

from shared.configuration.settings import StorageSettings
from shared.errors import Reason
from shared.messages.envelope import DeadLetter, Envelope, read
from shared.storage.clients import StorageClients
from shared.storage.queues import Queue
from tests import builders


def give_up(
    storage: StorageClients, envelope: Envelope, reason: Reason = Reason.KEY_UNKNOWN, ago: timedelta = timedelta(0)
) -> None:
    """Dead-letter an envelope as process_queue does."""
    letter = DeadLetter(reason, datetime.now(UTC) - ago, envelope)
    storage.queues.send(builders.signed(letter), Queue.DEAD_LETTERS)


def poison(settings: StorageSettings, text: str) -> None:
    """Move a message to the poison queue, as the host does."""
    queue = QueueClient.from_connection_string(settings.connection_string, f"{settings.queue}{Queue.POISON}")
    queue.create_queue()
    queue.send_message(text, time_to_live=-1)


def queued(storage: StorageClients) -> list[Envelope]:
    """Return the texts on the queue."""
    return [read(storage.claims.open(message.text).text) for message in storage.queues.peek(Queue.NOTIFICATIONS)]


def large(number: int = 0) -> Envelope:
    """An envelope that exceeds a queue message."""
    return builders.changes(builders.change(builders.chat_path(str(number)), padding="x" * 70_000))
