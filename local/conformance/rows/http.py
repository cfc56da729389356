"""HTTP: which requests reach a function, which are refused before, and how failures are answered."""

import os
import socket
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http import HTTPStatus

from local.conformance.table import Row
from local.conformance.trial import Trial, TriedHost, eventually, most_at_once, option, plural
from local.host.configuration import PYTHON_SETTING
from local.host.core_tools import app_python

MEGABYTE = 1 << 20
OVERLOAD = 600  # connections
LATEST = 3.0  # seconds: Graph's time limit
SLOW = 0.05  # seconds that a function takes under overload


def exchange(host: TriedHost, request: bytes, *, then_close: bool = False, patience: float = 60) -> bytes:
    """Send bytes and return the answer; b"" if this side closes first."""
    with closing(socket.create_connection(("127.0.0.1", host.port), timeout=patience)) as connection:
        connection.sendall(request)
        if then_close:
            return b""
        answer = b""
        try:
            while b"\r\n\r\n" not in answer and (part := connection.recv(65536)):
                answer += part
        except ConnectionError:
            pass
        return answer


def status_of(answer: bytes) -> str:
    """Return the status of a raw answer."""
    return answer.split(b" ", 2)[1].decode() if answer.startswith(b"HTTP/") else "no answer"


def head(path: str, *headers: str) -> bytes:
    """Return the head of a POST."""
    return "\r\n".join([f"POST {path} HTTP/1.1", "Host: 127.0.0.1", *headers, "", ""]).encode()


def failed(host: TriedHost, function: str, before: int) -> str:
    """Return how many invocations have failed since; waits for at least one."""
    eventually(lambda: host.failures(function) > before, f"a failed invocation of {function}")
    return plural(host.failures(function) - before, "failed invocation")


def _breaks_off(trial: Trial) -> str:
    with trial.shared("plain") as host:
        before = host.failures("text")
        exchange(host, head("/api/text", "Content-Length: 1000") + b"only this", then_close=True)
        return failed(host, "text", before)


def _too_long(trial: Trial) -> str:
    with trial.shared("plain") as host:
        before = host.failures("text")
        answer = exchange(host, head("/api/text", f"Content-Length: {150 * MEGABYTE}"))
        return f"{status_of(answer)}, {failed(host, 'text', before)}"


def _too_slow(trial: Trial) -> str:
    with trial.shared("plain") as host:
        before = host.failures("text")
        answer = exchange(host, head("/api/text", "Content-Length: 1000") + b"a")
        return f"{status_of(answer)}, {failed(host, 'text', before)}"


def _leaves(trial: Trial) -> str:
    with trial.shared("plain") as host:
        before, begun = host.failures("slow"), len(host.events("slow begins"))
        with closing(socket.create_connection(("127.0.0.1", host.port))) as connection:
            connection.sendall(head("/api/slow?seconds=1", "Content-Length: 0"))
            eventually(lambda: len(host.events("slow begins")) > begun, "the function begins")
        return failed(host, "slow", before)


def _chunked(trial: Trial) -> str:
    with trial.shared("plain") as host:
        answer = host.post("/api/echo", content=iter([b"some ", b"bytes"]))
        received = answer.json()
        return f"{answer.status_code}, {received['body']} bytes, Transfer-Encoding: {received['transfer-encoding']}"


def _answer_chunked(trial: Trial) -> str:
    with trial.shared("plain") as host:
        answer = host.post("/api/text?text=token")
        return f"Transfer-Encoding: {answer.headers.get('transfer-encoding', 'none')}"


def _handshake(trial: Trial) -> str:
    with trial.shared("plain") as host:
        answer = host.post("/api/text?text=Validation%3a+Token%3cb%3e%26+%c3%b6")
        return f"{answer.content.decode()} as {answer.headers['content-type']}"


def _homepage(trial: Trial) -> str:
    with trial.shared("plain") as host:
        answer = host.http.get("/")
        return f"{answer.status_code}, {answer.headers.get('content-type', '').partition(';')[0]}"


def _no_homepage(trial: Trial) -> str:
    with trial.shared("informed") as host:
        return str(host.http.get("/").status_code)


def _long_headers(trial: Trial) -> str:
    with trial.shared("plain") as host:
        headers = [f"X-{number}: {'a' * 1024}" for number in range(33)]
        return status_of(exchange(host, head("/api/text", "Content-Length: 0", *headers)))


def _long_address(trial: Trial) -> str:
    with trial.shared("plain") as host:
        return status_of(exchange(host, head(f"/api/text?text={'a' * 8192}", "Content-Length: 0")))


def _not_utf8(trial: Trial) -> str:
    with trial.shared("plain") as host:
        answer = exchange_whole(host, "/api/text?text=%FF%C3%B6%e2%82")
        return answer.decode()


def exchange_whole(host: TriedHost, path: str) -> bytes:
    """Post to a URL exactly as written, and return the body."""
    return host.http.request("POST", host.process.url + path).content


def _twice(trial: Trial) -> str:
    with trial.shared("plain") as host:
        return host.post("/api/text?text=1&text=2").text


