"""Hundreds and thousands of subscriptions, in virtual time: the cost of timer runs.

Writes the table of docs/scaling.md. Each course runs in a process of its own, two at a time.
"""

import logging
import resource
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing import get_context
from pathlib import Path

from bench import report
from bench.bystander import Bystander
from bench.figure import Figure
from tests.scale.kills import CHANGES, deaths
from tests.scale.phases import COURSES, Phase

PAGE = Path(__file__).parent.parent / "docs" / "scaling.md"

SIZES = (100, 1_000, 10_000)
FEW = 2
"""Number of subscriptions for the course in which the process dies in each call."""

QUIET, QUIET_CPU = "a quiet hour", 20.0
"""Upper limit of CPU seconds for a quiet run at any size."""

AT_ONCE = 2
"""Processes: the largest size takes minutes of CPU."""


@dataclass(frozen=True)
class _Led:
    """The result of a course with a number of subscriptions. memory: the peak of its process, in MiB."""

    number: int
    phases: tuple[Phase, ...]
    memory: int


def subscriptions(_: Bystander) -> list[Figure]:
    """Run all phases at each size; the sizes show the growth."""
    tasks = [(course, number) for number in reversed(SIZES) for course in range(len(COURSES))]
    with ProcessPoolExecutor(AT_ONCE, get_context("spawn"), max_tasks_per_child=1) as processes:
        killed = processes.submit(_killed)
        led = list(processes.map(_led, *zip(*tasks, strict=True)))
        deadly = killed.result()
    led.sort(key=lambda each: each.number)
    report.write_into(PAGE, _table(led, deadly))
    return [*(figure for each in led for figure in _figures(each)), *deadly]


def _led(course: int, number: int) -> _Led:
    logging.disable(logging.CRITICAL)  # one refusal for each of ten thousand subscriptions
    phases = tuple(COURSES[course](number).phases())
    return _Led(number, phases, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)


def _killed() -> list[Figure]:
    logging.disable(logging.CRITICAL)
    figures = []
    for change in CHANGES:
        found = list(deaths(change, FEW))
        broken = sorted({f"call {death.call}: {what}" for death in found for what in death.broken})
        name = f"{change}, and the process dies in each call"
        limit = "; ".join(broken) or "nothing is deleted before its successor lives, and all is complete afterwards"
        figures.append(Figure(name, f"{len(found)} deaths with {FEW} subscriptions", limit, not broken))
    return figures


def _figures(led: _Led) -> Iterable[Figure]:
    for phase in led.phases:
        broken = _broken(phase)
        limit = "; ".join(broken) or "400 writes and 25 lists in 20 s; nothing is deleted before its successor lives"
        yield Figure(f"{led.number:,} subscriptions: {phase.name}", _measured(phase), limit, not broken)
    yield Figure(f"{led.number:,} subscriptions: memory, with simulator and tables", f"{led.memory} MiB at most")


def _broken(phase: Phase) -> list[str]:
    """Return the exceeded limits."""
    broken = list(phase.broken)
    if phase.name.startswith(QUIET) and phase.figures.most_cpu > QUIET_CPU:
        broken.append(f"a quiet run takes more than {QUIET_CPU:.0f} s of CPU")
    return broken


def _measured(phase: Phase) -> str:
    taken = phase.figures
    calls = ", ".join(f"{count:,} {kind}" for kind, count in sorted(taken.calls.items())) or "no call"
    runs = "1 run" if taken.runs == 1 else f"{taken.runs} runs"
    return (
        f"{runs}, {_minutes(taken.time)}; {calls}; {taken.cpu:.1f} s of CPU, at most {taken.most_cpu:.1f} s in a run; "
        f"at most {taken.most_writes} writes and {taken.most_lists} lists in 20 s"
    )


def _minutes(time: timedelta) -> str:
    minutes = time // timedelta(minutes=1)
    return f"{minutes} min" if minutes < 120 else f"{minutes / 60:.0f} h"


def _table(led: Sequence[_Led], deadly: Iterable[Figure]) -> str:
    """Return a table in Markdown: a row for each phase, a column for each size."""
    found = {(each.number, phase.name): phase for each in led for phase in each.phases}
    names = dict.fromkeys(name for _, name in found)
    rows = [f"| {name} | {' | '.join(_cell(found[number, name]) for number in SIZES)} |" for name in names]
    memory = [f"{max(each.memory for each in led if each.number == number)} MiB" for number in SIZES]
    verdicts = [f"- {each.name}: {each.measured}; {each.limit}." for each in deadly]
    return "\n".join(
        [
            f"| phase | {' | '.join(f'{number:,}' for number in SIZES)} |",
            f"|---{'|---' * len(SIZES)}|",
            *rows,
            f"| memory, with simulator and tables | {' | '.join(memory)} |",
            "",
            *verdicts,
        ]
    )


def _cell(phase: Phase) -> str:
    broken = _broken(phase)
    return _measured(phase) + (f"; **{'; '.join(broken)}**" if broken else "")
