"""Runs the benchmarks and prints a table; ends with 1 if a limit does not hold.

`make bench ARGS="opening packing"` runs some of them.
"""

import sys

from rich.console import Console
from rich.table import Table

from bench.acknowledging import acknowledging
from bench.bystander import bystander
from bench.figure import Figure
from bench.memory import memory
from bench.opening import opening
from bench.packing import packing
from bench.refusing import refusing
from bench.telemetry import telemetry
from bench.timing import timing

BENCHMARKS = {
    "opening": opening,
    "packing": packing,
    "acknowledging": acknowledging,
    "telemetry": telemetry,
    "memory": memory,
    "timing": timing,
    "refusing": refusing,
}
VERDICT = {True: "[green]holds[/]", False: "[red]does not hold[/]", None: ""}


def main(names: list[str]) -> int:
    """Run the benchmarks named, or all."""
    console = Console()
    unknown = set(names) - set(BENCHMARKS)
    if unknown:
        console.print(f"Unknown: {', '.join(sorted(unknown))}. There are: {', '.join(BENCHMARKS)}")
        return 2
    figures: list[Figure] = []
    with bystander() as around:
        for name in names or BENCHMARKS:
            figures += BENCHMARKS[name](around)
    table = Table("what", "measured", "limit", "")
    for figure in figures:
        table.add_row(figure.name, figure.measured, figure.limit, VERDICT[figure.holds])
    console.print(table)
    return int(any(figure.holds is False for figure in figures))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
