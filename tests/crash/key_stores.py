"""The real key stores, with each request as an operation: files in a directory, and Key Vault over HTTP."""

import asyncio
import errno
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from pathlib import Path
from typing import IO, Any
from weakref import finalize

import httpx
import requests
from azure.core.credentials import AccessToken
from azure.core.pipeline.transport import RequestsTransport

from graph_simulator.refusal import Refusal
from shared import http_client
from shared.keys.directory import KeyDirectory
from shared.keys.key_vault import KeyVault
from tests.builders import Clock
from tests.crash.operations import HANGING, KEY_FAULTS, Operation, Operations, WatchedSession
from tests.crash.world import World
from tests.servers import RecordedRequest, ScriptedResponse
from tests.stand_ins.vault.app import Guard, VaultApi
from tests.stand_ins.vault.vault import Vault

VAULT = "https://keys.vault.azure.net"
_DISK_FAULTS = tuple(fault for fault in KEY_FAULTS if fault != HANGING)


def keep_keys_in_a_directory(world: World) -> None:
    """Store the keys of a world in files."""
    temporary = tempfile.TemporaryDirectory()
    finalize(world, temporary.cleanup)
    directory = Path(temporary.name) / "keys"
    world.keys = KeyDirectory(directory)
    world.key_store = lambda operations: KeyDirectory(_watched(directory, operations))


def keep_keys_in_a_vault(world: World) -> None:
    """Store the keys of a world as versions of a certificate in the stand-in for Key Vault."""
    guard = Guard("https://login.crash.example/t", "https://vault.azure.net", _let_in)
    answer = _script(VaultApi(Vault(world.clock), guard))

    def store(operations: Operations) -> KeyVault:
        session = http_client.session()
        session.mount(VAULT, WatchedSession("vault", answer, operations))
        return KeyVault(VAULT, _Token(), transport=_Transport(session, world.clock))

    world.keys = store(Operations(world.clock))
    world.key_store = store


def _watched(directory: Path, operations: Operations) -> Path:
    """Return a path whose disk accesses are operations, like those of every path derived from it."""

    class Watched(type(directory)):  # type: ignore[misc]
        def iterdir(self) -> Iterator[Path]:
            return iter(self._run("iterdir", lambda: list(super(Watched, self).iterdir())))

        def open(self, mode: str = "r", *arguments: Any, **options: Any) -> IO[Any]:
            opened: IO[Any] = self._run(f"open {mode}", lambda: super(Watched, self).open(mode, *arguments, **options))
            return opened

        def touch(self, mode: int = 0o666, exist_ok: bool = True) -> None:
            self._run("touch", lambda: super(Watched, self).touch(mode, exist_ok))

        def mkdir(self, *arguments: Any, **options: Any) -> None:
            self._run("mkdir", lambda: super(Watched, self).mkdir(*arguments, **options))

        def replace(self, target: Any) -> Any:
            return self._run("replace", lambda: super(Watched, self).replace(target))

        def _run(self, name: str, do: Any) -> Any:
            return operations.run(Operation("key directory", name, _DISK_FAULTS), do, _fail)

    return Watched(directory)


def _fail(fault: str, do: Any) -> Any:
    if fault == "unavailable after":
        do()
    raise OSError(errno.EIO, "Input/output error")


class _Token:
    """A credential whose token every service accepts."""

    def get_token(self, *_: str, **__: Any) -> AccessToken:
        return AccessToken("token", int(time.time()) + 3600)


def _let_in(authorization: str | None) -> None:
    if authorization is None:
        raise Refusal(HTTPStatus.UNAUTHORIZED, "Unauthorized", "no token")


class _Transport(RequestsTransport):  # type: ignore[misc]
    """Waits in virtual time."""

    def __init__(self, session: requests.Session, clock: Clock) -> None:
        super().__init__(session=session, session_owner=False, connection_timeout=5, read_timeout=20)
        self._clock = clock

    def sleep(self, duration: float) -> None:
        """See HttpTransport."""
        self._clock.advance(seconds=duration)


def _script(api: VaultApi) -> Any:
    transport = httpx.ASGITransport(api.application())

    async def ask(asked: RecordedRequest) -> httpx.Response:
        headers = {name: value for name, value in asked.headers.items() if name != "content-length"}
        async with httpx.AsyncClient(transport=transport, base_url=VAULT) as client:
            return await client.request(asked.method, asked.path, headers=headers, content=asked.body)

    def answer(request: RecordedRequest) -> ScriptedResponse:
        with ThreadPoolExecutor(1) as thread:  # a browser of another test may run a loop in this one
            response = thread.submit(asyncio.run, ask(request)).result()
        return ScriptedResponse(response.status_code, response.content, dict(response.headers))

    return answer
