"""The vault as an HTTPS server in a thread."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from graph_simulator.authority import Authority
from graph_simulator.background import BackgroundServer, in_background
from graph_simulator.clock import real_time
from graph_simulator.listener import listening
from graph_simulator.server import GraphServer, config_for
from tests.stand_ins.vault.app import Guard, VaultApi
from tests.stand_ins.vault.vault import Vault


@dataclass(frozen=True)
class VaultServer:
    """A running vault at `url`."""

    url: str
    vault: Vault
    face: VaultApi


@contextmanager
def running(
    authority: Authority,
    graph: GraphServer,
    takes: timedelta = timedelta(0),
    clock: Callable[[], datetime] = real_time,
) -> Iterator[VaultServer]:
    """Run a vault on a free port for as long as the context lasts.

    It accepts tokens that the simulator's login issues; the login's own URL is the requested resource,
    since the simulator knows no other besides Graph.
    """
    guard = Guard(f"{graph.url}/{graph.registration.tenant}", graph.url, graph.simulator.login.caller)
    vault = Vault(clock, takes)
    face = VaultApi(vault, guard)
    listener = listening(0)
    with in_background(BackgroundServer(config_for(face.application(), authority)), listener):
        yield VaultServer(f"https://127.0.0.1:{listener.getsockname()[1]}", vault, face)
