"""The host: an app's functions behind one HTTP server, with their queues polled and their timers kept."""

import asyncio
import logging
import os
import random
import socket
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import azure.functions as func
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from graph_simulator.authority import Authority
from graph_simulator.listener import listening
from local.host import metrics
from local.host.configuration import ConfigurationError, HostOptions, expand, host_options, setting
from local.host.functions import Function, HttpTrigger, QueueTrigger, TimerTrigger, functions_of
from local.host.http import route_for
from local.host.queues import LEASE, QueueListener, storage
from local.host.timers import Timer, next_run
from local.host.worker import Worker, report_failure, thread_count

log = logging.getLogger("local.host")

PATIENCE = 10.0  # seconds that running functions are given when the host is asked to end
LEASE_SETTING = "LOCAL_HOST_LEASE_SECONDS"  # for tests that kill the host: the ten minutes cannot be had otherwise


@dataclass(frozen=True)
class TlsFiles:
    """PEM files with which the host serves HTTPS."""

    certificate: Path
    key: Path


class Host:
    """The functions of `app`, ready to be served; a function that lacks a setting is left out, and it says so."""

    def __init__(self, app: func.FunctionApp, settings: Mapping[str, str], options: HostOptions) -> None:
        metrics.reader()
        self.functions = functions_of(app)
        self.faults: dict[str, str] = {}
        self._settings = settings
        self._options = options
        self._worker = Worker(thread_count(settings))
        self._storage_threads = ThreadPoolExecutor(
            options.queues.batch_size + options.queues.new_batch_threshold + 1, thread_name_prefix="storage"
        )
        self._listeners: list[QueueListener] = []
        self._timers: dict[str, Timer] = {}
        routes = [route for function in self.functions if (route := self._prepare(function))]
        self.asgi = Starlette(
            routes=[*routes, *self._admin()],
            # Where the path is right and the method wrong, the Functions host knows no route either.
            exception_handlers={404: nothing_here, 405: nothing_here},
            lifespan=self._lifespan,
        )
        self.asgi.router.redirect_slashes = False

    def describe(self, base: str) -> Iterator[str]:
        """Yield a line for each function: its name and what triggers it."""
        for function in self.functions:
            yield f"  {function.name}: {self._state_of(function, base)}"

    def _state_of(self, function: Function, base: str) -> str:
        if function.name in self.faults:
            return f"NOT STARTED, {self.faults[function.name]}"
        match function.trigger:
            case HttpTrigger(route, methods):
                return f"{', '.join(methods) or 'any method'} {base}/{self._options.route_prefix}/{route}"
            case QueueTrigger(queue):
                return f"queue {expand(queue, self._settings)}"
            case TimerTrigger(schedule):
                return f"timer {expand(schedule, self._settings)}"

    def _prepare(self, function: Function) -> Route | None:
        try:
            match function.trigger:
                case HttpTrigger() as trigger:
                    return route_for(function, trigger, self._options.route_prefix, self._worker)
                case QueueTrigger(queue, connection):
                    self._listeners.append(self._listener(function, queue, connection))
                case TimerTrigger(schedule, run_on_startup):
                    self._timers[function.name] = self._timer(function, schedule, run_on_startup)
        except ConfigurationError as fault:
            self.faults[function.name] = str(fault)
        return None

    def _listener(self, function: Function, queue: str, connection: str) -> QueueListener:
        account = setting(connection, self._settings, "a storage connection string")
        lease = timedelta(seconds=int(self._settings.get(LEASE_SETTING, LEASE.total_seconds())))
        try:
            clients = storage(account, expand(queue, self._settings), self._storage_threads)
        except ValueError:
            raise ConfigurationError(f"{connection}: expected a storage connection string") from None
        return QueueListener(function, clients, self._options.queues, self._worker, lease=lease, chance=random.Random())

    def _timer(self, function: Function, schedule: str, run_on_startup: bool) -> Timer:
        filled = expand(schedule, self._settings)
        try:
            next_run(filled, now())
        except ConfigurationError:
            raise ConfigurationError(f"{schedule}: expected NCRONTAB of six fields, or hh:mm:ss") from None
        return Timer(function, filled, run_on_startup, self._worker, now)

    def _admin(self) -> list[Route]:
        async def status(_: Request) -> Response:
            return JSONResponse({"state": "Running"})

        async def counters(_: Request) -> Response:
            return JSONResponse(metrics.current())

        async def run_timer(request: Request) -> Response:
            timer = self._timers.get(request.path_params["name"])
            if timer is None:
                return Response(status_code=404)
            timer.run_now()
            return Response(status_code=202)

        return [
            Route("/admin/host/status", status),
            Route("/admin/metrics", counters),
            Route("/admin/functions/{name}", run_timer, methods=["POST"]),
        ]

    @asynccontextmanager
    async def _lifespan(self, _asgi: Starlette) -> AsyncIterator[None]:
        background: list[QueueListener | Timer] = [*self._listeners, *self._timers.values()]
        tasks = [asyncio.create_task(run(each)) for each in background]
        yield
        for each in background:
            each.stop()
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=PATIENCE)
            for task in late:
                task.cancel()
        self._worker.close()
        self._storage_threads.shutdown(wait=False, cancel_futures=True)


async def run(background: QueueListener | Timer) -> None:
    """Run what triggers a function; should that end by a mistake of ours, say so at once."""
    try:
        await background.run()
    except Exception as error:
        report_failure(background.function, error)
        raise


async def nothing_here(_: Request, __: Exception) -> Response:
    """Answer what no function is there for."""
    return Response(status_code=404)


def now() -> datetime:
    """Return the present time, UTC; timers in Azure are kept in UTC too."""
    return datetime.now(UTC)


def server_for(host: Host, tls: TlsFiles | None) -> uvicorn.Server:
    """Return the HTTP server for a host."""
    return uvicorn.Server(
        uvicorn.Config(
            host.asgi,
            http="httptools",
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=130,  # Kestrel's
            # An idle HTTPS connection counts too, until its client says goodbye; functions answer within 3 s.
            timeout_graceful_shutdown=3,
            ssl_certfile=tls.certificate if tls else None,
            ssl_keyfile=tls.key if tls else None,
        )
    )


def address(listening: socket.socket, tls: TlsFiles | None) -> str:
    """Return the URL at which a socket is reached."""
    return f"http{'s' if tls else ''}://127.0.0.1:{listening.getsockname()[1]}"


@contextmanager
def running(
    app: func.FunctionApp,
    settings: Mapping[str, str],
    *,
    host_json: Path,
    port: int = 0,
    authority: Authority | None = None,
) -> Iterator[str]:
    """Serve `app` from a thread of this process and give its URL; `settings` are in the environment meanwhile.

    The metrics are the process's own: a second host in it goes on counting.
    """
    tls = TlsFiles(authority.certificate, authority.key) if authority else None
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        server = server_for(Host(app, dict(os.environ), host_options(host_json)), tls)
        with listening(port) as listener:
            thread = threading.Thread(target=server.run, args=([listener],), name="local-host")
            thread.start()
            try:
                yield address(listener, tls)
            finally:
                server.should_exit = True
                thread.join()
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value
