"""Child processes that write to a log of their own and never outlive the process that started them."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

from local import interruption

GUARD = """
import os, signal, sys
groups = set()
for line in sys.stdin:
    (groups.add if line[0] == "+" else groups.discard)(int(line[1:]))
for group in groups:
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        pass
"""
"""The program that kills the registered process groups once the registering process has ended."""


class ChildFailed(Exception):
    """A child ended or was not ready in time; the message ends with the last lines of its log."""


class Child:
    """One process with its descendants, in a process group of its own: Ctrl-C reaches only its parent.

    All of them are killed when the process that started them ends, in whatever way.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        log: Path,
        environment: Mapping[str, str] | None = None,
        directory: Path | None = None,
    ) -> None:
        self.name = name
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        guard = _guard()
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                cwd=directory,
                start_new_session=True,
            )
        self._began = time.monotonic()
        guard.watch(self.pid)

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def age(self) -> float:
        """Seconds since it was started."""
        return time.monotonic() - self._began

    @property
    def running(self) -> bool:
        """Whether the process has not ended yet."""
        return self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """The exit code; None while it runs."""
        return self._process.poll()

    def wait_until(self, ready: Callable[[], bool], within: float = 60) -> None:
        """Poll `ready` until it is true.

        Raises:
            ChildFailed: the process ended, or `within` seconds passed.
            KeyboardInterrupt: see `interruption.pause`.
        """
        deadline, wait = time.monotonic() + within, 0.02
        while not ready():
            if not self.running:
                raise ChildFailed(f"{self.name} ended with {self._process.returncode}\n{self.tail()}")
            if time.monotonic() > deadline:
                raise ChildFailed(f"{self.name} was not ready within {within:.0f} s\n{self.tail()}")
            interruption.pause(wait)
            wait = min(wait * 1.3, 0.2)

    def wait(self, within: float) -> bool:
        """Wait for it to end; return whether it has."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(within)
        return not self.running

    def stop(self, patience: float = 15) -> None:
        """Send SIGTERM and wait; after `patience` seconds, kill the process and its descendants.

        Only the process itself gets the signal: it needs its descendants, such as a worker, until its own work is done.
        """
        if self.running:
            self._process.terminate()
            self.wait(patience)
        self.kill()

    def kill(self) -> None:
        """Kill it and its descendants (SIGKILL), as a crash would."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
        _guard().forget(self.pid)

    def tail(self, lines: int = 20) -> str:
        """Return the last lines of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


class Guard:
    """A process that briefly outlives this one, to kill its remaining process groups."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-S", "-E", "-c", GUARD], stdin=subprocess.PIPE, start_new_session=True
        )

    def watch(self, group: int) -> None:
        """Kill this process group when this process ends."""
        self._tell("+", group)

    def forget(self, group: int) -> None:
        """Do not kill it: its number may belong to another group by then."""
        self._tell("-", group)

    def _tell(self, sign: str, group: int) -> None:
        # Only this process has the other end of the pipe: the kernel closes it when the process ends.
        assert self._process.stdin is not None
        self._process.stdin.write(f"{sign}{group}\n".encode())
        self._process.stdin.flush()


@cache
def _guard() -> Guard:
    return Guard()
