"""The result of a benchmark."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """A measurement in words, and whether it is within its limit; `holds` is None without a limit.

    share: of the limit, as a number; more than 1 exceeds it.
    """

    name: str
    measured: str
    limit: str = ""
    holds: bool | None = None
    share: float | None = None


def at_most(name: str, value: float, limit: float, measured: str, unit: str = "") -> Figure:
    """Return the figure of a value with an upper limit; `measured` has both in words."""
    return Figure(name, measured, f"≤ {limit:g}{unit}", value <= limit, value / limit)


def at_least(name: str, value: float, limit: float, measured: str, unit: str = "") -> Figure:
    """Return the figure of a value with a lower limit; `measured` has both in words."""
    return Figure(name, measured, f"≥ {limit:g}{unit}", value >= limit, limit / value if value else float("inf"))


def percentile(values: list[float], share: float) -> float:
    """Return the value below which a share of the values lies."""
    return sorted(values)[min(int(len(values) * share), len(values) - 1)]
