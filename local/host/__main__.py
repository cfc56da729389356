"""Run function_app.py of the present directory: `python -m local.host --port N [--certificate PEM --key PEM]`."""

import argparse
import importlib
import logging
import os
import signal
import sys
from pathlib import Path
from types import FrameType

from graph_simulator.listener import listening
from local.host import metrics
from local.host.configuration import ConfigurationError, app_settings, host_options
from local.host.server import Host, TlsFiles, address, server_for


def main() -> None:
    """Serve until SIGTERM or Ctrl-C, then let what runs come to its end, within bounds."""
    parser = argparse.ArgumentParser(prog="python -m local.host", description=__doc__)
    parser.add_argument("--port", type=int, default=7071, help="port of 127.0.0.1 (7071)")
    parser.add_argument("--certificate", type=Path, help="PEM file with the chain; HTTPS instead of HTTP")
    parser.add_argument("--key", type=Path, help="PEM file with the certificate's private key")
    arguments = parser.parse_args()
    if (arguments.certificate is None) != (arguments.key is None):
        parser.error("--certificate and --key: expected both or neither")
    tls = TlsFiles(arguments.certificate, arguments.key) if arguments.key else None

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("azure").setLevel(logging.WARNING)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    os.environ.update(app_settings(Path.cwd(), os.environ))
    metrics.reader()  # before the app is imported, so that nothing it counts is missed
    app = importlib.import_module("function_app").app
    try:
        host = Host(app, dict(os.environ), host_options(Path("host.json")))
    except ConfigurationError as error:
        sys.exit(str(error))

    with listening(arguments.port) as listener:
        print("A local stand-in for the Azure Functions host, for development only. Functions:")
        print(*host.describe(address(listener, tls)), sep="\n", flush=True)
        signal.signal(signal.SIGTERM, leave)
        signal.signal(signal.SIGINT, leave)
        server_for(host, tls).run([listener])


def leave(_: int, __: FrameType | None) -> None:
    """End the process; the server sends itself the signal again once it has shut down.

    A thread that is still in a function would keep Python from ending, and has had its time.
    """
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
