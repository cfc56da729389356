"""The host as a process of its own, for tests and for `make run`."""

import os
import ssl
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from graph_simulator.authority import Authority
from local.child import Child, free_ports

ROOT = Path(__file__).parents[2]


class HostProcess:
    """Runs the function_app.py of `directory` with `settings` as its environment, on one port all its life.

    It can be stopped, killed and started again. With an authority it serves HTTPS.
    """

    def __init__(
        self,
        settings: Mapping[str, str],
        *,
        log: Path,
        authority: Authority | None = None,
        directory: Path = ROOT,
        port: int | None = None,
    ) -> None:
        self.settings = dict(settings)
        self.port = port or free_ports(1)[0]
        self.url = f"http{'s' if authority else ''}://127.0.0.1:{self.port}"
        self.authority = authority
        self._directory = directory
        self._log = log
        self._child: Child | None = None

    @property
    def child(self) -> Child:
        """The running process."""
        if self._child is None:
            raise RuntimeError("the host is not running")
        return self._child

    def start(self) -> Self:
        """Start it and wait until it says that it runs.

        Raises:
            ChildFailed: it does not; with the end of its log.
        """
        self._child = Child(
            "functions host",
            self._command(),
            log=self._log,
            environment={**self._environment(), **self.settings},
            directory=self._directory,
        )
        trust = ssl.create_default_context(cafile=str(self.authority.ca)) if self.authority else True
        with httpx.Client(verify=trust, trust_env=False) as client:
            self._child.wait_until(lambda: self._is_running(client))
        return self

    def stop(self) -> None:
        """Ask it to end, and wait."""
        self.child.stop()

    def kill(self) -> None:
        """End it at once, as a crash would."""
        self.child.kill()

    def _command(self) -> list[str]:
        tls: list[str] = []
        if self.authority:
            tls = ["--certificate", str(self.authority.certificate), "--key", str(self.authority.key)]
        return [sys.executable, "-m", "local.host", "--port", str(self.port), *tls]

    def _environment(self) -> dict[str, str]:
        # What any process needs and no more: no setting leaks in from the desk.
        needed = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TZ") if name in os.environ}
        return {**needed, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}

    def _is_running(self, client: httpx.Client) -> bool:
        try:
            return bool(client.get(f"{self.url}/admin/host/status").json()["state"] == "Running")
        except httpx.TransportError:
            return False

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._child is not None:
            self.stop()
