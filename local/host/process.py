"""The host in a process of its own, for tests and for `make run`."""

import os
import ssl
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from graph_simulator.authority import Authority
from local.child import Child, ChildFailed
from local.ports import free_ports

ROOT = Path(__file__).parents[2]
STOP_PATIENCE = 30.0  # seconds that a host may take to end: ten for running functions, and its own


class HostProcess:
    """Runs the function_app.py of `directory` with `settings` as its environment, always on the same port.

    It can be stopped, killed and started again. With an authority it serves HTTPS. `key` opens a closed `/admin`.
    """

    key: str | None = None
    patience = 60.0
    """Time limit of a start in seconds."""

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
        self.directory = directory
        self.log = log
        self._child: Child | None = None

    @property
    def child(self) -> Child:
        """The running process."""
        if self._child is None:
            raise RuntimeError("the host is not running")
        return self._child

    @property
    def admin_headers(self) -> dict[str, str]:
        """The headers of a request to `/admin`."""
        return {"x-functions-key": self.key} if self.key else {}

    def launch(self) -> Self:
        """Start the process, without waiting until the host runs."""
        self._child = Child(
            "functions host",
            self._command(),
            log=self.log,
            environment={**self._environment(), **self.settings},
            directory=self.directory,
        )
        return self

    def start(self) -> Self:
        """Start the process and wait until the host reports that it runs.

        Raises:
            ChildFailed: the host does not run; the process is ended. The message has the end of its log.
        """
        self.launch()
        self.wait()
        return self

    def wait(self, within: float | None = None) -> None:
        """Wait until the host reports that it runs.

        Raises:
            ChildFailed: the host does not run; the process is ended. The message has the end of its log.
        """
        trust = ssl.create_default_context(cafile=str(self.authority.ca)) if self.authority else True
        try:
            with httpx.Client(verify=trust, trust_env=False, timeout=30) as client:
                self.child.wait_until(lambda: self._is_running(client), within or self.patience)
        except BaseException:
            self.child.kill()
            raise

    def stop(self) -> None:
        """Ask the host to end, and wait."""
        self.child.stop(STOP_PATIENCE)

    def kill(self) -> None:
        """End the process at once, as a crash would."""
        self.child.kill()

    def _command(self) -> list[str]:
        tls: list[str] = []
        if self.authority:
            tls = ["--certificate", str(self.authority.certificate), "--key", str(self.authority.key)]
        return [sys.executable, "-m", "local.host", "--port", str(self.port), *tls]

    def _environment(self) -> dict[str, str]:
        # Only what every process needs: settings of the developer's environment must not leak in.
        needed = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TZ") if name in os.environ}
        return {**needed, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}

    def _is_running(self, client: httpx.Client) -> bool:
        try:
            answer = client.get(f"{self.url}/admin/host/status", headers=self.admin_headers)
        except httpx.TransportError as error:
            if is_refused_certificate(error):
                raise ChildFailed(f"{self.child.name}: its certificate is refused: {error}") from error
            return False
        return self._says_running(answer, client)

    def _says_running(self, answer: httpx.Response, _: httpx.Client) -> bool:
        return bool(answer.is_success and answer.json()["state"] == "Running")

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._child is not None:
            self.stop()


def is_refused_certificate(error: BaseException | None) -> bool:
    """Whether a request failed because the server's certificate is not trusted: waiting would not help."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return True
        error = error.__cause__ or error.__context__
    return False
