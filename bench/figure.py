"""What a benchmark yields."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """A measurement, in words, and whether it holds its limit; `holds` is None for what is only reported."""

    name: str
    measured: str
    limit: str = ""
    holds: bool | None = None


def percentile(values: list[float], share: float) -> float:
    """Return the value below which `share` of `values` lie."""
    return sorted(values)[min(int(len(values) * share), len(values) - 1)]
