"""`make soak`: messages at a set rate for some minutes, with rotating faults, and a table of resources."""

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from local.child import ChildFailed
from local.host.core_tools import NoHost
from local.run.__main__ import alone_in
from tests.chaos.__main__ import say
from tests.chaos.faults import FAULTS
from tests.chaos.run import Outcome, Run, TimeLimitExceeded
from tests.chaos.system import ChaosSettings, ChaosSystem
from tests.soak.resources import Held, growth, held_by, leaks

EVERY = 5.0
"""Seconds between two samples."""

ROTATING = [fault for fault in FAULTS if fault.name not in ("host killed", "storage away", "encryption key brought")]
"""The faults without kills, since growth of the processes is measured; each added key stays in memory."""


class Soak(Run):
    """A fault run without kills, which takes samples."""

    def __init__(self, system: ChaosSystem, *arguments: Any, **options: Any) -> None:
        super().__init__(system, *arguments, **options)
        self.samples: list[Held] = []
        self._sampled = 0.0

    def _look(self) -> None:
        super()._look()
        if time.monotonic() - self._sampled >= EVERY:
            self._sampled = time.monotonic()
            self.samples.append(held_by(host.child.pid for host in self._system.hosts))


def main() -> int:
    """Do the run; return 0 if nothing grew, nothing was lost and nothing was wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60, help="how long messages are written (60)")
    parser.add_argument("--rate", type=float, default=20, help="messages a second (20)")
    parser.add_argument("--seed", type=int, default=1, help="of the faults (1)")
    asked = parser.parse_args()
    messages = round(asked.minutes * 60 * asked.rate)
    with tempfile.TemporaryDirectory() as temporary:
        directory = Path(temporary) / "soak"
        try:
            with alone_in(directory), ChaosSystem(directory, ChaosSettings(asked.seed, 1)) as system:
                soak = Soak(system, messages, asked.rate, say, ROTATING)
                outcome = soak.play()
        except (NoHost, TimeLimitExceeded, ChildFailed) as failure:
            say(str(failure))
            return 2
    figures = growth(soak.samples)
    wrong = [*outcome.wrong, *leaks(figures)]
    for line in (*_account(outcome), *_held(figures, len(soak.samples)), *wrong):
        say(line)
    return 1 if wrong else 0


def _account(outcome: Outcome) -> list[str]:
    rest = outcome.at_rest
    ended = f"{rest.delivered} delivered + {rest.duplicates} duplicates + {rest.refused} refused"
    more = f"{rest.dead_lettered} dead letters + {rest.bare} without content + {rest.lifecycle} lifecycle items"
    return [
        f"{outcome.seconds:.0f} s, {outcome.faults.total()} faults, {outcome.ended} hosts ended",
        f"{rest.received} items received = {ended} + {more} + {rest.lost} lost",
    ]


def _held(figures: dict[str, tuple[float, float]], samples: int) -> list[str]:
    rows = [f"| {name} | {before:.0f} | {after:.0f} |" for name, (before, after) in figures.items()]
    return [f"| {samples} samples | settled | end |", "|---|---|---|", *rows]


if __name__ == "__main__":
    sys.exit(main())
