"""The host: an app's functions behind one HTTP server, with queue listeners and timers."""

import asyncio
import logging
import random
import re
import secrets
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

import uvicorn
from azure.core.exceptions import AzureError, ResourceExistsError
from azure.storage.blob import ContainerClient
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from local.host.configuration import ConfigurationError, HostOptions, expand, is_disabled, setting
from local.host.functions import Function, HttpTrigger, QueueTrigger, TimerTrigger
from local.host.http import BODY_LIMIT, BODY_LIMIT_SETTING, FunctionRoute, Limits, Throttle
from local.host.queues import QueueListener, queues
from local.host.storage import Account, HostMustEnd, client_options, may_pass
from local.host.timers import CONTAINER, HOST_ID_SETTING, Shared, Timer, schedule_of
from local.host.waits import waits
from local.host.worker import Worker

log = logging.getLogger("Host.General")

STORAGE = "AzureWebJobsStorage"
KEY_SETTING = "LOCAL_HOST_KEY"
KEY_HEADER = "x-functions-key"
HOMEPAGE_SETTING = "AzureWebJobsDisableHomepage"
INSIGHTS_SETTING = "APPLICATIONINSIGHTS_CONNECTION_STRING"
INSTRUMENTATION_KEY = re.compile(r"(?i)(^|;)\s*InstrumentationKey=[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\s*(;|$)")
HOMEPAGE = "<!DOCTYPE html><title>Functions host, stand-in</title><p>Your app is up and running."


@dataclass(frozen=True)
class TlsFiles:
    """The PEM files for HTTPS."""

    certificate: Path
    key: Path


class Host:
    """The functions of `worker`, ready to be served. The host leaves out a function that lacks a setting, and logs it.

    Raises:
        ConfigurationError: a setting of the host itself is wrong.
    """

    def __init__(
        self, worker: Worker, functions: Sequence[Function], settings: Mapping[str, str], options: HostOptions
    ) -> None:
        self.functions = [function for function in functions if not is_disabled(function.name, settings)]
        self.faults: dict[str, str] = {}
        self.ended_by: HostMustEnd | None = None
        self._settings = settings
        self._options = options
        self._waits = waits(settings)
        self._worker = worker
        at_once = options.queues.batch_size + options.queues.new_batch_threshold
        self._threads = ThreadPoolExecutor(at_once + 2, thread_name_prefix="storage")
        self._account = Account(self._threads, self._waits.retries)
        self._listeners: list[QueueListener] = []
        self._timers: dict[str, Timer] = {}
        self._server: Server | None = None
        self._deadline = 0.0
        routes = [route for function in self.functions if (route := self._prepare(function))]
        self.asgi = Starlette(
            routes=[*routes, *self._admin(), Route("/", self._homepage)],
            middleware=[Middleware(Limits), Middleware(Throttle, options.http)],
            # Where the path is right and the method wrong, the Functions host knows no route either.
            exception_handlers={404: nothing_here, 405: nothing_here},
            lifespan=self._lifespan,
        )
        self.asgi.router.redirect_slashes = False

    def describe(self, base: str) -> Iterator[str]:
        """Yield a line for each function: its name and its trigger."""
        for function in self.functions:
            yield f"  {function.name}: {self._state_of(function, base)}"

    def served_by(self, server: "Server") -> None:
        """Set the server, which ends with the host, and whose signals end the host."""
        self._server = server
        server.on_exit = self.stop

    def stop(self) -> None:
        """Refuse requests, stop polling and start no further run; running functions get some seconds to finish."""
        self._deadline = self._deadline or time.monotonic() + self._waits.stop
        for listener in self._listeners:
            listener.stop()
        for timer in self._timers.values():
            timer.stop()
        if self._server:
            self._server.should_exit = True

    def _state_of(self, function: Function, base: str) -> str:
        if function.name in self.faults:
            return f"NOT STARTED, {self.faults[function.name]}"
        match function.trigger:
            case HttpTrigger(route, methods):
                return f"{', '.join(methods) or 'any method'} {base}/{self._options.http.route_prefix}/{route}"
            case QueueTrigger(queue):
                return f"queue {expand(queue, self._settings)}"
            case TimerTrigger(schedule):
                return f"timer {expand(schedule, self._settings)}"

    def _prepare(self, function: Function) -> Route | None:
        try:
            match function.trigger:
                case HttpTrigger() as trigger:
                    limit = int(self._settings.get(BODY_LIMIT_SETTING) or BODY_LIMIT)
                    return FunctionRoute(function, trigger, self._options.http.route_prefix, self._worker, limit)
                case QueueTrigger(queue, connection):
                    self._listeners.append(self._listener(function, queue, connection))
                case TimerTrigger() as timer:
                    self._timers[function.name] = self._timer(function, timer)
        except ConfigurationError as fault:
            self.faults[function.name] = str(fault)
        return None

    def _listener(self, function: Function, queue: str, connection: str) -> QueueListener:
        account = setting(connection, self._settings, "a storage connection string")
        try:
            clients = queues(account, expand(queue, self._settings), self._account)
        except ValueError:
            raise ConfigurationError(f"{connection}: expected a storage connection string") from None
        return QueueListener(
            function, clients, self._options.queues, self._worker, lease=self._waits.lease, chance=random.Random()
        )

    def _timer(self, function: Function, trigger: TimerTrigger) -> Timer:
        filled = expand(trigger.schedule, self._settings)
        try:
            schedule = schedule_of(filled)
        except ConfigurationError:
            raise ConfigurationError(f"{trigger.schedule}: expected NCRONTAB of six fields, or hh:mm:ss") from None
        shared = None
        if trigger.use_monitor and (host_id := self._settings.get(HOST_ID_SETTING)):
            container = hosts_container(setting(STORAGE, self._settings, "a storage connection string"))
            shared = Shared.of(function.name, host_id, container, self._account)
        return Timer(function, schedule, trigger.run_on_startup, self._worker, now, shared)

    def _admin(self) -> list[Route]:
        async def status(_: Request) -> Response:
            return JSONResponse({"state": "Running"})

        async def counters(_: Request) -> Response:
            return JSONResponse(await self._worker.metrics())

        async def run_timer(request: Request) -> Response:
            timer = self._timers.get(request.path_params["name"])
            if timer is None:
                return Response(status_code=404)
            timer.run_now()
            return Response(status_code=202)

        return [
            Route("/admin/host/status", self._guarded(status)),
            Route("/admin/metrics", self._guarded(counters)),
            Route("/admin/functions/{name}", self._guarded(run_timer), methods=["POST"]),
        ]

    def _guarded(self, answer: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        """Require the key, if this host has one; `func start` has none, Azure always has."""
        key = self._settings.get(KEY_SETTING, "")

        async def guarded(request: Request) -> Response:
            if key and not secrets.compare_digest(request.headers.get(KEY_HEADER, "").encode(), key.encode()):
                return Response(status_code=401)
            return await answer(request)

        return guarded

    async def _homepage(self, _: Request) -> Response:
        if self._settings.get(HOMEPAGE_SETTING, "").lower() == "true":
            return Response(status_code=204)
        return HTMLResponse(HOMEPAGE)

    @asynccontextmanager
    async def _lifespan(self, _asgi: Starlette) -> AsyncIterator[None]:
        background: list[QueueListener | Timer] = [*self._listeners, *self._timers.values()]
        tasks = [asyncio.create_task(self._run(each)) for each in background]
        yield
        self.stop()
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=max(self._deadline - time.monotonic(), 0))
            for task in late:
                task.cancel()
        self._worker.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _run(self, background: QueueListener | Timer) -> None:
        """Run the triggers of a function. End the host if storage refuses."""
        try:
            await background.run()
        except HostMustEnd as error:
            log.critical("The listener of %s failed: %s. Host is shutting down.", background.function.name, error)
            self.ended_by = error
            self._deadline = time.monotonic()  # nothing waits for running functions
            self.stop()
        except Exception:
            log.exception("The listener of %s failed by a mistake of this stand-in", background.function.name)
            raise


