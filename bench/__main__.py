"""Runs the benchmarks and prints a table; ends with 1 if a limit is exceeded.

A complete run writes docs/performance.md. `make bench ARGS="opening packing"` runs some benchmarks; with `--write`, the
page then contains only these. HOST=func measures Core Tools instead of the stand-in, if a benchmark runs a host.
"""

import os
import sys

from rich.console import Console
from rich.table import Table

from bench import report
from bench.acknowledging import acknowledging
from bench.attacked import attacked
from bench.bystander import bystander
from bench.draining import draining
from bench.figure import Figure
from bench.growth import growth
from bench.lag import lag
from bench.memory import memory
from bench.opening import opening
from bench.packing import packing
from bench.processor import processor
from bench.receiving import receiving
from bench.refusing import refusing
from bench.subscriptions import subscriptions
from bench.telemetry import telemetry
from bench.timing import timing
from local.host.core_tools import NoHost, host_class

BENCHMARKS = {
    "opening": opening,
    "packing": packing,
    "processor": processor,
    "acknowledging": acknowledging,
    "draining": draining,
    "lag": lag,
    "growth": growth,
    "telemetry": telemetry,
    "memory": memory,
    "timing": timing,
    "refusing": refusing,
    "attacked": attacked,
    "receiving": receiving,
    "subscriptions": subscriptions,
}
VERDICT = {True: "[green]holds[/]", False: "[red]does not hold[/]", None: ""}


def main(arguments: list[str]) -> int:
    """Run the named benchmarks, or all."""
    console = Console()
    names = [argument for argument in arguments if argument != "--write"]
    unknown = set(names) - set(BENCHMARKS)
    if unknown:
        console.print(f"Unknown: {', '.join(sorted(unknown))}. There are: {', '.join(BENCHMARKS)}")
        return 2
    try:
        host_class(os.environ)
    except NoHost as error:
        console.print(str(error))
        return 2
    figures: list[Figure] = []
    with bystander() as around:
        for name in names or BENCHMARKS:
            figures += BENCHMARKS[name](around)
    table = Table("what", "measured", "limit", "")
    for figure in figures:
        table.add_row(figure.name, figure.measured, figure.limit, VERDICT[figure.holds])
    console.print(table)
    if len(names) < len(arguments) or not names:
        report.write(figures)
    return int(any(figure.holds is False for figure in figures))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
