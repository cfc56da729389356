"""The monthly cost of Graph Relay: for three sizes of tenant, in each profile of infra/main.bicep.

Computed from operation counts of the code, assumed sizes and times, and prices with their sources. Prices change and
differ by region: pass your own with --price NAME=VALUE. `make bench ARGS=packing` measures the counts again.
"""

import argparse
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

HOURS = 730
"""Hours in a month."""

WORKING_SECONDS = 22 * 8 * 3_600
"""Working seconds in a month, when people write."""

INFRA = Path(__file__).parents[1] / "infra"


@dataclass(frozen=True)
class Price:
    """US dollars for one unit, Microsoft's page that states it, and where it was seen, with region and date.

    `by`: the source. "Microsoft": a page of Microsoft; "price API": an answer of Microsoft's Retail Prices API, quoted
    in a public repository; "quoted": Microsoft's price page, quoted by others; "computed": from another price here.
    """

    dollars: float
    unit: str
    source: str
    seen: str
    by: str


_FUNCTIONS = "https://azure.microsoft.com/pricing/details/functions/"
_MONITOR = "https://azure.microsoft.com/pricing/details/monitor/"
_STORAGE = "https://azure.microsoft.com/pricing/details/storage/"
_GATEWAY = "https://azure.microsoft.com/pricing/details/application-gateway/"
_PLANS = "https://azure.microsoft.com/pricing/details/app-service/linux/"
_DATA = "https://azure.microsoft.com/pricing/details/bandwidth/"
_AUGUST = "East US, 4 August 2026"
_GATEWAY_SEEN = "azure-docs, *Understanding pricing* of Application Gateway, East US, 3 October 2022"

PRICES = {
    "queue": Price(0.0040, "10,000 queue operations, class 1", _STORAGE, "Australia East, 2026", "price API"),
    "table": Price(0.00036, "10,000 table operations", _STORAGE, "Southeast Asia, 2026", "price API"),
    "execution": Price(0.40, "a million executions, Flex Consumption", _FUNCTIONS, "July 2026", "quoted"),
    "gb_second": Price(0.000026, "GB-second on demand, Flex", _FUNCTIONS, "July 2026; East US, 22 May 2025", "quoted"),
    "ready_gb_second": Price(
        0.000004, "GB-second of an instance that is always ready", _FUNCTIONS, "East US 2, 3 April 2026", "price API"
    ),
    "ready_active_gb_second": Price(
        0.000016,
        "GB-second in which such an instance works",
        _FUNCTIONS,
        "as €0.0000149 beside €0.0000038 for standing ready, no date",
        "quoted",
    ),
    "plan_hour": Price(0.0775, "hour of a P0v3, Linux", _PLANS, f"{_AUGUST}; East US 2, 3 April 2026", "price API"),
    "large_plan_hour": Price(
        0.31, "hour of a P2v3, Linux", _PLANS, "four times `plan_hour`: each size doubles", "computed"
    ),
    "log_gb": Price(2.30, "GB taken in by Log Analytics", _MONITOR, _AUGUST, "price API"),
    "log_alert": Price(1.50, "log alert that asks every five minutes, a month", _MONITOR, _AUGUST, "price API"),
    "metric_alert": Price(0.10, "metric watched by an alert, a month", _MONITOR, _AUGUST, "price API"),
    "gateway_hour": Price(0.443, "hour of an Application Gateway WAF v2", _GATEWAY, _GATEWAY_SEEN, "Microsoft"),
    "gateway_unit_hour": Price(0.0144, "hour of one of its capacity units", _GATEWAY, _GATEWAY_SEEN, "Microsoft"),
    "outbound_gb": Price(0.087, "GB to the internet beyond the first 100", _DATA, "zone 1, July 2026", "quoted"),
}


@dataclass(frozen=True)
class Tenant:
    """The amount of writing. Notifications: creations, edits and deletions alike.

    `per_post`: notifications per POST of Graph: it packs more of them at a higher rate. Assumed, like the rest.
    """

    people: int
    per_post: int
    messages_a_day: int = 30
    notifications_a_message: float = 1.3
    working_days: int = 22

    @property
    def notifications(self) -> float:
        """A month."""
        return self.people * self.messages_a_day * self.working_days * self.notifications_a_message


TENANTS = (Tenant(50, 1), Tenant(5_000, 4), Tenant(100_000, 20))


@dataclass(frozen=True)
class Profile:
    """A way to deploy: a profile of infra/main.bicep, and the plan that the app runs on."""

    name: str
    profile: str
    plan: str = "flex"

    @property
    def behind_gateway(self) -> bool:
        """Whether an Application Gateway is in front."""
        return self.profile == "gateway"

    @property
    def ready(self) -> int:
        """Instances that always run: the default of alwaysReady."""
        return 2 if self.behind_gateway else 1


PROFILES = (
    Profile("cheap", "cheap"),
    Profile("middle", "middle"),
    Profile("dedicated", "dedicated", "dedicated"),
    Profile("gateway", "gateway"),
    Profile("gateway, plan dedicated", "gateway", "dedicated"),
)


@dataclass(frozen=True)
class Assumptions:
    """Measured or assumed values of the app.

    Queue requests: 3 for a queue message (put, get, delete). Table requests: the ledger's. Seconds: of one execution.
    Records: spans and log lines of the app; the host writes none for an execution that succeeds (host.json). Each
    record, metric and row of the firewall's log counts as a KB.
    """

    notifications_a_message: float = 10
    queue_requests: float = 3
    table_requests: float = 4
    notify_seconds: float = 0.05
    process_seconds: float = 0.1
    http_concurrency: int = 16
    instance_gb: float = 2
    spans_a_post: float = 1
    spans_a_message: float = 2
    metrics_a_minute: float = 20
    kilobytes_out: float = 3
    gigabytes_a_record: float = 1e-6


