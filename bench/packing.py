"""Packing: what a POST of 40 notifications costs in storage requests, from the POST to the end of processing."""

import logging
import re
from collections import Counter

import azure.functions as func
from azure.storage.queue import QueueClient

from bench.bystander import Bystander, function, queue_message
from bench.figure import Figure, at_most
from local.azurite import ACCOUNT
from shared.relay import storage as storage_clients

MOST_PUTS = 4
MOST_REQUESTS = 12
ITEMS, SIZE = 40, 5000
AT_A_TIME = 16


class _Counted(logging.Handler):
    """Counts the requests that the HTTP library says it makes, by method: to queues, to blobs and to the table of
    states, not to those of the ledger.
    """

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.requests: Counter[str] = Counter()

    def emit(self, record: logging.LogRecord) -> None:
        request = re.search(rf'"([A-Z]+) /{ACCOUNT}/(notifications|relay\w+state)', record.getMessage())
        if request:
            self.requests[request[1]] += 1


def packing(around: Bystander) -> list[Figure]:
    """The host's own requests are made here as it makes them: take up to 16, run, delete each."""
    storage_clients().acknowledging.create_missing()
    queue = QueueClient.from_connection_string(around.settings["AzureWebJobsStorage"], "notifications")
    queue.clear_messages()
    body = around.collection(ITEMS, SIZE)
    log, counted = logging.getLogger("urllib3.connectionpool"), _Counted()
    log.addHandler(counted)
    level = log.level
    log.setLevel(logging.DEBUG)
    try:
        answer = function("notify_http")(func.HttpRequest("POST", "https://x/api/notifications", body=body))
        puts = counted.requests["POST"]
        taken = list(queue.receive_messages(max_messages=AT_A_TIME, messages_per_page=AT_A_TIME))
        counted.requests["GET"] = 1  # the SDK asks once more for a page that is empty: a poll
        for message in taken:
            function("process_queue")(queue_message(message.id, message.content))
            queue.delete_message(message)
    finally:
        log.setLevel(level)
        log.removeHandler(counted)
    left = queue.get_queue_properties().approximate_message_count
    total = counted.requests.total()
    if answer.status_code != 202 or left:
        raise AssertionError(f"answered {answer.status_code}, {left} messages are left")
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