async def nothing_here(_: Request, __: Exception) -> Response:
    """Answer a request that no function handles."""
    return Response(status_code=404)


def now() -> datetime:
    """Return the present time in UTC, in which Azure runs timers too."""
    return datetime.now(UTC)


def hosts_container(connection_string: str) -> ContainerClient:
    """Return the container in which hosts keep their locks.

    Raises:
        ConfigurationError: the connection string is malformed.
    """
    try:
        return ContainerClient.from_connection_string(connection_string, CONTAINER, **client_options())
    except ValueError:
        raise ConfigurationError(f"{STORAGE}: expected a storage connection string") from None


def wait_for_storage(settings: Mapping[str, str]) -> None:
    """Wait until the storage account answers, before listening.

    Raises:
        HostMustEnd: storage refuses, or does not answer for too long.
    """
    if not settings.get(STORAGE):
        return
    patience = waits(settings)
    try:
        container = hosts_container(settings[STORAGE])
    except ConfigurationError:
        return  # functions that need the account are left out, and the log says so
    deadline = time.monotonic() + patience.start
    with container:
        while True:
            try:
                container.create_container()
            except ResourceExistsError:
                pass
            except AzureError as error:
                if not may_pass(error) or time.monotonic() > deadline:
                    raise HostMustEnd(f"{STORAGE}: storage is unavailable ({type(error).__name__})") from error
                log.warning("%s: storage is unavailable (%s)", STORAGE, type(error).__name__)
                time.sleep(patience.retries[0])
                continue
            return


def cannot_start(settings: Mapping[str, str]) -> bool:
    """Whether the host answers every request with 503, without a reason, as it does for this setting."""
    insights = settings.get(INSIGHTS_SETTING, "")
    return bool(insights) and not INSTRUMENTATION_KEY.search(insights)


async def unavailable(scope: dict[str, object], receive: object, send: object) -> None:
    """Answer 503, like a host that fails to start."""
    await Response(status_code=503)(scope, receive, send)  # type: ignore[arg-type]


class Server(uvicorn.Server):
    """An HTTP server that notifies its host as soon as a signal asks it to end, and leaves the end to the host."""

    on_exit: Callable[[], None] | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Start to end."""
        self.should_exit = True
        if self.on_exit:
            self.on_exit()


def server_for(asgi: object, tls: TlsFiles | None, *, lifespan: bool = True) -> Server:
    """Return the HTTP server for an application."""
    return Server(
        uvicorn.Config(
            asgi,  # type: ignore[arg-type]
            http="httptools",
            ws="none",
            lifespan="on" if lifespan else "off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=130,  # Kestrel's
            # An idle HTTPS connection counts too, until its client closes it; functions answer within 3 s.
            timeout_graceful_shutdown=3,
            ssl_certfile=tls.certificate if tls else None,
            ssl_keyfile=tls.key if tls else None,
        )
    )


def address(listening: socket.socket, tls: TlsFiles | None) -> str:
    """Return the URL of a socket."""
    return f"http{'s' if tls else ''}://127.0.0.1:{listening.getsockname()[1]}"