def _wrong_method(trial: Trial) -> str:
    with trial.shared("plain") as host:
        return str(host.http.put("/api/text").status_code)


def _unknown(trial: Trial) -> str:
    with trial.shared("plain") as host:
        return str(host.post("/api/nobody").status_code)


def _respelled(trial: Trial) -> str:
    with trial.shared("plain") as host:
        return host.post("/API/Text/?text=reached").text


def _fails(trial: Trial) -> str:
    with trial.shared("plain") as host:
        before = host.failures("fail")
        answer = host.post("/api/fail")
        return f"{answer.status_code}, {len(answer.content)} bytes, {failed(host, 'fail', before)}"


def _message_logged(trial: Trial) -> str:
    with trial.shared("plain") as host:
        before = host.log.count("the message of the exception")
        host.post("/api/fail")
        eventually(lambda: host.log.count("the message of the exception") > before, "the message is logged")
        stack = "and stack" if "function_app.py" in host.log else "without the stack"
        return f"logged with its message {stack}"


def _threads_logged(trial: Trial) -> str:
    with trial.shared("plain") as host:
        host.post("/api/speak")
        eventually(lambda: "said with the context" in host.log, "what a thread says with the context is logged")
        kept = [
            line
            for line in ("by the function", "with the context", "without the context")
            if f"said {line}" in host.log
        ]
        return f"logged: {', '.join(kept)}"


def _library_logged(trial: Trial) -> str:
    with trial.shared("informed") as host:
        host.post("/api/speak")
        eventually(lambda: "said with the context" in host.log, "what the function says next is logged")
        return "logged" if "said by a library" in host.log else "not logged"


def _python(trial: Trial) -> str:
    """Name a custom Python in the setting: a program that sets a mark in its environment."""
    directory = trial.around.directory / "python"
    directory.mkdir()
    named = directory / "python3"
    python = os.environ.get(PYTHON_SETTING) or (app_python() if trial.around.is_func else sys.executable)
    named.write_text(f'#!/bin/sh\nCONFORMANCE_PYTHON=named exec "{python}" "$@"\n')
    named.chmod(0o755)
    with trial.host({PYTHON_SETTING: str(named)}) as host:
        return f"the {host.post('/api/echo').json()['python'] or 'first'} one runs the functions"


def _printed(trial: Trial) -> str:
    with trial.shared("plain") as host:
        host.post("/api/speak")
        eventually(lambda: "said by the function" in host.log, "what the function says is logged")
        return "shown" if "printed" in host.log else "not shown"


def _printed_where_asked(trial: Trial) -> str:
    with trial.shared("informed") as host:
        host.post("/api/speak")
        eventually(lambda: "printed" in host.log, "what was printed is shown")
        return "shown"


def _admin_without_key(trial: Trial) -> str:
    with trial.host(closed=True) as host:
        without = host.http.get("/admin/host/status").status_code
        known = host.http.get("/admin/host/status", headers=host.process.admin_headers).status_code
        return f"without {without}, with {known}"


def _admin_timer(trial: Trial) -> str:
    with trial.shared("plain") as host:
        before = len(host.events("tick"))
        answer = host.post("/admin/functions/tick", json={"input": ""}, headers=host.process.admin_headers)
        eventually(lambda: len(host.events("tick")) > before, "the timer's function runs")
        return f"{answer.status_code}, the function runs"


def _threads(trial: Trial) -> str:
    """Send calls that wait for a file until every thread is busy."""
    with trial.shared("plain") as host:
        file = host.record.with_name("calls-may-end")
        with ThreadPoolExecutor(40) as pool:
            for _ in range(40):
                pool.submit(host.post, f"/api/slow?until={file}")
            try:
                eventually(lambda: len(host.events("slow begins", str(file))) >= 32, "32 are at work")
            finally:
                file.touch()
        most = most_at_once(host.events("slow begins", str(file)), host.events("slow ends", str(file)))
        return f"{most} at once"


def _overload(trial: Trial) -> str:
    throttled = {
        option("extensions", "http", "maxConcurrentRequests"): "32",
        option("extensions", "http", "maxOutstandingRequests"): "64",
    }
    with trial.host(throttled) as host:
        took: list[tuple[str, float]] = []
        ready = threading.Barrier(OVERLOAD)

        def ask() -> None:
            with closing(socket.create_connection(("127.0.0.1", host.port), timeout=60)) as connection:
                ready.wait(60)
                began = time.monotonic()
                connection.sendall(head(f"/api/slow?seconds={SLOW}", "Content-Length: 0"))
                answer = connection.recv(65536)
                took.append((status_of(answer), time.monotonic() - began))

        askers = [threading.Thread(target=ask) for _ in range(OVERLOAD)]
        for asker in askers:
            asker.start()
        for asker in askers:
            asker.join()
        statuses = sorted({status for status, _ in took})
        late = sum(seconds > LATEST for status, seconds in took if status != str(HTTPStatus.TOO_MANY_REQUESTS.value))
        return f"{' or '.join(statuses)}, {late or 'none'} later than {LATEST:.0f} s"


