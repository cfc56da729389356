"""The queue trigger: what a function receives, how many messages at a time, how failures are retried."""

import base64
import time
from datetime import timedelta
from http import HTTPStatus
from itertools import pairwise

from local.conformance.proxy import Operation
from local.conformance.table import Row
from local.conformance.trial import Trial, TriedHost, eventually, most_at_once, option, plural

AWKWARD = '{"a": 1,  "b":"\\u00e9"}\t<ö & "x">'
LINES = ("Executing 'Functions.work'", "Trigger Details:", "Executed 'Functions.work'")


def _verbatim(trial: Trial) -> str:
    with trial.shared("plain") as host:
        host.send(AWKWARD)
        eventually(lambda: host.events("end", AWKWARD), "the text arrives as it was sent")
        return "arrives as it was sent"


def _at_once(trial: Trial) -> str:
    """Have messages wait for a file until a whole batch runs."""
    with trial.shared("plain") as host:
        file = host.record.with_name("messages-may-end")
        texts = [f"hold {file} {number}" for number in range(40)]
        host.proxy.faults[Operation.POLL] = HTTPStatus.NOT_FOUND  # until the whole batch runs
        for text in texts:
            host.send(text)
        del host.proxy.faults[Operation.POLL]
        eventually(lambda: sum(bool(host.events("begin", text)) for text in texts) >= 16, "a batch is at work")
        file.touch()
        eventually(lambda: all(host.events("end", text) for text in texts), "all are worked on")
        begun, ended = ([entry for text in texts for entry in host.events(event, text)] for event in ("begin", "end"))
        most = most_at_once(begun, ended)
        return f"{most} at once" if most > 24 or most < 16 else "16 to 24 at once"


def _poll_delays(trial: Trial) -> str:
    with trial.shared("plain") as host:
        if not host.works():
            return "no message is taken"
        taken = time.monotonic()
        eventually(lambda: len([at for at in host.proxy.times(Operation.POLL) if at > taken]) >= 8, "eight polls")
        polls = [at for at in host.proxy.times(Operation.POLL) if at > taken][:8]
        gaps = [later - earlier for earlier, later in pairwise(polls)]
        shortest = [0.08, 0.16, 0.24, 0.4, 0.72]  # each step up to a fifth shorter: the host adds jitter
        grows = all(gap >= least for gap, least in zip(gaps, shortest, strict=False)) and gaps[-1] >= 0.95
        return "growing from 0.1 s to 1 s in six steps" if grows else f"{[round(gap, 2) for gap in gaps]} s"


def _tries(host: TriedHost, text: str) -> str:
    eventually(host.poison, "the message is in the poison queue")
    return plural(len(host.events("begin", text)), "try").replace("trys", "tries")


def _hidden(trial: Trial) -> str:
    with trial.shared("patient") as host:
        host.send("fail hidden")
        eventually(lambda: len(host.events("begin", "fail hidden")) > 1, "a second try")
        first, second = host.events("begin", "fail hidden")[:2]
        waited = second["at"] - first["at"] > 2  # Azurite counts whole seconds
        return (
            f"delivered again {'after' if waited else 'before'} visibilityTimeout, with dequeueCount {second['count']}"
        )


def _poison(trial: Trial) -> str:
    with trial.host({option("extensions", "queues", "maxDequeueCount"): "3"}) as host:
        host.send("fail always")
        tries = _tries(host, "fail always")
        eventually(lambda: not host.left(), "the message is gone from its queue")
        (message,) = host.poison()
        life = message.expires_on - message.inserted_on if message.expires_on and message.inserted_on else timedelta(0)
        same = "unchanged" if message.content == "fail always" else "altered"
        return f"{tries}, then poison queue, {same}, for {life.days} days"


def _not_base64(trial: Trial) -> str:
    with trial.host({option("extensions", "queues", "messageEncoding"): "base64"}) as host:
        host.send(base64.b64encode(b"encoded").decode())
        host.send("not base64!")
        eventually(lambda: host.events("end", "encoded"), "the encoded one is worked on")
        return f"poison queue after {_tries(host, 'not base64!')}"


def _missing(trial: Trial) -> str:
    with trial.host(queue=False) as host:
        eventually(lambda: len(host.proxy.times(Operation.POLL)) > 2, "it polls")
        host.queue.create_queue()  # which would fail if the host had created the queue
        return "waits until it is created" if host.works() else "no message is taken"


def _lines(trial: Trial) -> str:
    with trial.shared("informed") as host:
        return _lines_of_a_message(host)


def _lines_where_quiet(trial: Trial) -> str:
    levels = {"Function": "Warning", "Function.*.User": "Information"}
    with trial.host({option("logging", "logLevel", name): level for name, level in levels.items()}) as host:
        return _lines_of_a_message(host)


def _lines_of_a_message(host: TriedHost) -> str:
    """Count the log lines of one message, in a host of its own; an HTTP function logs afterwards."""
    host.send("counted")
    eventually(lambda: not host.left(), "the message is worked on")
    host.post("/api/speak")
    eventually(lambda: "said with the context" in host.log, "what comes after it is logged")
    return plural(sum(host.log.count(line) for line in LINES), "line")


def _lease_renewed(trial: Trial) -> str:
    with trial.host() as host:
        host.send("sleep 660 long")
        eventually(lambda: host.events("end", "sleep 660 long"), "it ends", within=800)
        eventually(lambda: not host.left(), "the message is gone")
        return f"delivered {plural(len(host.events('begin', 'sleep 660 long')), 'time')}"


def _rate(trial: Trial) -> str:
    with trial.shared("plain") as host:
        texts, began = [f"counted {number}" for number in range(100)], time.monotonic()
        for text in texts:
            host.send(text)
        eventually(lambda: {event["text"] for event in host.events("end")} >= set(texts), "all are worked on")
        return f"{len(texts) / (time.monotonic() - began):.0f}/s"


ROWS = (
    Row("queue-text", "agrees", "a message that looks like JSON", "arrives as it was sent", _verbatim),
    Row("messages-at-once", "agrees", "40 messages, batchSize 16, newBatchThreshold 8", "16 to 24 at once", _at_once),
    Row(
        "poll-delays",
        "H14",
        "polls of an empty queue, maxPollingInterval one second",
        "growing from 0.1 s to 1 s in six steps",
        _poll_delays,
    ),
    Row(
        "hidden-after-failure",
        "agrees",
        "a message fails",
        "delivered again after visibilityTimeout, with dequeueCount 2",
        _hidden,
    ),
    Row(
        "poison",
        "agrees",
        "a message fails as often as maxDequeueCount (3)",
        "3 tries, then poison queue, unchanged, for 7 days",
        _poison,
    ),
    Row("not-base64", "H14", "messageEncoding base64, text that is not", "poison queue after 0 tries", _not_base64),
    Row("queue-missing", "H2", "there is no queue", "waits until it is created", _missing),
    Row(
        "log-lines",
        "H7",
        "log records per message; `Function` is Information",
        "3 lines",
        _lines,
    ),
    Row(
        "log-lines-quiet",
        "H7",
        "the same; `Function` is Warning, `Function.*.User` is Information",
        "0 lines",
        _lines_where_quiet,
    ),
    Row(
        "lease-renewed",
        "agrees",
        "a function takes eleven minutes",
        "delivered 1 time",
        _lease_renewed,
        long=True,
        unlike="the same; LOCAL_HOST_LEASE_SECONDS shortens the lease for tests",
    ),
    Row("rate-of-messages", "H22", "messages to a function that does nothing", "174/s", _rate, measured=True),
)
