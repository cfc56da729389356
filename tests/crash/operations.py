"""Counts the requests of a process to its dependencies, and makes one of them fail, or the process die in it."""

import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, TypeVar

import requests
import urllib3

from shared.circuit_breaker import CircuitBreaker
from shared.errors import Reason, RetryLater, TimedOut
from shared.storage.queues import MESSAGE_LIMIT, Queue
from tests.builders import Clock
from tests.in_process import HANGS, InProcess
from tests.memory import NEVER, MemoryAccount, MemoryQueues
from tests.servers import RESET, Script, ScriptedResponse, in_json

T = TypeVar("T")

OUTAGE = timedelta(minutes=20)
"""How long a hanging dependency hangs."""

STORAGE_TIME = timedelta(seconds=80)
"""The duration of an unanswered request to storage, with its retries (BACKGROUND_LIMITS)."""

DIES_BEFORE, DIES_AFTER, HANGING = "dies before", "dies after", "hangs"
DEATHS = (DIES_BEFORE, DIES_AFTER)
STORAGE_FAULTS = (*DEATHS, "unavailable", "unavailable after", HANGING)
KEY_FAULTS = (*DEATHS, "unavailable", HANGING)
ANSWERS: Mapping[str, ScriptedResponse] = {
    "503": ScriptedResponse(503),
    "500": ScriptedResponse(500),
    "429": ScriptedResponse(429, headers={"Retry-After": "30"}),
    "403": in_json({"error": {"code": "Forbidden", "message": "no"}}, 403),
    "reset": RESET,
    "garbage": ScriptedResponse(200, b"<html>\xff"),
    "truncated": ScriptedResponse(200, b'{"value": [', {"Content-Length": "4000"}),
    "no answer": HANGS,
}
HTTP_FAULTS = (*DEATHS, *ANSWERS, "no answer after", HANGING)


class Died(BaseException):
    """The process is dead: none of its code continues."""


@dataclass(frozen=True)
class Window:
    """A fault in the operation of that number, counted from 0."""

    number: int
    fault: str


@dataclass(frozen=True)
class Operation:
    """A completed operation: its name, and the faults that it can have."""

    dependency: str
    name: str
    faults: tuple[str, ...]


class Operations:
    """The operations of one process. `turn` is entered for each of them: see tests.crash.interleaving."""

    def __init__(
        self, clock: Clock, window: Window | None = None, turn: Callable[[], AbstractContextManager[None]] = nullcontext
    ) -> None:
        self.clock = clock
        self.done: list[Operation] = []
        self.is_dead = False
        self._window = window
        self._turn = turn
        self._lock = threading.RLock()
        self._hanging: tuple[str, datetime] | None = None

    def run(self, operation: Operation, do: Callable[[], T], fail: Callable[[str, Callable[[], T]], T]) -> T:
        """Carry out an operation, or make it fail: calls `fail` with the fault and the operation."""
        if threading.current_thread().name == "throttled-writer":  # no result depends on it, and its time varies
            return do()
        with self._turn(), self._lock:
            if self.is_dead:
                raise Died
            fault = self._fault(operation)
            self.done.append(operation)
            if fault is None:
                return do()
            if fault in DEATHS:
                if fault == DIES_AFTER:
                    do()
                self.is_dead = True
                raise Died
            return fail(fault, do)

    def _fault(self, operation: Operation) -> str | None:
        window, hanging = self._window, self._hanging
        if hanging is not None:
            return HANGING if hanging[0] == operation.dependency and self.clock() < hanging[1] else None
        if window is None or window.number != len(self.done) or window.fault not in operation.faults:
            return None
        if window.fault == HANGING:
            self._hanging = operation.dependency, self.clock() + OUTAGE
        return window.fault


class WatchedSession(InProcess):
    """A session for HTTP services, with each request as an operation."""

    def __init__(self, dependency: str, script: Script, operations: Operations) -> None:
        super().__init__(script, operations.clock)
        self._dependency = dependency
        self._operations = operations

    def send(self, request: requests.PreparedRequest, *arguments: Any, **options: Any) -> requests.Response:
        path = urllib3.util.parse_url(str(request.url)).path or ""
        operation = Operation(self._dependency, f"{request.method} {path}", HTTP_FAULTS)
        answering = super().send

        def do() -> requests.Response:
            return answering(request, *arguments, **options)

        def fail(fault: str, do: Callable[[], requests.Response]) -> requests.Response:
            if fault == "no answer after":
                do()
            answer = ANSWERS.get(fault, HANGS)
            if self._dependency == "destination" and fault in ("garbage", "truncated"):
                answer = replace(answer, status=do().status_code)  # only its status is read
            return self._instead(answer, do)

        return self._operations.run(operation, do, fail)

    def _instead(self, answer: ScriptedResponse, do: Callable[[], requests.Response]) -> requests.Response:
        script: Script = self.script
        self.script = lambda _: answer
        try:
            return do()
        finally:
            self.script = script


