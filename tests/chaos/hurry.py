"""The app with its waits shortened, so that hours pass in minutes.

Only durations change: schedules keep their shape, and the app skips no step.
"""

from datetime import timedelta
from types import ModuleType

from process_queue import hydration, lifecycle, readback
from shared import circuit_breaker
from shared.delivery import destination, dispatcher
from shared.graph import client, resolver, signing_keys
from shared.keys import ring
from shared.messages import retry
from shared.readback import delta, pings, sweep
from shared.subscriptions import single_flight

HURRY_SETTING = "CHAOS_HURRY"
SHORTEST_READ = 3.0  # seconds, the shortest time limit of the destination: a busy machine needs some

WAITS: tuple[tuple[ModuleType, tuple[str, ...]], ...] = (
    (circuit_breaker, ("FIRST_PAUSE", "LONGEST_PAUSE", "LONGEST_DELAY")),
    (client, ("_DEFAULT_RETRY_AFTER",)),
    (delta, ("OVERLAP",)),
    (destination, ("_RETRY_AFTER_GONE", "_GIVEN_UP_AFTER", "_LONGEST_DELAY")),
    (hydration, ("SETTLES_WITHIN", "ASK_AGAIN")),
    (dispatcher, ("_SHORTEST_RETRY", "_LONGEST_RETRY")),
    (lifecycle, ("DEBOUNCE", "UNKNOWN_FOR")),
    (single_flight, ("REPEATS_REFUSAL_FOR",)),
    (pings, ("SETTLING_TIME", "APART", "OVERLAP")),
    (readback, ("_RESTART_AFTER", "SETTLES_WITHIN", "ASK_AGAIN")),
    (resolver, ("_REPEAT_AFTER",)),
    (ring, ("REFRESH_INTERVAL",)),
    (signing_keys, ("MIN_REFETCH_INTERVAL", "RETRY_INTERVAL")),
    (sweep, ("OVERLAP", "SETTLING_TIME", "HURRY_INTERVAL")),
)
"""The app's waits, by the names in the modules that use them."""


def hurry(factor: float) -> None:
    """Divide every wait of the app by `factor`. Raises AttributeError if a name no longer exists."""
    for module, names in WAITS:
        for name in names:
            wait: timedelta = getattr(module, name)
            setattr(module, name, wait / factor)
    retry.SCHEDULE = tuple(delay / factor for delay in retry.SCHEDULE)
    connect, read = destination._TIME_LIMIT
    destination._TIME_LIMIT = (connect, max(SHORTEST_READ, read / factor))  # type: ignore[assignment]
