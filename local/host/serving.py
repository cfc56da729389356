"""A host's process, from its start to its end."""

import asyncio
import logging
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from graph_simulator.listener import listening
from local.host.configuration import ConfigurationError, HostOptions
from local.host.server import Host, TlsFiles, address, cannot_start, server_for, unavailable, wait_for_storage
from local.host.storage import HostMustEnd
from local.host.worker import WorkerUnusable, processes


def serve(options: HostOptions, port: int, certificate: Path | None, key: Path | None) -> None:
    """Serve the app of the present directory until a signal, then exit. Code 1: the host could not continue."""
    logging.getLogger("azure").setLevel(logging.WARNING)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    tls = TlsFiles(certificate, key) if certificate and key else None
    try:
        if cannot_start(os.environ):
            with listening(port) as listener:
                server_for(unavailable, tls, lifespan=False).run([listener])
        else:
            wait_for_storage(os.environ)
            asyncio.run(_serve(dict(os.environ), options, port, tls))
    except (ConfigurationError, HostMustEnd, WorkerUnusable) as error:
        print(error, file=sys.stderr, flush=True)
        _leave(1)
    _leave(0)


async def _serve(settings: Mapping[str, str], options: HostOptions, port: int, tls: TlsFiles | None) -> None:
    workers = processes(settings, options.function_timeout)
    functions = await workers.start()
    try:
        host = Host(workers, functions, settings, options)
        server = server_for(host.asgi, tls)
        host.served_by(server)
        with listening(port) as listener:
            print("A local stand-in for the Azure Functions host, for development only. Functions:")
            print(*host.describe(address(listener, tls)), sep="\n", flush=True)
            await server.serve([listener])
        if host.ended_by:
            raise host.ended_by
    finally:
        workers.close()


def _leave(code: int) -> None:
    """Exit at once: a thread that still waits for storage would keep Python from ending."""
    sys.stdout.flush()
    os._exit(code)
