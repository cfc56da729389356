"""`python -m local.feed`: run the feed on a port of this machine."""

import argparse
import os
import sqlite3
from pathlib import Path

from local.feed.backlog import RelayQueue
from local.feed.relay_paths import RelayPaths
from local.feed.server import serve
from local.feed.services import ConnectedServices
from shared.configuration.settings import StorageSettings


def main() -> None:
    """Read the command line and the environment, and serve until interrupted."""
    parser = argparse.ArgumentParser(prog="python -m local.feed", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--database", type=Path, required=True, help="SQLite file; created if it does not exist")
    parser.add_argument("--relay", help="addresses of the functions hosts' metrics, separated by commas")
    parser.add_argument("--simulator", help="address of the Graph simulator, for faults on purpose and for names")
    parser.add_argument("--supervisor", default="", help="what started the feed, if it acts on GET /api/breakages")
    arguments = parser.parse_args()
    storage = os.environ.get("AzureWebJobsStorage")  # noqa: SIM112 - spelled as the Functions host does
    queue = os.environ.get("NOTIFICATION_QUEUE", "notifications")
    try:
        services = ConnectedServices(
            relay=arguments.relay,
            trust=os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("SSL_CERT_FILE"),
            simulator=arguments.simulator,
            queue=RelayQueue(storage, queue) if storage else None,
            paths=RelayPaths(StorageSettings(queue, storage)) if storage else None,
            supervised=bool(arguments.supervisor),
        )
        serve(os.environ.get("DESTINATION_SECRET", ""), arguments.database, arguments.port, services)
    except (ValueError, OSError, sqlite3.OperationalError) as error:
        parser.exit(2, f"{parser.prog}: {error}\n")


if __name__ == "__main__":
    main()
