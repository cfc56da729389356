"""Actions that many notifications ask for and one of them has to do."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from shared.subscriptions.once import Once
from tests.builders import NOW, Clock


def test_what_was_begun_and_finished_since_it_was_asked_for_is_not_done_again() -> None:
    clock, done = Clock(), list[str]()
    once = Once(clock)
    received = clock()
    clock.advance(seconds=1)
    for _ in range(3):
        once.run("a", received, lambda: done.append("a"))
    once.run("b", received, lambda: done.append("b"))
    assert done == ["a", "b"]


def test_what_is_asked_for_after_a_run_began_is_done_again() -> None:
    clock, done = Clock(), list[int]()
    once = Once(clock)
    for number in range(2):
        once.run("a", clock(), lambda number=number: done.append(number))  # type: ignore[misc]
    assert done == [0, 1]


def test_what_failed_is_done_by_the_next_that_asks_for_it() -> None:
    clock, done = Clock(), list[str]()
    once = Once(clock)
    clock.advance(seconds=1)
    with pytest.raises(ZeroDivisionError):
        once.run("a", NOW, lambda: 1 // 0)
    once.run("a", NOW, lambda: done.append("a"))
    assert done == ["a"]


def test_of_threads_that_ask_together_one_does_it_and_the_others_wait() -> None:
    clock, done, threads = Clock(), list[str](), 16
    once, start = Once(clock), Barrier(threads)
    clock.advance(seconds=1)
    seen: list[int] = []

    def ask() -> None:
        start.wait()
        once.run("a", NOW, lambda: done.append("a"))
        seen.append(len(done))

    with ThreadPoolExecutor(threads) as pool:
        for running in [pool.submit(ask) for _ in range(threads)]:
            running.result()
    assert done == ["a"]
    assert seen == [1] * threads
