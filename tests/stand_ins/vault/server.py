"""The vault as an HTTPS server in a thread."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

import uvicorn

from graph_simulator.authority import Authority
from graph_simulator.clock import real_time
from graph_simulator.listener import listening
from graph_simulator.server import GraphServer
from tests.stand_ins.vault.app import Guard, VaultFace
from tests.stand_ins.vault.vault import Vault


@dataclass(frozen=True)
class VaultServer:
    """A vault that runs at `url`."""

    url: str
    vault: Vault
    face: VaultFace


@contextmanager
def running(
    authority: Authority,
    graph: GraphServer,
    takes: timedelta = timedelta(0),
    clock: Callable[[], datetime] = real_time,
) -> Iterator[VaultServer]:
    """Run a vault on a free port for as long as the context lasts.

    It takes the tokens that the simulator's login issues; the login's own address is the resource they are asked
    for, since the simulator knows no other besides Graph.
    """
    guard = Guard(f"{graph.url}/{graph.registration.tenant}", graph.url, graph.simulator.login.caller)
    vault = Vault(clock, takes)
    face = VaultFace(vault, guard)
    with listening(0) as listener:
        config = uvicorn.Config(
            face.application(),
            ssl_certfile=authority.certificate,
            ssl_keyfile=authority.key,
            log_level="critical",
            access_log=False,
            timeout_graceful_shutdown=0,  # idle connections would hold it up
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listener],), name="vault", daemon=True)
        thread.start()
        try:
            yield VaultServer(f"https://127.0.0.1:{listener.getsockname()[1]}", vault, face)
        finally:
            server.should_exit = True
            thread.join()
