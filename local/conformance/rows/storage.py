"""Storage that refuses, fails or is unavailable: which failures the host survives, and which end the host."""

import time
from functools import partial

from local.conformance.proxy import RESET, Operation
from local.conformance.table import Row
from local.conformance.trial import Trial, TriedHost, eventually
from local.ports import answers

SHORT, LONG = 10.0, 40.0  # seconds
AT_ONCE = "the host ends at once"
SIX_TRIES = "the host ends after 6 tries"
GOES_ON = "the host goes on"
SHORTENED = "the same; waits divided by 10 in tests"
MOST_TRIES = 6
TRIES_IN_SHORT = 4  # after 0, 0.8, 2.4 and 5.6 s; the fifth would come after 12

TRIGGERS = {
    Operation.POLL: "nothing",
    Operation.DELETE: "deleted after success",
    Operation.UPDATE: "fail once",
    Operation.POISON: "fail twice",
}
"""The message that makes a listener send each request: a second failure is the last one in the app's host.json."""

ENDS = {
    (Operation.POLL, 403): AT_ONCE,
    (Operation.DELETE, 403): AT_ONCE,
    (Operation.UPDATE, 403): AT_ONCE,
    (Operation.POISON, 403): AT_ONCE,
    (Operation.DELETE, 500): SIX_TRIES,
    (Operation.DELETE, 503): SIX_TRIES,
    (Operation.UPDATE, 500): SIX_TRIES,
    (Operation.UPDATE, 503): SIX_TRIES,
}


def _fault(trial: Trial, operation: Operation, fault: int, seconds: float, expected: str) -> str:
    """Answer one operation with faults for some seconds; describe how the host reacts."""
    if expected == GOES_ON:
        with trial.shared("storage") as host:
            return _suffer(host, operation, fault, seconds, trial.haste)
    with trial.host() as host:
        return _suffer(host, operation, fault, seconds, trial.haste)


def _suffer(host: TriedHost, operation: Operation, fault: int, seconds: float, haste: float) -> str:
    before = host.proxy.tries(operation)

    def tries() -> int:
        return host.proxy.tries(operation) - before

    # A message that the host cannot move to the poison queue stays hidden: no seventh attempt follows.
    enough = MOST_TRIES if operation is Operation.POISON and fault != RESET else MOST_TRIES + 1

    def outlived() -> bool:
        """Whether the host has tried more often than the six times after which it would end."""
        return not host.process.child.running or tries() >= enough

    host.proxy.faults[operation] = fault
    try:
        if operation is not Operation.POLL:
            host.send(f"{TRIGGERS[operation]} {fault} {seconds}")
        eventually(tries, f"the host asks for this: {operation}")
        if seconds >= LONG:
            host.has_ended(seconds / haste)
            eventually(outlived, "the host ends, or goes on for longer than it tries")
        elif fault == RESET and haste > 1:
            # Counts attempts within the time: waiting for less than a second would be a race.
            eventually(lambda: host.has_ended(0) or tries() >= TRIES_IN_SHORT, f"{TRIES_IN_SHORT} tries")
        else:
            host.has_ended(seconds / haste)
    finally:
        del host.proxy.faults[operation]
    if host.process.child.running and host.works():
        return GOES_ON
    return AT_ONCE if tries() == 1 else f"the host ends after {tries()} tries"


def _away(trial: Trial) -> str:
    """Stop listening on the queue's port for as long as the host takes to end."""
    with trial.host() as host:
        if not host.works():
            return "no message is taken"
        with host.proxy.away():
            return "the host ends" if host.has_ended() else GOES_ON


def _away_at_start(trial: Trial) -> str:
    with trial.host(start=False) as host:
        host.process.kill()
        settings = host.process.settings
        text = settings["AzureWebJobsStorage"]
        # Nothing listens on port 9 (discard).
        for service in ("Blob", "Queue", "Table"):
            begin, _, rest = text.partition(f"{service}Endpoint=http://127.0.0.1:")
            text = f"{begin}{service}Endpoint=http://127.0.0.1:9/{rest.partition('/')[2]}"
        settings["AzureWebJobsStorage"] = text
        host.process.launch()
        listened = False
        deadline = time.monotonic() + 120
        while host.process.child.running and time.monotonic() < deadline:
            listened = listened or answers(host.port)
            time.sleep(0.05)
        heard = "something listens" if listened else "nothing listens"
        return f"{heard}, the process {'goes on' if host.process.child.running else 'ends'}"


def _row(operation: Operation, fault: int, seconds: float, ends: str) -> Row:
    what = {RESET: "resets connections"}.get(fault, f"answers {fault}")
    name = f"{operation}-{fault or 'reset'}" + (f"-{seconds:.0f}s" if fault == RESET else "")
    shortened = SHORTENED if ends == SIX_TRIES or (fault == RESET) else ""
    return Row(
        name,
        "H2",
        f"storage {what} for {seconds:.0f} s on {operation}",
        ends,
        partial(_fault, operation=operation, fault=fault, seconds=seconds, expected=ends),
        unlike=shortened,
    )


OPERATIONS = (Operation.POLL, Operation.DELETE, Operation.UPDATE, Operation.POISON)

ROWS = (
    *(
        _row(operation, status, SHORT if status in (403, 404) else LONG, ENDS.get((operation, status), GOES_ON))
        for status in (403, 404, 500, 503)
        for operation in OPERATIONS
    ),
    *(_row(operation, RESET, SHORT, GOES_ON) for operation in OPERATIONS),
    *(_row(operation, RESET, LONG, SIX_TRIES) for operation in OPERATIONS),
    Row(
        "storage-away",
        "H2, L7",
        "the queue endpoint stops listening",
        "the host ends",
        _away,
        unlike=SHORTENED,
    ),
    Row(
        "storage-away-at-start",
        "H2, L7",
        "no storage endpoint listens at start",
        "nothing listens, the process ends",
        _away_at_start,
        unlike=SHORTENED,
    ),
)
