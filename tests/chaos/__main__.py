"""`python -m tests.chaos --messages N --seed S`: a fault run for each seed, and a table of the accounts."""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from local.child import ChildFailed
from local.host.core_tools import NoHost
from local.run.__main__ import alone_in
from shared.configuration.destinations import DEFAULT
from tests.chaos.run import Outcome, Run, TimeLimitExceeded
from tests.chaos.system import ChaosSettings, ChaosSystem

SHOWN = 40  # complaints

console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)

FIGURES = {
    "messages written": "written",
    "changes": "changes",
    "  never sent by Graph": "dropped",
    "items received": "received",
    "= delivered": "delivered",
    "+ duplicates": "duplicates",
    "+ refused": "refused",
    "+ dead-lettered": "dead_lettered",
    "+ without content": "bare",
    "+ pings": "pings",
    "+ lifecycle items": "lifecycle",
    "+ lost": "lost",
    "read back": "recovered",
    "came to the feed twice": "twice",
    "poisoned": "poisoned",
}

OTHER_FIGURES = {
    name.strip(" =+"): FIGURES[name]
    for name in ("= delivered", "+ dead-lettered", "+ lost", "read back", "came to the feed twice")
}
"""The account of the slow and the dead destination: the other fields are the same for each."""


def main() -> int:
    """Run every seed; return 0 if no run found a fault."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--messages", type=int, default=5_000, help="messages to be written (5000)")
    parser.add_argument("--rate", type=float, default=20, help="messages a second (20)")
    parser.add_argument("--seed", type=int, nargs="+", default=[1], help="one or more seeds, a run each (1)")
    parser.add_argument("--hosts", type=int, default=3, help="functions hosts (3)")
    parser.add_argument("--others", action="store_true", help="also a slow and a dead destination: for small runs")
    parser.add_argument("--directory", type=Path, help="where to keep what the parts said (a temporary one)")
    asked = parser.parse_args()
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory() as temporary:
        for seed in asked.seed:
            directory = (asked.directory or Path(temporary)) / str(seed)
            directory.parent.mkdir(parents=True, exist_ok=True)
            try:
                with (
                    alone_in(directory),
                    ChaosSystem(directory, ChaosSettings(seed, asked.hosts, others=asked.others)) as system,
                ):
                    outcomes.append(Run(system, asked.messages, asked.rate, say).play())
            except NoHost as missing:
                say(str(missing))
                return 2
            except (TimeLimitExceeded, ChildFailed) as failure:
                say(f"seed {seed}: {failure}")
                continue
            console.print(table(outcomes))
            for line in outcomes[-1].wrong[:SHOWN]:
                say(f"  {line}")
    right = [outcome for outcome in outcomes if not outcome.wrong]
    return 0 if len(right) == len(asked.seed) else 1


def say(line: str) -> None:
    """Print progress."""
    console.print(line, markup=False, soft_wrap=True)


def table(outcomes: Sequence[Outcome]) -> Table:
    """Return the accounts, a column for each run."""
    others = sorted(outcomes[0].others)
    made = Table("seed", title="See tests/chaos/account.py for what each line counts", title_justify="left")
    rows: dict[str, list[object]] = {
        "seconds": [round(outcome.seconds) for outcome in outcomes],
        "faults": [outcome.faults.total() for outcome in outcomes],
        "hosts that ended by themselves": [outcome.ended for outcome in outcomes],
        **{name: [getattr(outcome.at_rest, figure) for outcome in outcomes] for name, figure in FIGURES.items()},
        "replayed: delivered": [outcome.replayed.delivered for outcome in outcomes],
        "  dead-lettered": [outcome.replayed.dead_lettered for outcome in outcomes],
        "  superseded": [outcome.replayed.superseded for outcome in outcomes],
        **{
            f"{name}: {label}": [getattr(outcome.others[name][0], figure) for outcome in outcomes]
            for name in others
            for label, figure in OTHER_FIGURES.items()
        },
        **{
            f"{name}: had when the first had all": [outcome.abreast[name] for outcome in outcomes]
            for name in (DEFAULT, *others)
            if others
        },
        "wrong": [len(outcome.wrong) for outcome in outcomes],
    }
    for outcome in outcomes:
        made.add_column(str(outcome.seed), justify="right")
    for name, cells in rows.items():
        made.add_row(name, *map(str, cells))
    return made


if __name__ == "__main__":
    sys.exit(main())
