"""Packing: the storage requests of a POST with 40 notifications, from the POST to the end of processing."""

import logging
import re
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import azure.functions as func
from azure.storage.queue import QueueClient, QueueMessage

from bench.bystander import Bystander, function, queue_message
from bench.figure import Figure, at_most
from local.azurite import ACCOUNT
from shared.relay import storage as storage_clients

MOST_PUTS = 4
MOST_REQUESTS = 12
ITEMS, SIZE = 40, 5000
AT_A_TIME = 16


class _Counted(logging.Handler):
    """Counts the requests of the HTTP library by method: to queues, blobs and the table of states, not to those of the
    ledger.
    """

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.requests: Counter[str] = Counter()

    def emit(self, record: logging.LogRecord) -> None:
        request = re.search(rf'"([A-Z]+) /{ACCOUNT}/(notifications|relay\w+state)', record.getMessage())
        if request:
            self.requests[request[1]] += 1


def packing(around: Bystander) -> list[Figure]:
    """Make the host's own requests as the host does: receive up to 16 messages, handle them at once, delete each.

    A first POST, which is not counted, creates the tables and the rows that a process writes once in a while.
    """
    storage_clients().acknowledging.create_missing()
    queue = QueueClient.from_connection_string(around.settings["AzureWebJobsStorage"], "notifications")
    queue.clear_messages()
    _acknowledged(around.collection(ITEMS, SIZE))
    _process_all(queue)
    body = around.collection(ITEMS, SIZE)
    log, counted = logging.getLogger("urllib3.connectionpool"), _Counted()
    log.addHandler(counted)
    level = log.level
    log.setLevel(logging.DEBUG)
    try:
        _acknowledged(body)
        puts = counted.requests["POST"]
        _process_all(queue)
        counted.requests["GET"] -= 1  # the SDK requests one more page after an empty one: a poll
    finally:
        log.setLevel(level)
        log.removeHandler(counted)
    left = queue.get_queue_properties().approximate_message_count
    if left:
        raise AssertionError(f"{left} messages are left")
    total = counted.requests.total()
    kilobytes = len(body) // 1024
    return [
        at_most(f"Queue puts for {ITEMS} notifications ({kilobytes} KB)", puts, MOST_PUTS, str(puts)),
        at_most(
            "Storage requests from the POST to the end of processing",
            total,
            MOST_REQUESTS,
            f"{total} ({', '.join(f'{count} {method}' for method, count in sorted(counted.requests.items()))})",
        ),
    ]


def _acknowledged(body: bytes) -> None:
    answer = function("notify_http")(func.HttpRequest("POST", "https://x/api/notifications", body=body))
    if answer.status_code != 202:
        raise AssertionError(answer.status_code)


def _process_all(queue: QueueClient) -> None:
    def process(message: QueueMessage) -> None:
        function("process_queue")(queue_message(message.id, message.content))
        queue.delete_message(message)

    with ThreadPoolExecutor(AT_A_TIME) as invocations:
        list(invocations.map(process, queue.receive_messages(max_messages=AT_A_TIME, messages_per_page=AT_A_TIME)))
