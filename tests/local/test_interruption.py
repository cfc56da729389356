"""Ctrl-C and SIGTERM end a wait of the program, never other code."""

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from local import interruption

LONG = 200.0  # seconds; the test's own time limit is 300


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in interruption.SIGNALS}
    interruption.end_waits()
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", interruption.SIGNALS)
def test_a_signal_during_other_code_ends_the_next_wait_once(number: int) -> None:
    signal.raise_signal(number)
    ran_on = sum(range(1000))
    with pytest.raises(KeyboardInterrupt):
        interruption.pause(LONG)
    interruption.pause(0)
    assert ran_on


def test_a_signal_ends_the_wait_that_it_falls_into() -> None:
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        interruption.pause(LONG)
    timer.join()


def test_ignored_signals_end_no_wait() -> None:
    interruption.ignore()
    for number in interruption.SIGNALS:
        signal.raise_signal(number)
    interruption.pause(0)
