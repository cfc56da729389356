"""The functions host with the app's own waits shortened, so that what takes hours passes in minutes.

Only lengths of time are changed: schedules keep their shape, and no step of the app is left out.
"""

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from local.host import __main__ as host
from local.host.configuration import HostOptions, host_options
from local.host.process import HostProcess
from shared.delivery import circuit_breaker, destination
from shared.graph import client, signing_keys
from shared.keys import ring
from shared.messages import retry
from shared.readback import sweep

HURRY_SETTING = "CHAOS_HURRY"
SHORTEST_READ = 3.0  # seconds that the destination is given at least: on a busy machine it needs some


class HurriedHost(HostProcess):
    """A host process whose app waits `CHAOS_HURRY` (a setting) times shorter than it would."""

    def _command(self) -> list[str]:
        _, _, _, *arguments = super()._command()
        return [sys.executable, "-m", __name__, *arguments]


def hurry(factor: float) -> None:
    """Divide every wait of the app by `factor`."""
    retry.SCHEDULE = tuple(delay / factor for delay in retry.SCHEDULE)
    signing_keys.LEAST_INTERVAL /= factor
    signing_keys.RETRY_INTERVAL /= factor
    ring.REFRESH_INTERVAL /= factor
    circuit_breaker.FIRST_PAUSE /= factor
    circuit_breaker.LONGEST_PAUSE /= factor
    sweep.OVERLAP /= factor
    sweep.SETTLING /= factor
    client._UNTOLD_WAIT /= factor
    connect, read = destination._TIME_LIMIT
    destination._TIME_LIMIT = (connect, max(SHORTEST_READ, read / factor))  # type: ignore[assignment]


def shortened(options: Callable[[Path], HostOptions], factor: float) -> Callable[[Path], HostOptions]:
    """Return `options` with a message hidden shorter after a failure."""

    def read(file: Path) -> HostOptions:
        found = options(file)
        hidden = max(found.queues.visibility_timeout / factor, timedelta(seconds=1))
        return replace(found, queues=replace(found.queues, visibility_timeout=hidden))

    return read


if __name__ == "__main__":
    times = float(os.environ[HURRY_SETTING])
    hurry(times)
    host.host_options = shortened(host_options, times)  # type: ignore[attr-defined, assignment]
    host.main()