class _Watched:
    """A dependency whose named methods are operations."""

    def __init__(self, target: object, dependency: str, methods: frozenset[str], operations: Operations) -> None:
        self._target = target
        self._dependency = dependency
        self._methods = methods
        self._operations = operations

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._target, name)
        if name not in self._methods:
            return method

        def call(*arguments: Any, **options: Any) -> Any:
            operation = Operation(self._dependency, name, self._faults)
            return self._operations.run(operation, lambda: self._do(method, *arguments, **options), self._fail)

        return call

    _faults: tuple[str, ...] = STORAGE_FAULTS

    def _do(self, method: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        result = method(*arguments, **options)
        return iter(list(result)) if hasattr(result, "__next__") else result

    def _fail(self, fault: str, do: Callable[[], Any]) -> Any:
        if fault == "unavailable after":
            do()
        if fault == HANGING:
            self._operations.clock.now += STORAGE_TIME
            raise TimedOut(Reason.STORAGE, f"{self._dependency} hangs")
        raise RetryLater(Reason.STORAGE, f"{self._dependency} is unavailable")


_TABLES = frozenset({"get", "put", "put_all", "remove", "partition", "rows", "names", "drop"})
_CLAIMS = frozenset({"check_in", "open", "delete", "create_missing"})
_QUEUES = frozenset({"receive", "peek", "release", "delete", "length", "create_missing", "enqueue"})
_KEYS = frozenset({"ids", "get", "create", "retire"})


class WatchedTables(_Watched):
    """The tables, behind a circuit breaker like the real ones."""

    def __init__(self, account: MemoryAccount, operations: Operations) -> None:
        super().__init__(account.tables, "tables", _TABLES, operations)
        self._breaker = CircuitBreaker(Reason.STORAGE, operations.clock)

    def __getattr__(self, name: str) -> Any:
        method = super().__getattr__(name)

        def call(*arguments: Any, **options: Any) -> Any:
            with self._breaker.attempt():
                return method(*arguments, **options)

        return call if name in self._methods else method


class WatchedClaims(_Watched):
    """The blobs of claim checks."""

    def __init__(self, account: MemoryAccount, operations: Operations) -> None:
        super().__init__(account.claims, "blobs", _CLAIMS, operations)

    def open(self, message: str) -> Any:
        """See ClaimCheck: a message without a claim costs no request."""
        if not message.startswith("claim:"):
            return self._target.open(message)  # type: ignore[attr-defined]
        return self.__getattr__("open")(message)

    def delete(self, opened: Any) -> None:
        """See ClaimCheck: a message without a claim costs no request."""
        if opened.blob is not None:
            self.__getattr__("delete")(opened)

    def withdraw(self, message: str) -> None:
        """See ClaimCheck; it never raises."""
        operation = Operation("blobs", "withdraw", (*DEATHS, HANGING))
        self._operations.run(operation, lambda: self._target.withdraw(message), lambda *_: None)  # type: ignore[attr-defined]


class WatchedQueues(_Watched):
    """The queues; a long text is a blob and a message, as shared/storage/queues.py sends it."""

    def __init__(self, account: MemoryAccount, claims: WatchedClaims, operations: Operations) -> None:
        super().__init__(account.queues, "queues", _QUEUES, operations)
        self._queues: MemoryQueues = account.queues
        self._claims = claims

    def send(self, text: str, queue: Queue = Queue.NOTIFICATIONS, *, delay: timedelta = timedelta(0)) -> None:
        """See Queues."""
        if len(text) <= MESSAGE_LIMIT:
            self._enqueue(text, queue, delay)
            return
        claim = self._claims.check_in(text)
        try:
            self._enqueue(claim, queue, delay)
        except RetryLater:
            self._claims.withdraw(claim)
            raise

    def send_all(self, texts: list[str], *, within: timedelta) -> None:
        """See Queues. Sends one after the other: those enqueued before a failure are any of them."""
        for text in texts:
            self.send(text)

    def _enqueue(self, text: str, queue: Queue, delay: timedelta) -> None:
        self.__getattr__("enqueue")(text, queue, NEVER, delay)


class WatchedKeys(_Watched):
    """A key store."""

    _faults = KEY_FAULTS

    def __init__(self, store: object, operations: Operations) -> None:
        super().__init__(store, "key store", _KEYS, operations)

    def _fail(self, fault: str, do: Callable[[], Any]) -> Any:
        if fault == HANGING:
            self._operations.clock.now += timedelta(seconds=76)
            raise TimedOut(Reason.KEY_STORE, "the key store hangs")
        raise RetryLater(Reason.KEY_STORE, "the key store is unavailable")
