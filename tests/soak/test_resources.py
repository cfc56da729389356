"""The measured resources of a process, and what counts as growth."""

import os
import socket
import threading
from contextlib import closing

from tests.soak.resources import Held, growth, held_by, leaks

STEADY = Held(200, 40, 100, 30)


def test_a_thread_and_a_socket_are_seen() -> None:
    before = held_by([os.getpid()])
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)
    thread.start()
    with closing(socket.socket()):
        after = held_by([os.getpid()])
    stop.set()
    thread.join()
    assert after.threads == before.threads + 1
    assert (after.sockets, after.descriptors) == (before.sockets + 1, before.descriptors + 1)
    assert after.memory > 10


def test_a_process_that_has_ended_holds_nothing() -> None:
    assert held_by([2**22 + 1]) == Held(0, 0, 0, 0)


def test_what_is_steady_does_not_leak_and_what_grows_does() -> None:
    assert leaks(growth([STEADY] * 40)) == []
    growing = [Held(200 + 5 * number, 40 + number, 100, 30) for number in range(40)]
    assert leaks(growth(growing)) == ["memory grew from 272 to 372", "threads grew from 54 to 74"]


def test_what_fills_up_at_the_start_is_no_growth() -> None:
    assert leaks(growth([Held(50, 5, 10, 1)] * 10 + [STEADY] * 30)) == []
