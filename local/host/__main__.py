"""Run function_app.py of the current directory: `python -m local.host --port N [--certificate PEM --key PEM]`."""

import argparse
import os
import sys
from pathlib import Path

from local.host.configuration import ConfigurationError, app_settings, host_options
from local.host.log import configure, root_level
from local.host.worker import SOCKET_OPTION


def main() -> None:
    """Serve until SIGTERM or Ctrl-C, then let running functions finish, within limits. Or run as one of the workers."""
    parser = argparse.ArgumentParser(prog="python -m local.host", description=__doc__)
    parser.add_argument("--port", type=int, default=7071, help="port of 127.0.0.1 (7071)")
    parser.add_argument("--certificate", type=Path, help="PEM file with the chain; HTTPS instead of HTTP")
    parser.add_argument("--key", type=Path, help="PEM file with the certificate's private key")
    parser.add_argument(SOCKET_OPTION, type=int, dest="socket", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if (arguments.certificate is None) != (arguments.key is None):
        parser.error("--certificate and --key: expected both or neither")
    try:
        os.environ.update(app_settings(Path.cwd(), os.environ))
        options = host_options(Path("host.json"), os.environ)
    except ConfigurationError as error:
        sys.exit(str(error))
    # Each branch imports only what it needs, which halves the time of a start.
    if arguments.socket is not None:
        from local.host import worker_process  # noqa: PLC0415

        worker_process.serve(arguments.socket, root_level(options.log_levels))
    else:
        from local.host import serving  # noqa: PLC0415

        configure(options.log_levels)
        serving.serve(options, arguments.port, arguments.certificate, arguments.key)


if __name__ == "__main__":
    main()
