"""Ctrl-C and SIGTERM, which end waits of this program and nothing else.

An exception at any point, as Python raises it, can leave a lock of a library locked for ever: the next request to a
part then never returns.
"""

import signal
import time
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)
STEP = 0.1  # seconds until a wait notices a signal

_received = False


def end_waits() -> None:
    """From now on, both signals end the current `pause`, or the next one.

    Also where a shell has disabled Ctrl-C, as it does for a program in the background.
    """
    for number in SIGNALS:
        signal.signal(number, _note)


def ignore() -> None:
    """From now on, ignore both signals."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def pause(seconds: float) -> None:
    """Wait. Raises KeyboardInterrupt, once for each signal, if one has arrived since `end_waits`."""
    deadline = time.monotonic() + seconds
    while True:
        _check()
        left = deadline - time.monotonic()
        if left <= 0:
            return
        time.sleep(min(left, STEP))


def _note(_: int, __: FrameType | None) -> None:
    global _received  # noqa: PLW0603 - signals belong to the process
    _received = True


def _check() -> None:
    global _received  # noqa: PLW0603
    if _received:
        _received = False
        raise KeyboardInterrupt
