"""What a million notifications cost in storage operations, executions and gateway, from measured operation counts.

Prices change: pass your own with --price NAME=VALUE. `make bench ARGS=packing` measures the counts anew.
"""

import argparse
from dataclasses import dataclass

MILLION = 1_000_000

PRICES = {
    "queue": 0.0040,  # 10,000 queue operations, class 1
    "table": 0.00036,  # 10,000 table operations
    "execution": 0.40,  # a million executions on demand, Flex Consumption
    "gb_second": 0.000026,  # a GB-second on demand, Flex Consumption
    "gateway_hour": 0.443,  # Application Gateway WAF v2, fixed part
    "gateway_unit_hour": 0.0144,  # a capacity unit
}
"""US dollars, list prices of 2026 for US regions as far as known: check them against the price sheet of yours."""


@dataclass(frozen=True)
class Load:
    """What was measured, or is assumed, of a million notifications.

    per_post: notifications in a POST of Graph's. Seconds and memory: of an execution, in GB-seconds.
    """

    per_post: float
    queue_requests_per_post: float = 9
    messages_per_post: float = 4
    table_requests_per_message: float = 3
    notify_gb_seconds: float = 0.05 * 2
    process_gb_seconds: float = 0.1 * 2


def costs(load: Load, prices: dict[str, float]) -> dict[str, float]:
    """Return US dollars a million notifications, by what they are paid for; the gateway's hours come on top."""
    posts = MILLION / load.per_post
    messages = posts * load.messages_per_post
    gb_seconds = posts * load.notify_gb_seconds + messages * load.process_gb_seconds
    return {
        "queue operations": posts * load.queue_requests_per_post / 10_000 * prices["queue"],
        "table operations (ledger)": messages * load.table_requests_per_message / 10_000 * prices["table"],
        "executions": (posts + messages) / MILLION * prices["execution"],
        "execution time": gb_seconds * prices["gb_second"],
    }


def main() -> None:
    """Print a table for batches of 40 and for single notifications."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--price", action="append", default=[], metavar="NAME=VALUE", help=", ".join(PRICES))
    given = dict(one.split("=", 1) for one in parser.parse_args().price)
    prices = PRICES | {name: float(value) for name, value in given.items()}
    loads = {
        "40 a POST": Load(40),
        "1 a POST": Load(1, queue_requests_per_post=3, messages_per_post=1),
    }
    for name, load in loads.items():
        print(f"A million notifications, {name}")
        found = costs(load, prices)
        for what, dollars in found.items():
            print(f"  {what:28}{dollars:10.2f}")
        print(f"  {'together':28}{sum(found.values()):10.2f}")
    print(f"Gateway, a month: {(prices['gateway_hour'] + prices['gateway_unit_hour']) * 730:.2f}")


if __name__ == "__main__":
    main()