def _malformed_insights(trial: Trial) -> str:
    with trial.host({"APPLICATIONINSIGHTS_CONNECTION_STRING": "nonsense"}, start=False) as host:
        eventually(lambda: status_of(_ask(host)) != "no answer", "something answers")
        deadline, seen = time.monotonic() + 5 / trial.haste, set()
        while time.monotonic() < deadline:
            seen.add(status_of(_ask(host)))
            time.sleep(0.1)
        return f"{' or '.join(sorted(seen))} to everything"


def _ask(host: TriedHost) -> bytes:
    try:
        return exchange(host, head("/api/text?text=x", "Content-Length: 0", "Connection: close"))
    except OSError:
        return b""


def _large(trial: Trial) -> str:
    with trial.shared("plain") as host:
        began = time.monotonic()
        answer = host.post("/api/echo", content=bytes(30 * MEGABYTE))
        took = time.monotonic() - began
        return f"{answer.json()['body'] // MEGABYTE} MB arrive in {took:.1f} s"


def _rate(trial: Trial) -> str:
    with trial.shared("plain") as host:
        began, count = time.monotonic(), 400
        with ThreadPoolExecutor(16) as pool:
            for _ in range(count):
                pool.submit(host.post, "/api/nothing")
        return f"{count / (time.monotonic() - began):,.0f}/s"


ROWS = (
    Row(
        "body-breaks-off", "H1", "the connection closes after 9 of 1,000 body bytes", "1 failed invocation", _breaks_off
    ),
    Row("body-too-long", "H1", "a body of 150 MB is announced", "500, 1 failed invocation", _too_long),
    Row("body-too-slow", "H1", "a body stops after one byte", "500, 1 failed invocation", _too_slow),
    Row("caller-leaves", "H1", "the caller closes while the function runs", "1 failed invocation", _leaves),
    Row("body-chunked", "H5", "a body is sent in chunks", "200, 0 bytes, Transfer-Encoding: chunked", _chunked),
    Row("answer-chunked", "H14", "a function answers text", "Transfer-Encoding: chunked", _answer_chunked),
    Row(
        "handshake",
        "agrees",
        "a parameter is echoed as text",
        "Validation: Token<b>& ö as text/plain; charset=utf-8",
        _handshake,
    ),
    Row("homepage", "H14", "`GET /`", "200, text/html", _homepage, unlike="a short page, not one of 149 KB"),
    Row("homepage-disabled", "H14", "`GET /` with `AzureWebJobsDisableHomepage`", "204", _no_homepage),
    Row("headers-too-long", "H14", "33 KB of headers", "431", _long_headers),
    Row("address-too-long", "H14", "a URL of more than 8 KB", "414", _long_address),
    Row("query-not-utf8", "H14", "`%FF` and an incomplete character in a parameter", "%FFö%e2%82", _not_utf8),
    Row("query-twice", "agrees", "a parameter is given twice", "1,2", _twice),
    Row("wrong-method", "agrees", "a method that the function does not accept", "404", _wrong_method),
    Row("no-route", "agrees", "a path without a function", "404", _unknown),
    Row("path-respelled", "agrees", "a path in another case, with a trailing slash", "reached", _respelled),
    Row("function-fails", "H1", "an HTTP function raises", "500, 0 bytes, 1 failed invocation", _fails),
    Row("failure-logged", "H13", "the log of an exception", "logged with its message and stack", _message_logged),
    Row(
        "log-of-threads",
        "H4",
        "the function and its threads log",
        "logged: by the function, with the context",
        _threads_logged,
    ),
    Row(
        "library-logged",
        "H8",
        "a library logs at INFO with a logger without a level",
        "logged",
        _library_logged,
    ),
    Row(
        "python-named",
        "L5",
        "languageWorkers__python__defaultExecutablePath names a Python",
        "the named one runs the functions",
        _python,
    ),
    Row("printed", "H10", "a function prints; `default` is Warning", "not shown", _printed),
    Row("printed-shown", "H10", "the same; `Host.Function.Console` is Information", "shown", _printed_where_asked),
    Row("admin-key", "H14", "`/admin` without the master key and with it", "without 401, with 200", _admin_without_key),
    Row("admin-timer", "agrees", "a timer's function is run through `/admin`", "202, the function runs", _admin_timer),
    Row("threads", "agrees", "40 calls; PYTHON_THREADPOOL_THREAD_COUNT is 32", "32 at once", _threads),
    Row(
        "overload",
        "H20",
        "600 connections; at most 32 concurrent and 64 outstanding requests",
        "200 or 429, none later than 3 s",
        _overload,
    ),
    Row(
        "insights-malformed",
        "H18",
        "APPLICATIONINSIGHTS_CONNECTION_STRING is malformed",
        "503 to everything",
        _malformed_insights,
    ),
    Row("body-of-30-MB", "H19", "a body of 30 MB", "30 MB arrive in 0.9 s", _large, measured=True),
    Row("rate-of-nothing", "H17", "POSTs to a function that does nothing, 16 at once", "1,100/s", _rate, measured=True),
)
