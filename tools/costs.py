"""What Graph Relay costs: a million notifications, and a month of standing ready. From measured operation counts,
assumed sizes and times, and assumed prices.

Prices change: pass your own with --price NAME=VALUE. `make bench ARGS=packing` measures the counts anew.
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

MILLION = 1_000_000
HOURS = 730
"""In a month."""

ALERTS = Path(__file__).parents[1] / "infra" / "alerts.json"

PRICES = {
    "queue": 0.0040,  # 10,000 queue operations, class 1
    "table": 0.00036,  # 10,000 table operations
    "execution": 0.40,  # a million executions on demand, Flex Consumption
    "gb_second": 0.000026,  # a GB-second on demand, Flex Consumption
    "ready_gb_second": 0.000004,  # a GB-second of an instance that waits
    "log_gb": 2.30,  # a GB taken in by Log Analytics
    "log_alert": 1.50,  # a log alert that asks every five minutes, a month
    "gateway_hour": 0.443,  # Application Gateway WAF v2, fixed part
    "gateway_unit_hour": 0.0144,  # a capacity unit
}
"""US dollars, assumed: list prices of 2026 for US regions as far as known. Check them against your price sheet."""


@dataclass(frozen=True)
class Load:
    """What was measured, or is assumed, of a million notifications.

    per_post: notifications in a POST of Graph's. Seconds and memory: of an execution, in GB-seconds. Spans and lines of
    the log are counted in the code; that each takes about a KB is assumed.
    """

    per_post: float
    queue_requests_per_post: float = 9
    messages_per_post: float = 4
    table_requests_per_message: float = 3
    notify_gb_seconds: float = 0.05 * 2
    process_gb_seconds: float = 0.1 * 2
    spans_per_post: float = 1
    spans_per_message: float = 2
    lines_per_execution: float = 2
    gb_per_record: float = 1e-6


@dataclass(frozen=True)
class Standing:
    """What a profile keeps ready. Metrics: how many are sent a minute by an instance, at about a KB each, assumed."""

    profile: str
    instances: int
    instance_gb: float = 2
    metrics_per_minute: float = 20
    gb_per_metric: float = 1e-6

    @property
    def alerts(self) -> int:
        """How many alerts of infra/alerts.json it has."""
        return sum(self.profile in alert["profiles"] for alert in json.loads(ALERTS.read_text(encoding="utf-8")))


def costs(load: Load, prices: dict[str, float]) -> dict[str, float]:
    """Return US dollars a million notifications, by what they are paid for."""
    posts = MILLION / load.per_post
    messages = posts * load.messages_per_post
    gb_seconds = posts * load.notify_gb_seconds + messages * load.process_gb_seconds
    spans = posts * load.spans_per_post + messages * load.spans_per_message
    records = spans + (posts + messages) * load.lines_per_execution
    return {
        "queue operations": posts * load.queue_requests_per_post / 10_000 * prices["queue"],
        "table operations (ledger)": messages * load.table_requests_per_message / 10_000 * prices["table"],
        "executions": (posts + messages) / MILLION * prices["execution"],
        "execution time": gb_seconds * prices["gb_second"],
        "traces and logs": records * load.gb_per_record * prices["log_gb"],
    }


def month(standing: Standing, prices: dict[str, float]) -> dict[str, float]:
    """Return US dollars a month, whatever comes, by what they are paid for."""
    ready = standing.instances * standing.instance_gb * HOURS * 3_600
    metrics = standing.instances * standing.metrics_per_minute * HOURS * 60
    gateway = prices["gateway_hour"] + prices["gateway_unit_hour"] if standing.profile == "gateway" else 0
    return {
        "instances always ready": ready * prices["ready_gb_second"],
        "log alerts": standing.alerts * prices["log_alert"],
        "metrics": metrics * standing.gb_per_metric * prices["log_gb"],
        "gateway": gateway * HOURS,
    }


def main() -> None:
    """Print a table for batches of 40 and for single notifications, and one for a month of each profile."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--price", action="append", default=[], metavar="NAME=VALUE", help=", ".join(PRICES))
    given = dict(one.split("=", 1) for one in parser.parse_args().price)
    if unknown := given.keys() - PRICES:
        parser.error(f"--price: expected one of {', '.join(PRICES)}, not {', '.join(sorted(unknown))}")
    prices = PRICES | {name: float(value) for name, value in given.items()}
    single = Load(1, queue_requests_per_post=3, messages_per_post=1)
    _show("A million notifications, 40 a POST", costs(Load(40), prices))
    _show("A million notifications, 1 a POST", costs(single, prices))
    _show("A month, profile cheap", month(Standing("cheap", 1), prices))
    _show("A month, profile gateway", month(Standing("gateway", 2), prices))


def _show(title: str, found: dict[str, float]) -> None:
    print(title)
    for what, dollars in found.items():
        print(f"  {what:28}{dollars:10.2f}")
    print(f"  {'together':28}{sum(found.values()):10.2f}")


if __name__ == "__main__":
    main()
