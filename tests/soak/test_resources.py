"""The measured resources of a process, and what counts as growth."""

import os
import socket
import threading
from contextlib import ExitStack, closing

from tests.soak.resources import Held, growth, held_by, leaks

STEADY = Held(200, 40, 100, 30)


def test_threads_and_sockets_are_seen() -> None:
    """Many of them: in the worker of this test, threads of earlier tests may end meanwhile."""
    number, stop = 40, threading.Event()
    before = held_by([os.getpid()])
    with ExitStack() as stack:
        stack.callback(stop.set)
        for _ in range(number):
            stack.enter_context(closing(socket.socket()))
            threading.Thread(target=stop.wait, daemon=True).start()
        after = held_by([os.getpid()])
    grown = (after.threads - before.threads, after.sockets - before.sockets, after.descriptors - before.descriptors)
    assert min(grown) > number / 2
    assert after.memory > 10


def test_a_process_that_has_ended_holds_nothing() -> None:
    assert held_by([2**22 + 1]) == Held(0, 0, 0, 0)


def test_what_is_steady_does_not_leak_and_what_grows_does() -> None:
    assert leaks(growth([STEADY] * 40)) == []
    growing = [Held(200 + 5 * number, 40 + number, 100, 30) for number in range(40)]
    assert leaks(growth(growing)) == ["memory grew from 272 to 372", "threads grew from 54 to 74"]


def test_what_fills_up_at_the_start_is_no_growth() -> None:
    assert leaks(growth([Held(50, 5, 10, 1)] * 10 + [STEADY] * 30)) == []
