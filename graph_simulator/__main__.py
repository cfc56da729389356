"""`python -m graph_simulator`: the simulator in a process of its own; with `vectors`, writes test vectors instead."""

import argparse
import asyncio
import os
import sys
from pathlib import Path

import uvicorn

from graph_simulator.app import application
from graph_simulator.authority import Authority
from graph_simulator.listener import listening
from graph_simulator.permissions import Grants, every_permission
from graph_simulator.server import Registration, client_for, config_for, simulator_for
from graph_simulator.vectors.command import main as vectors


def main() -> None:
    """Run the command of the command line."""
    if sys.argv[1:2] == ["vectors"]:
        sys.exit(vectors(sys.argv[2:]))
    simulate()


def simulate() -> None:
    """Run until interrupted; print one line when ready."""
    parser = argparse.ArgumentParser(prog="python -m graph_simulator", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--directory", type=Path, required=True, help="where ca.pem, server.pem and server.key are")
    parser.add_argument("--tenant", required=True, help="GUID of the home tenant")
    parser.add_argument("--client-id", required=True, help="GUID of the registered app")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--grant", help="the application permissions granted, with commas between; without it, all")
    arguments = parser.parse_args()
    secret = os.environ.get("GRAPH_CLIENT_SECRET")
    if not secret:
        sys.exit("GRAPH_CLIENT_SECRET: expected the app's secret in the environment")
    registration = Registration(arguments.tenant, arguments.client_id, secret)
    granted = None if arguments.grant is None else frozenset(filter(None, arguments.grant.split(",")))
    if granted is not None and (unknown := sorted(granted - every_permission())):
        sys.exit(f"--grant: no application permission is known by the name {unknown[0]}")
    authority = Authority.at(arguments.directory)
    asyncio.run(serve(arguments.port, authority, registration, arguments.seed, Grants(granted)))


async def serve(port: int, authority: Authority, registration: Registration, seed: int, grants: Grants) -> None:
    """Serve on a port of this machine until a signal ends it."""
    async with client_for(authority) as client:
        simulator = simulator_for(registration, client, seed)
        simulator.grant(registration.tenant, grants)
        app = application(simulator)
        with listening(port) as listener:
            print(f"Graph simulator on https://127.0.0.1:{listener.getsockname()[1]}", flush=True)
            await uvicorn.Server(config_for(app, authority)).serve([listener])


if __name__ == "__main__":
    main()