REAL = Assumptions()
SHORTEST = 1.0
"""Seconds: Flex Consumption bills each time of activity as at least this much."""

RESERVED_UNITS = 10
"""Capacity units that are billed for each instance of a gateway's minCapacity, used or not
(https://learn.microsoft.com/azure/application-gateway/understanding-pricing)."""


def month(tenant: Tenant, profile: Profile, prices: Mapping[str, float], app: Assumptions = REAL) -> dict[str, float]:
    """Return the dollars of a month by item."""
    posts = tenant.notifications / tenant.per_post
    messages = posts * math.ceil(tenant.per_post / app.notifications_a_message)
    records = posts * app.spans_a_post + messages * app.spans_a_message
    records += profile.ready * app.metrics_a_minute * HOURS * 60
    records += posts if profile.behind_gateway else 0  # a row of the firewall's log
    gigabytes_out = tenant.notifications * app.kilobytes_out * 1e-6
    units = prices["gateway_hour"] + RESERVED_UNITS * prices["gateway_unit_hour"]
    return {
        "instances": instances(posts, messages, profile, prices, app),
        "queue and tables": messages * app.queue_requests / 10_000 * prices["queue"]
        + messages * app.table_requests / 10_000 * prices["table"],
        "telemetry": records * app.gigabytes_a_record * prices["log_gb"],
        "alerts": alerts(profile.profile, "alerts.json") * prices["log_alert"]
        + 2 * alerts(profile.profile, "metric-alerts.json") * prices["metric_alert"],
        "Application Gateway": units * HOURS if profile.behind_gateway else 0,
        "outbound": max(gigabytes_out - 100, 0) * prices["outbound_gb"],
    }


def instances(posts: float, messages: float, profile: Profile, prices: Mapping[str, float], app: Assumptions) -> float:
    """Return the monthly cost of compute: the plan, or always-ready instances and execution time."""
    work = posts * app.notify_seconds + messages * app.process_seconds
    if profile.plan == "dedicated":
        processors = work / WORKING_SECONDS  # a second of work is less than one of a processor
        name = "large_plan_hour" if processors > 1 else "plan_hour"
        return profile.ready * HOURS * prices[name]
    ready = profile.ready * app.instance_gb * HOURS * 3_600 * prices["ready_gb_second"]
    notify = active_seconds(posts, app.notify_seconds, app.http_concurrency) * app.instance_gb
    process = active_seconds(messages, app.process_seconds, app.http_concurrency) * app.instance_gb
    executions = (posts + messages) / 1e6 * prices["execution"]
    return ready + notify * prices["ready_active_gb_second"] + process * prices["gb_second"] + executions


def active_seconds(executions: float, seconds: float, concurrency: int) -> float:
    """Return the seconds of a month in which instances are active.

    Separate executions are billed as a second each. If they overlap, an instance is active throughout the working hours
    at most, and there are as many instances as the work requires.
    """
    busy = math.ceil(executions * seconds / WORKING_SECONDS / concurrency)
    return min(executions * max(seconds, SHORTEST), busy * WORKING_SECONDS)


def alerts(profile: str, file: str) -> int:
    """Return the number of alerts in a file of infra/ for a profile."""
    return sum(profile in alert["profiles"] for alert in json.loads((INFRA / file).read_text(encoding="utf-8")))


def totals(prices: Mapping[str, float]) -> list[str]:
    """Return the rows of docs/costs.md: dollars a month for each profile and size of tenant."""
    return [
        f"| {profile.name} | "
        + " | ".join(f"${sum(month(tenant, profile, prices).values()):,.0f}" for tenant in TENANTS)
        + " |"
        for profile in PROFILES
    ]


def sources() -> list[str]:
    """Return the rows of docs/costs.md with the sources of prices."""
    return [
        f"| `{name}` | {price.dollars:f}".rstrip("0").rstrip(".")
        + f" | {price.unit} | [price page]({price.source}) | {price.seen} | {price.by} |"
        for name, price in PRICES.items()
    ]


def main() -> None:
    """Print the parts of each total."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--price", action="append", default=[], metavar="NAME=VALUE", help=", ".join(PRICES))
    given = dict(assignment.split("=", 1) for assignment in parser.parse_args().price)
    if unknown := given.keys() - PRICES:
        parser.error(f"--price: expected one of {', '.join(PRICES)}, not {', '.join(sorted(unknown))}")
    prices = {name: float(given.get(name, price.dollars)) for name, price in PRICES.items()}
    for profile in PROFILES:
        _show(profile, prices)


def _show(profile: Profile, prices: Mapping[str, float]) -> None:
    columns = [month(tenant, profile, prices) for tenant in TENANTS]
    print(f"{profile.name:26}" + "".join(f"{f'{tenant.people:,} people':>16}" for tenant in TENANTS))
    for what in columns[0]:
        _row(what, [column[what] for column in columns])
    _row("together", [sum(column.values()) for column in columns])
    print()


def _row(what: str, dollars: Sequence[float]) -> None:
    print(f"  {what:24}" + "".join(f"{amount:16.2f}" for amount in dollars))


if __name__ == "__main__":
    main()
