"""How a host and its worker end, and what remains of their work."""

import time
from concurrent.futures import ThreadPoolExecutor

from local.conformance.rows.storage import SHORTENED
from local.conformance.table import Row
from local.conformance.trial import Trial, TriedHost, eventually, option
from local.ports import answers

GRACE = 10.0  # seconds that a host grants running functions


def _terminated(trial: Trial, seconds: float) -> str:
    """End a host while a message takes some seconds; describe what becomes of the message."""
    work = seconds / trial.haste
    with trial.host() as host:
        text = f"sleep {work} under way"
        host.send(text)
        eventually(lambda: host.events("begin", text), "the work begins")
        with ThreadPoolExecutor(1) as pool:
            stopping = pool.submit(host.process.child.stop, 60)
            # The host closes its listening socket before the work is done.
            eventually(lambda: not answers(host.port), "HTTP is refused")
            refused = "HTTP refuses" if not host.events("end", text) or seconds > GRACE else "HTTP refuses late"
            stopping.result()
        done = host.events("end", text)
        return f"{refused}, {'the function finishes' if done else 'the function is aborted'}, {_message(host)}"


def _message(host: TriedHost) -> str:
    if not host.left():
        return "the message is deleted"
    return "the message can be seen" if host.queue.peek_messages() else "the message stays hidden"


def _atexit(trial: Trial) -> str:
    with trial.host() as host:
        host.works()
        host.process.stop()
        return "runs" if host.events("atexit") else "does not run"


def _killed(trial: Trial) -> str:
    with trial.host() as host:
        host.send("sleep 60 lost")
        eventually(lambda: host.events("begin", "sleep 60 lost"), "the work begins")
        host.process.kill()
        return _message(host)


def _killed_comes_again(trial: Trial) -> str:
    with trial.host() as host:
        host.send("sleep 20 again")
        eventually(lambda: host.events("begin", "sleep 20 again"), "the work begins")
        began = time.monotonic()
        host.process.kill()
        host.process.start()
        eventually(lambda: len(host.events("begin", "sleep 20 again")) > 1, "it comes again", within=700)
        waited = time.monotonic() - began
        return (
            f"delivered again after {'ten minutes' if 580 < waited < 620 else f'{waited:.0f} s'}, with dequeueCount "
            + str(host.events("begin", "sleep 20 again")[1]["count"])
        )


def _worker_dies(trial: Trial) -> str:
    with trial.shared("plain") as host:
        before = host.post("/api/echo").json()["pid"]
        died = host.post("/api/die").status_code
        answer = host.post("/api/echo")
        other = "another process" if answer.json()["pid"] != before else "the same process"
        return f"{died}, then {answer.status_code} from {other}"


def _worker_dies_with_message(trial: Trial) -> str:
    with trial.shared("patient") as host:
        host.send("die once")
        eventually(lambda: host.events("end", "die once"), "it comes again")
        first, second = host.events("begin", "die once")
        waited = second["at"] - first["at"] > 2
        return (
            f"delivered again {'after' if waited else 'before'} visibilityTimeout, with dequeueCount {second['count']}"
        )


def _times_out(trial: Trial) -> str:
    limit = 3
    with trial.host({option("functionTimeout"): f"00:00:0{limit}"}) as host:
        before = host.post("/api/echo").json()["pid"]
        with ThreadPoolExecutor(2) as pool:
            first = pool.submit(host.post, "/api/slow?seconds=30")
            eventually(lambda: host.events("slow begins"), "the first begins")
            time.sleep(1)
            second = pool.submit(host.post, "/api/slow?seconds=30")
            began = time.monotonic()
            first.result()
            second.result()
            own = time.monotonic() - began > limit - 0.5
        after = host.post("/api/echo").json()["pid"]
        restarted = "the worker is restarted" if after != before else "the worker goes on"
        failed = f"{host.failures('slow')} failed invocations"
        return f"{restarted}, {failed}, other invocations hang until {'their own timeouts' if own else 'the restart'}"


def _two_workers(trial: Trial) -> str:
    with trial.host({"FUNCTIONS_WORKER_PROCESS_COUNT": "2"}) as host:
        pids: set[int] = set()

        def both() -> bool:
            pids.add(host.post("/api/echo").json()["pid"])
            return len(pids) > 1

        eventually(both, "two processes answer")
        return f"{len(pids)} processes take turns"


ROWS = (
    Row(
        "sigterm-3s",
        "H15",
        "SIGTERM while a message takes 3 s",
        "HTTP refuses, the function finishes, the message is deleted",
        lambda trial: _terminated(trial, 3),
        unlike=SHORTENED,
    ),
    Row(
        "sigterm-15s",
        "H15",
        "SIGTERM while a message takes 15 s",
        "HTTP refuses, the function is aborted, the message stays hidden",
        lambda trial: _terminated(trial, 15),
        unlike=SHORTENED,
    ),
    Row("atexit", "H3", "an `atexit` handler of the worker, when the host ends", "does not run", _atexit),
    Row("host-killed", "H15", "the host is killed while it processes a message", "the message stays hidden", _killed),
    Row(
        "host-killed-lease",
        "H15",
        "the same, and the host is started again",
        "delivered again after ten minutes, with dequeueCount 2",
        _killed_comes_again,
        long=True,
        unlike="the same; LOCAL_HOST_LEASE_SECONDS shortens the lease for tests",
    ),
    Row(
        "worker-dies", "H16", "the worker process dies in a request", "500, then 200 from another process", _worker_dies
    ),
    Row(
        "worker-dies-at-work",
        "H16",
        "the worker process dies while it processes a message",
        "delivered again after visibilityTimeout, with dequeueCount 2",
        _worker_dies_with_message,
    ),
    Row(
        "time-out",
        "H9",
        "two calls overrun functionTimeout",
        "the worker is restarted, 2 failed invocations, other invocations hang until their own timeouts",
        _times_out,
    ),
    Row("two-workers", "H21", "FUNCTIONS_WORKER_PROCESS_COUNT is 2", "2 processes take turns", _two_workers),
)
