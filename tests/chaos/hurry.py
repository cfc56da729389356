"""The app's own waits shortened, so that what takes hours passes in minutes.

Only lengths of time are changed: schedules keep their shape, and no step of the app is left out.
"""

from shared import circuit_breaker
from shared.delivery import destination
from shared.graph import client, signing_keys
from shared.keys import ring
from shared.messages import retry
from shared.readback import sweep

HURRY_SETTING = "CHAOS_HURRY"
SHORTEST_READ = 3.0  # seconds that the destination is given at least: on a busy machine it needs some


def hurry(factor: float) -> None:
    """Divide every wait of the app by `factor`."""
    retry.SCHEDULE = tuple(delay / factor for delay in retry.SCHEDULE)
    signing_keys.MIN_REFETCH_INTERVAL /= factor
    signing_keys.RETRY_INTERVAL /= factor
    ring.REFRESH_INTERVAL /= factor
    circuit_breaker.FIRST_PAUSE /= factor
    circuit_breaker.LONGEST_PAUSE /= factor
    sweep.OVERLAP /= factor
    sweep.SETTLING_TIME /= factor
    client._DEFAULT_RETRY_AFTER /= factor
    connect, read = destination._TIME_LIMIT
    destination._TIME_LIMIT = (connect, max(SHORTEST_READ, read / factor))  # type: ignore[assignment]
