"""Two instances at once: their operations in every interleaving with two switches, up to a bound."""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from shared.storage.queues import Queue
from tests.crash.harness import Result, quietly, recovered, spread
from tests.crash.operations import Operations
from tests.crash.scenarios import (
    Scenario,
    add_unpushed,
    expiring,
    lifecycle,
    many,
    nothing_yet,
    receive_and_deliver,
    rotating,
    suspected,
    tick_and_work,
)
from tests.crash.world import Process, World
from tests.waiting import LIMIT

MOST_ORDERS = 400
"""The number of interleavings tried for one meeting; of more, a selection from the first to the last."""


@dataclass(frozen=True)
class Meeting:
    """Two processes that act at the same time."""

    name: str
    prepare: Callable[[], World]
    left: Callable[[World, Process], None]
    right: Callable[[World, Process], None]


class Turns:
    """Lets two processes run in turn: segments of a process and a number of operations; None: to its end."""

    def __init__(self, segments: Sequence[tuple[int, int | None]]) -> None:
        self._segments = [segment for segment in segments if segment[1] != 0]
        self._changed = threading.Condition()
        self._done = 0

    @contextmanager
    def operation(self, who: int) -> Iterator[None]:
        """Wait for the turn of `who`; an operation completes before the turn passes."""
        with self._changed:
            assert self._changed.wait_for(lambda: not self._segments or self._segments[0][0] == who, LIMIT)
        yield
        with self._changed:
            self._done += 1
            if self._segments and self._done == self._segments[0][1]:
                self._next()

    def finished(self, who: int) -> None:
        """Give the remaining turns of `who` to the other process."""
        with self._changed:
            self._segments = [segment for segment in self._segments if segment[0] != who]
            self._done = 0
            self._changed.notify_all()

    def _next(self) -> None:
        self._segments.pop(0)
        self._done = 0
        self._changed.notify_all()


def meet(meeting: Meeting, first: int | None, second: int | None, logged: list[str]) -> tuple[int, int, list[str]]:
    """Let the left process do `first` operations, then the right one `second`, then both the rest in turn.

    Return how many operations each has done, and the broken promises.
    """
    logged.clear()
    world = meeting.prepare()
    turns = Turns(((0, first), (1, second), (0, None), (1, None)))
    processes = []
    for who in (0, 1):
        operations = Operations(world.clock, turn=partial(turns.operation, who))
        processes.append(world.process(operations))

    def run(who: int, act: Callable[[World, Process], None]) -> None:
        try:
            act(world, processes[who])
        finally:
            turns.finished(who)

    with ThreadPoolExecutor(2) as pool:
        running = [pool.submit(run, who, act) for who, act in enumerate((meeting.left, meeting.right))]
    for future in running:
        future.result()
    left, right = (len(process.operations.done) for process in processes)
    return left, right, recovered(world, Scenario(meeting.name, meeting.prepare, meeting.left), logged)


def explore(meeting: Meeting, most: int = MOST_ORDERS) -> Result:
    """Try a meeting in at most `most` interleavings."""
    with quietly() as logged:
        left, right, broken = meet(meeting, None, None, logged)
        result = Result(meeting.name, left + right)
        if broken:
            result.violations["one after the other"] = broken
        orders = [(first, second) for first in range(1, left) for second in range(1, right + 1)]
        for first, second in spread(orders, most):
            result.windows += 1
            _, _, broken = meet(meeting, first, second, logged)
            if broken:
                result.violations[f"{first} of the first, then {second} of the other"] = broken
    return result


def _received() -> World:
    """Graph's POSTs are queued, and not delivered yet."""
    world = many()
    world.send(world.process())
    return world


def _handle_the_same(world: World, process: Process) -> None:
    """A lease expired while its host was still at work: both have the same messages."""
    for text in [stored.message.text for stored in world.account.queues._stored[Queue.NOTIFICATIONS][:1]]:
        process.handle(text)


def _removed_twice() -> World:
    world = lifecycle("subscriptionRemoved")()
    world.posts.append(world.posts[-1])
    world.send(world.process())
    return world


def _work(world: World, process: Process) -> None:
    for stored in list(world.account.queues._stored[Queue.NOTIFICATIONS]):
        process.handle(stored.message.text)


def _pushed_and_listed() -> World:
    world = many()
    add_unpushed(world, "swept-1")
    return suspected(world)


def _rotating_twice() -> World:
    world = rotating()
    world.most_keys = 3  # each creates one; the older of both is retired after the overlap
    return world


MEETINGS = (
    Meeting("one message, two workers", _received, _handle_the_same, _handle_the_same),
    Meeting("subscriptionRemoved, twice", _removed_twice, _work, _work),
    Meeting("subscriptionRemoved and the timer", lifecycle("subscriptionRemoved"), receive_and_deliver, tick_and_work),
    Meeting("two timers create", nothing_yet, tick_and_work, tick_and_work),
    Meeting("two timers renew", expiring, tick_and_work, tick_and_work),
    Meeting("two timers rotate", _rotating_twice, tick_and_work, tick_and_work),
    Meeting("a key rotates while messages arrive", rotating, tick_and_work, receive_and_deliver),
    Meeting("pushed while it is read back", _pushed_and_listed, receive_and_deliver, tick_and_work),
)
