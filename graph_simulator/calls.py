"""Counts of the answers of each call of the API, by status."""

from collections import Counter
from typing import Any


class Calls:
    """Counts by method, path template and status."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str, int]] = Counter()

    def note(self, method: str, template: str, status: int) -> None:
        """Count one call."""
        self._counts[method, template, status] += 1

    def listed(self) -> list[dict[str, Any]]:
        """Return the counts as a list of `{"method", "path", "status", "count"}`."""
        return [
            {"method": method, "path": template, "status": status, "count": count}
            for (method, template, status), count in sorted(self._counts.items())
        ]
