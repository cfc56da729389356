"""Child processes that write to a log of their own and never outlive the process that started them."""

import os
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path


class ChildFailed(Exception):
    """A child ended or was not ready in time; the message ends with the last lines of its log."""


class Child:
    """One process with its descendants, in a process group of its own: Ctrl-C reaches only its parent.

    On Linux the kernel kills it when the thread that started it ends (util-linux's `setpriv`), so start it from a
    thread that lives as long as the child should. Elsewhere only `stop` and `kill` end it.
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
        bound = [setpriv, "--pdeathsig", "KILL"] if (setpriv := shutil.which("setpriv")) else []
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [*bound, *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                cwd=directory,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process has not ended yet."""
        return self._process.poll() is None

    def wait_until(self, ready: Callable[[], bool], within: float = 60) -> None:
        """Poll `ready` until it is true.

        Raises:
            ChildFailed: the process ended, or `within` seconds passed.
        """
        deadline = time.monotonic() + within
        while not ready():
            if not self.running:
                raise ChildFailed(f"{self.name} ended with {self._process.returncode}\n{self.tail()}")
            if time.monotonic() > deadline:
                raise ChildFailed(f"{self.name} was not ready within {within:.0f} s\n{self.tail()}")
            time.sleep(0.02)

    def stop(self, patience: float = 15) -> None:
        """Ask it to end (SIGTERM) and wait; kill it after `patience` seconds."""
        if self.running:
            self._signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(patience)
        self.kill()

    def kill(self) -> None:
        """End it and what it started at once (SIGKILL), as a crash would."""
        self._signal(signal.SIGKILL)
        self._process.wait()

    def tail(self, lines: int = 20) -> str:
        """Return the last lines of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)


def free_ports(count: int) -> list[int]:
    """Return `count` different TCP ports of 127.0.0.1 on which nobody listens at this moment.

    They lie below those that the kernel hands out by itself: else an outgoing connection could take one of them
    before its server does.
    """
    with ExitStack() as stack:
        found: list[int] = []
        while len(found) < count:
            port = random.SystemRandom().randrange(15_000, 32_000)
            try:
                stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            except OSError:
                continue
            found.append(port)
        return found


def answers(port: int) -> bool:
    """Tell whether something accepts connections on a port of 127.0.0.1."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
