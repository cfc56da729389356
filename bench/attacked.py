"""Under attack: the effect of anonymous load with the most expensive bodies on valid POSTs and on the instance."""

from pathlib import Path
from statistics import quantiles
from tempfile import TemporaryDirectory

from bench.bystander import Bystander
from bench.figure import Figure, at_most
from graph_simulator.authority import Authority
from graph_simulator.server import Registration, running
from local.azurite import Azurite
from notify_http.receive import LARGEST_BODY
from tests.builders import CLIENT_ID, TENANT, destination_secret
from tests.security.harness import staged
from tests.security.load import ATTACKERS, attack

POSTS, HONEST = 400, 200
MOST_SECONDS = 1.0
MOST_MEMORY = 1 << 30


def attacked(_: Bystander) -> list[Figure]:
    """Sixteen attackers send bodies of up to eight megabytes, one after the other; Graph sends single items."""
    with TemporaryDirectory() as directory:
        place = Path(directory)
        authority = Authority.create(place)
        with (
            Azurite(place / "azurite") as azurite,
            running(authority, Registration(TENANT, CLIENT_ID, destination_secret())) as graph,
            staged(place, azurite, authority, graph, FUNCTIONS_REQUEST_BODY_SIZE_LIMIT=str(LARGEST_BODY)) as harness,
        ):
            load = attack(harness, POSTS, HONEST)
    p99 = quantiles(load.honest, n=100)[98]
    memory = f"{load.memory >> 20} MB"
    return [
        at_most(f"p99 of an honest POST beside {ATTACKERS} attackers", p99, MOST_SECONDS, f"{p99:.2f} s", " s"),
        at_most("Memory of host and worker meanwhile", load.memory >> 20, MOST_MEMORY >> 20, memory, " MB"),
        Figure("Log bytes for a hostile POST", f"{load.logged / load.hostile:.0f}", "0", load.logged == 0),
    ]
