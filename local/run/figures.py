"""The figures of a running system, read from each part, as a table or as a line."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

from azure.core.exceptions import AzureError
from rich.table import Table

from local.run.system import System

Percentiles = dict[str, float]


@dataclass(frozen=True)
class Figures:
    """Counts since the start; times in milliseconds, as percentiles `p50` and `p99`. `queued` None: not known."""

    written: int
    posted: int
    acknowledged: int
    pending: int
    generating: bool
    acknowledge_ms: Percentiles
    queued: int | None
    delivered: int
    duplicates: int
    messages: int
    lag_ms: Percentiles
    refused: dict[str, int]
    retried: dict[str, int]
    dead_lettered: dict[str, int]

    @classmethod
    def of(cls, system: System) -> "Figures":
        """Read the figures of each part of `system`."""
        graph, feed, counters = system.simulator("summary"), system.feed(), system.metrics()
        return cls(
            written=graph["written"],
            posted=graph["posted"],
            acknowledged=graph["acknowledged"],
            pending=graph["pending"],
            generating=graph["generating"],
            acknowledge_ms=graph["ack_ms"],
            queued=queue_length(system),
            delivered=max(feed["events"], total(counters, "graph_relay.delivered")),
            duplicates=feed["duplicates"],
            messages=feed["messages"],
            lag_ms=feed["lag_ms"],
            refused=by_reason(counters, "graph_relay.refused"),
            retried=by_reason(counters, "graph_relay.retried"),
            dead_lettered=by_reason(counters, "graph_relay.dead_lettered"),
        )

    def rows(self) -> dict[str, str]:
        """Return the figures, by name."""
        return {
            "messages written": str(self.written),
            "notifications posted": f"{self.posted}, waiting {self.pending}",
            "acknowledged": f"{self.acknowledged}, {percentiles(self.acknowledge_ms)}",
            "on the queue": "?" if self.queued is None else plural(self.queued, "queue message"),
            "delivered": self._delivered(),
            "end-to-end lag": percentiles(self.lag_ms),
            "refused": reasons(self.refused),
            "retried": reasons(self.retried),
            "dead letters": reasons(self.dead_lettered),
        }

    def _delivered(self) -> str:
        """Return only the number of messages if another destination has them."""
        events = plural(self.delivered, "event")
        if not self.messages:
            return events
        return f"{events} of {plural(self.messages, 'message')}, {plural(self.duplicates, 'duplicate')}"

    def table(self, title: str) -> Table:
        """Return the figures for a terminal."""
        table = Table(title=title, title_justify="left", show_header=False, min_width=60)
        for name, value in self.rows().items():
            table.add_row(name, value)
        return table

    def line(self) -> str:
        """Return the figures for a log."""
        return " | ".join(f"{name}: {value}" for name, value in self.rows().items())


def plural(count: int, noun: str) -> str:
    """Return `1 message`, `2 messages`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def queue_length(system: System) -> int | None:
    """Return the number of messages in the queue, including hidden ones; None while there is no queue."""
    try:
        return system.queue.get_queue_properties().approximate_message_count
    except AzureError:
        return None


def by_reason(counters: list[dict[str, Any]], name: str) -> dict[str, int]:
    """Add up the values of one counter for each reason."""
    total: Counter[str] = Counter()
    for point in counters:
        if point["name"] == name:
            total[point["attributes"].get("reason", "")] += point["value"]
    return dict(total)


def total(counters: list[dict[str, Any]], name: str) -> int:
    """Add up one counter."""
    return sum(by_reason(counters, name).values())


def reasons(counted: dict[str, int]) -> str:
    """Show counts by reason, the greatest first."""
    return ", ".join(f"{count} {reason}" for reason, count in Counter(counted).most_common()) or "none"


def percentiles(times: Percentiles) -> str:
    """Return the percentiles; there may be no times yet."""
    shown = (f"{name} {times[name]:.0f} ms" for name in ("p50", "p99") if times.get(name) is not None)
    return ", ".join(shown) or "no times yet"
