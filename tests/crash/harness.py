"""Runs a scenario once to count its operations, then again for each window, and checks the promises after recovery."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeVar

from shared.errors import RelayError
from shared.storage.queues import Queue
from tests.crash.operations import OUTAGE, Died, Operation, Operations, Window
from tests.crash.scenarios import Scenario, replay_again
from tests.crash.world import Process, World

_WHILE_IT_HANGS = timedelta(minutes=30)


T = TypeVar("T")


@dataclass
class Result:
    """The result of a scenario. violations: broken promises, by window."""

    scenario: str
    operations: int
    windows: int = 0
    violations: dict[str, list[str]] = field(default_factory=dict)


def windows(operations: list[Operation]) -> Iterator[Window]:
    """Yield every window of a run."""
    for number, operation in enumerate(operations):
        for fault in operation.faults:
            yield Window(number, fault)


def explore(
    scenario: Scenario, most: int | None = None, among: Callable[[Operation, str], bool] = lambda *_: True
) -> Result:
    """Run a scenario without a fault, and in each of its windows, or those of `among`; in at most `most` windows,
    spread evenly.
    """
    with quietly() as logged:
        operations, broken = _tried(scenario, None, logged)
        result = Result(scenario.name, len(operations))
        if broken:
            result.violations["no fault"] = broken
        chosen = [window for window in windows(operations) if among(operations[window.number], window.fault)]
        for window in spread(chosen, most):
            result.windows += 1
            _, broken = _tried(scenario, window, logged)
            if broken:
                operation = operations[window.number]
                where = f"{window.number} {operation.dependency} {operation.name}: {window.fault}"
                result.violations[where] = broken
    return result


def spread(every: Sequence[T], most: int | None) -> Sequence[T]:
    """Return `every`, or at most `most` of them, spread evenly."""
    if most is None or len(every) <= most:
        return every
    return [every[(2 * number + 1) * len(every) // (2 * most)] for number in range(most)]


def _tried(scenario: Scenario, window: Window | None, logged: list[str]) -> tuple[list[Operation], list[str]]:
    """Return the operations until the fault, and the broken promises."""
    logged.clear()
    world = scenario.prepare()
    operations = Operations(world.clock, window)
    process = world.process(operations)
    with suppress(Died):
        with suppress(RelayError):  # of a command that reports the failure and exits
            scenario.act(world, process)
        if window is not None:
            world.settle(process, _WHILE_IT_HANGS)
            world.clock.now += OUTAGE
            world.tick(process)  # the process outlives the outage
    return operations.done, recovered(world, scenario, logged)


def recovered(world: World, scenario: Scenario, logged: list[str]) -> list[str]:
    """Let another process take over, and return which promises are broken then."""
    process: Process = world.process()
    world.settle(process)
    if world.account.queues.length(Queue.DEAD_LETTERS) and "replay" in scenario.name:
        replay_again(world, process)
        world.settle(process)
    for _ in range(3):  # until the account of this hour is due
        world.clock.advance(minutes=25)
        world.tick(process)
        while world.work(process):
            continue
    world.logged = logged
    return world.violations(process)


@contextmanager
def quietly() -> Iterator[list[str]]:
    """Collect the log of the app and its libraries, and print none of it."""
    root, app, lines = logging.getLogger(), logging.getLogger("graph_relay"), list[str]()

    class Collecting(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())

    handlers, level = root.handlers, app.level
    root.handlers = [Collecting()]
    app.setLevel(logging.DEBUG)
    try:
        yield lines
    finally:
        root.handlers = handlers
        app.setLevel(level)
