"""The host's constant delays; tests shorten them."""

from collections.abc import Mapping
from dataclasses import dataclass

from local.host.configuration import ConfigurationError

LEASE_SETTING = "LOCAL_HOST_LEASE_SECONDS"
HASTE_SETTING = "LOCAL_HOST_HASTE"
LEASE = 600  # seconds that a message in progress is hidden


@dataclass(frozen=True)
class Waits:
    """The host's constants, in seconds; all but `lease` are divided by LOCAL_HOST_HASTE.

    lease: how long a message in progress is hidden. retries: between the attempts of a storage request.
    start: how long storage may be unavailable at start. stop: the time for running functions when the host ends.
    """

    lease: int = LEASE
    retries: tuple[float, ...] = (0.8, 1.6, 3.2, 6.4, 12.8)
    start: float = 35
    stop: float = 10


def waits(settings: Mapping[str, str]) -> Waits:
    """Return the constants, shortened as the settings say.

    Raises:
        ConfigurationError: a setting is not a positive number.
    """
    lease, haste = _positive(LEASE_SETTING, settings, LEASE), _positive(HASTE_SETTING, settings, 1)
    constant = Waits()
    return Waits(
        max(round(lease), 1),
        tuple(delay / haste for delay in constant.retries),
        constant.start / haste,
        constant.stop / haste,
    )


def _positive(name: str, settings: Mapping[str, str], default: float) -> float:
    try:
        value = float(settings.get(name) or default)
    except ValueError:
        value = 0
    if not value > 0:
        raise ConfigurationError(f"{name}: expected a number greater than 0")
    return value
