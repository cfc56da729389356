"""Drains the queue of due messages while the queue trigger does not run: the same code, within a timer run."""

import logging
from collections.abc import Callable
from datetime import timedelta

from shared import telemetry
from shared.errors import Undeliverable
from shared.relay import Relay
from shared.storage.queues import Queue, QueuedMessage
from shared.threads import ContextThreadPool

_log = logging.getLogger("graph_relay.renew")

WORK_TIME = timedelta(minutes=2)
"""After this time, no further message begins; the next run continues."""

_VISIBILITY_TIMEOUT = timedelta(minutes=10)
"""The longest duration of an invocation."""

_THREADS = 8


def drain(relay: Relay, handle: Callable[[str], None]) -> int:
    """Handle messages, if some are due and no invocation handles them; return their number. handle: takes a message's
    text.

    Raises RetryLater if storage is unavailable: unfinished messages become visible again.
    """
    queues = relay.storage.queues
    if not relay.activity.is_asleep(queues, relay.storage.claims):
        return 0
    end, count = relay.clock() + WORK_TIME, 0

    def work(message: QueuedMessage) -> int:
        if relay.clock() >= end:
            queues.release(message)
            return 0
        try:
            handle(message.text)
        except Undeliverable:  # this app did not write it: no attempt can read it
            queues.send(message.text, Queue.POISON)
        queues.delete(message)
        return 1

    with ContextThreadPool(_THREADS, thread_name_prefix="drain") as pool:
        while relay.clock() < end and (received := queues.receive(Queue.NOTIFICATIONS, _VISIBILITY_TIMEOUT)):
            count += sum(pool.map(work, received))
    telemetry.WORKED_OFF.add(count)
    _log.error("process_queue did not run although messages were due; renew_timer handled %d of them", count)
    return count
