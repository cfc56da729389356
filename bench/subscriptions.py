"""Hundreds and thousands of subscriptions, in virtual time: what the runs of the timer take."""

import logging
import resource

from bench.bystander import Bystander
from bench.figure import Figure
from tests.scale.phases import Course, Phase

SIZES = (100, 1_000, 10_000)
QUIET_CPU = 20.0
"""Seconds that a quiet run may take at the largest size."""


def subscriptions(_: Bystander) -> list[Figure]:
    """Lead each size through all phases; growth is to be seen from one size to the next."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)  # ten thousand times a refusal
    try:
        return [figure for number in SIZES for figure in _figures(number)]
    finally:
        logging.disable(before)


def _figures(number: int) -> list[Figure]:
    figures = [_figure(number, phase) for phase in Course(number).phases(quiet_runs=1)]
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return [*figures, Figure(f"{number:,} subscriptions: memory, with the simulator", f"{memory} MiB at most")]


def _figure(number: int, phase: Phase) -> Figure:
    taken = phase.figures
    calls = ", ".join(f"{count:,} {name}" for name, count in sorted(taken.calls.items())) or "none"
    measured = (
        f"{taken.runs} runs, {taken.time.total_seconds() / 60:.0f} min, the longest run {taken.longest_run.seconds} s, "
        f"{taken.cpu:.1f} s of CPU; {calls}; at most {taken.most_writes} writes and {taken.most_lists} lists in 20 s"
    )
    broken = list(phase.broken)
    if phase.name == "a quiet run" and taken.cpu > QUIET_CPU:
        broken.append("a quiet run takes too much CPU")
    limit = "; ".join(broken) or "400 writes and 25 lists in 20 s; nothing is deleted before its successor lives"
    return Figure(f"{number:,} subscriptions: {phase.name}", measured, limit, not broken)
