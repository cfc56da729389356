"""The app that the conformance rows run: each function does one thing, and records that it was called."""

import atexit
import json
import logging
import os
import threading
import time
from contextvars import copy_context
from pathlib import Path

import azure.functions as func

app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)
log = logging.getLogger("conformance")
_record = Path(os.environ["CONFORMANCE_RECORD"])
_lock = threading.Lock()


def record(event: str, **what: object) -> None:
    """Append a line of JSON to the record."""
    line = json.dumps({"event": event, "at": time.time(), "pid": os.getpid(), **what})
    with _lock, _record.open("a") as file:
        file.write(line + "\n")


atexit.register(record, "atexit")


def hold(path: str) -> None:
    """Wait until a file exists."""
    while not Path(path).exists():
        time.sleep(0.05)


@app.function_name("echo")
@app.route("echo", methods=["GET", "POST"])
def echo(req: func.HttpRequest) -> func.HttpResponse:
    """Answer what the request holds."""
    received = {
        "params": dict(req.params),
        "body": len(req.get_body()),
        "transfer-encoding": req.headers.get("transfer-encoding", ""),
        "pid": os.getpid(),
        "python": os.environ.get("CONFORMANCE_PYTHON", ""),
    }
    return func.HttpResponse(json.dumps(received), mimetype="application/json")


@app.function_name("text")
@app.route("text", methods=["POST"])
def text(req: func.HttpRequest) -> func.HttpResponse:
    """Answer a parameter as plain text."""
    return func.HttpResponse(req.params.get("text", ""), mimetype="text/plain")


@app.function_name("nothing")
@app.route("nothing", methods=["POST"])
def nothing(req: func.HttpRequest) -> func.HttpResponse:
    """Answer 202, and do nothing else."""
    return func.HttpResponse(status_code=202)


@app.function_name("fail")
@app.route("fail", methods=["POST"])
def fail(req: func.HttpRequest) -> func.HttpResponse:
    """Raise."""
    raise ValueError("the message of the exception")


@app.function_name("slow")
@app.route("slow", methods=["POST"])
def slow(req: func.HttpRequest) -> func.HttpResponse:
    """Run for the seconds that a parameter names, or until a file exists."""
    until = req.params.get("until", "")
    record("slow begins", text=until)
    if until:
        hold(until)
    else:
        time.sleep(float(req.params["seconds"]))
    record("slow ends", text=until)
    return func.HttpResponse("slept")


@app.function_name("die")
@app.route("die", methods=["POST"])
def die(req: func.HttpRequest) -> func.HttpResponse:
    """End the worker process, as a crash would."""
    os._exit(3)


@app.function_name("speak")
@app.route("speak", methods=["POST"])
def speak(req: func.HttpRequest) -> func.HttpResponse:
    """Log from the function, from a thread with its context and from a thread without, as libraries do, and print."""
    log.warning("said by the function")
    logging.getLogger("azure.core.pipeline.policies").info("said by a library")
    context = copy_context()
    threads = [
        threading.Thread(target=context.run, args=(log.warning, "said with the context")),
        threading.Thread(target=log.warning, args=("said without the context",)),
    ]
    for thread in threads:
        thread.start()
        thread.join()
    print("printed", flush=True)
    return func.HttpResponse("spoken")


@app.function_name("work")
@app.queue_trigger(arg_name="message", queue_name="%CONFORMANCE_QUEUE%", connection="AzureWebJobsStorage")
def work(message: func.QueueMessage) -> None:
    """Follow a message: `fail …`, `sleep SECONDS …`, `hold FILE …`, `die …` at its first attempt; else do nothing."""
    said = message.get_body().decode()
    record("begin", text=said, count=message.dequeue_count)
    command, *arguments = said.split() or [""]
    if command == "die" and message.dequeue_count == 1:
        os._exit(3)
    if command == "sleep":
        time.sleep(float(arguments[0]))
    if command == "hold":
        hold(arguments[0])
    if command == "fail":
        raise ValueError("asked to fail")
    record("end", text=said)


@app.function_name("tick")
@app.timer_trigger(arg_name="timer", schedule="%CONFORMANCE_SCHEDULE%", use_monitor=True)
def tick(timer: func.TimerRequest) -> None:
    """Record each run, and whether it was late."""
    record("tick", past_due=timer.past_due)


@app.function_name("schedule_both_days")
@app.timer_trigger(arg_name="timer", schedule="%SCHEDULE_BOTH_DAYS%", use_monitor=False)
def schedule_both_days(timer: func.TimerRequest) -> None:
    """Record each run."""
    record("both days")


@app.function_name("schedule_one_day")
@app.timer_trigger(arg_name="timer", schedule="%SCHEDULE_ONE_DAY%", use_monitor=False)
def schedule_one_day(timer: func.TimerRequest) -> None:
    """Record each run."""
    record("one day")


@app.function_name("schedule_backwards")
@app.timer_trigger(arg_name="timer", schedule="%SCHEDULE_BACKWARDS%", use_monitor=False)
def schedule_backwards(timer: func.TimerRequest) -> None:
    """Record each run."""
    record("backwards")


@app.function_name("schedule_february")
@app.timer_trigger(arg_name="timer", schedule="%SCHEDULE_FEBRUARY%", use_monitor=False)
def schedule_february(timer: func.TimerRequest) -> None:
    """Record each run."""
    record("february")


@app.function_name("schedule_tab")
@app.timer_trigger(arg_name="timer", schedule="%SCHEDULE_TAB%", use_monitor=False)
def schedule_tab(timer: func.TimerRequest) -> None:
    """Record each run."""
    record("tab")
