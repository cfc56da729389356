"""Works off due messages while the queue trigger sleeps: the same code, within the time of a timer run."""

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
"""After this time no further message is begun: the next run goes on."""

_VISIBILITY_TIMEOUT = timedelta(minutes=10)
"""As long as an invocation may last."""

_THREADS = 8


def work_off(relay: Relay, handle: Callable[[str], None]) -> int:
    """Handle messages, if some are due and nobody works on them; return how many. `handle` takes the text of one.

    Raises RetryLater if storage is unavailable: what is not finished becomes visible again.
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
        except Undeliverable:  # whoever wrote it: no try will read it
            queues.send(message.text, Queue.POISON)
        queues.delete(message)
        return 1

    with ContextThreadPool(_THREADS, thread_name_prefix="work-off") as pool:
        while relay.clock() < end and (received := queues.receive(Queue.NOTIFICATIONS, _VISIBILITY_TIMEOUT)):
            count += sum(pool.map(work, received))
    telemetry.WORKED_OFF.add(count)
    _log.error("process_queue did not run although messages were due; renew_timer handled %d of them", count)
    return count
