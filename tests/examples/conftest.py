"""A PostgreSQL server, and each example consumer as a process of its own."""

import os
import shutil
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psycopg
import psycopg.sql
import pytest
import requests

from tests.builders import destination_secret

ROOT = Path(__file__).parents[2]
LANGUAGES = ("python", "node", "go")
NODE_PACKAGES = ROOT / ".examples" / "node_modules"
_POSTGRES = ("/usr/local/bin", "/usr/lib/postgresql/17/bin", "/usr/lib/postgresql/16/bin", "/usr/lib/postgresql/15/bin")


def program(name: str) -> str | None:
    return shutil.which(name) or shutil.which(name, path=":".join(_POSTGRES))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def database() -> Iterator[str]:
    """The URL of an empty database."""
    initdb, postgres = program("initdb"), program("postgres")
    if initdb is None or postgres is None:
        pytest.skip("PostgreSQL is not installed")
    with TemporaryDirectory() as folder:  # only its owner may enter pytest's own directory
        user: dict[str, Any] = {}
        if os.geteuid() == 0:  # PostgreSQL refuses to run as root
            shutil.chown(folder, "postgres")
            user = {"user": "postgres"}
        yield from _serving(initdb, postgres, Path(folder), user)


def _serving(initdb: str, postgres: str, directory: Path, user: dict[str, Any]) -> Iterator[str]:
    port = free_port()
    data = directory / "data"
    settings = ["--auth=trust", "--username=relay", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"]
    subprocess.run([initdb, *settings, "-D", str(data)], check=True, capture_output=True, cwd=directory, **user)
    options = ["-D", str(data), "-p", str(port), "-h", "127.0.0.1", "-k", str(directory), "-F"]
    server = subprocess.Popen([postgres, *options], stderr=subprocess.DEVNULL, cwd=directory, **user)
    address = f"postgresql://relay@127.0.0.1:{port}/postgres"
    try:
        _wait(lambda: psycopg.connect(address).close(), psycopg.OperationalError, server)
        yield address
    finally:
        server.terminate()
        server.wait()


@dataclass
class Consumer:
    """A running example: the URL that takes events, their secret, and its database."""

    url: str
    secret: str
    database: str

    def stored(self) -> dict[str, tuple[str, str]]:
        """The stored version and event of each resource, by subject."""
        with psycopg.connect(self.database) as connection:
            rows = connection.execute("SELECT subject, version, event FROM resources").fetchall()
        return {subject: (version, event) for subject, version, event in rows}


@pytest.fixture(scope="module", params=LANGUAGES)
def consumer(
    request: pytest.FixtureRequest, database: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Consumer]:
    missing = missing_for(request.param)
    if missing:
        pytest.skip(missing)
    with running_consumer(request.param, database, tmp_path_factory.mktemp(request.param)) as running:
        yield running


def missing_for(language: str) -> str:
    """What a consumer needs and is not here; empty if nothing is missing."""
    if language == "node" and not NODE_PACKAGES.exists():
        return "the packages of the Node.js example are not installed: python tools/setup.py --tests"
    return "Go is not installed" if language == "go" and shutil.which("go") is None else ""


@contextmanager
def running_consumer(language: str, database: str, directory: Path) -> Iterator[Consumer]:
    """Run a copy of an example, unchanged, with a database of its own on the server of `database`."""
    folder = directory / "examples"
    shutil.copytree(ROOT / "examples", folder, ignore=shutil.ignore_patterns("node_modules", "__pycache__"))
    port, secret, own = free_port(), destination_secret(), f"{language}_{uuid.uuid4().hex}"
    command = _command(language, folder / language, port)
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(psycopg.sql.SQL("CREATE DATABASE {}").format(psycopg.sql.Identifier(own)))
    database = f"{database.rpartition('/')[0]}/{own}"
    environment = {**os.environ, "RELAY_SECRET": secret, "DATABASE_URL": database, "PORT": str(port)}
    process = subprocess.Popen(command, cwd=folder / language, env=environment, stdout=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}/events"
    try:
        _wait(lambda: requests.post(url, data=b"[]", timeout=5), requests.ConnectionError, process)
        yield Consumer(url, secret, database)
    finally:
        process.terminate()
        process.wait()


def _command(language: str, folder: Path, port: int) -> list[str]:
    match language:
        case "python":
            serving = ["--host", "127.0.0.1", "--port", str(port), "--log-level", "error"]
            return [sys.executable, "-m", "uvicorn", "consumer:app", *serving]
        case "node":
            node = shutil.which("node") or str(Path(sys.executable).parent / "node")
            (folder / "node_modules").symlink_to(NODE_PACKAGES)
            return [node, "consumer.mjs"]
        case _:
            subprocess.run(["go", "mod", "tidy"], cwd=folder, check=True)
            subprocess.run(["go", "build", "-o", "consumer", "."], cwd=folder, check=True)
            return ["./consumer"]


def _wait(attempt: object, error: type[Exception], process: subprocess.Popen[bytes]) -> None:
    """Retry until there is no error; fail if the process ends."""
    assert callable(attempt)
    for _ in range(1200):
        assert process.poll() is None, "the process has ended"
        try:
            attempt()
        except error:
            time.sleep(0.05)
        else:
            return
    raise AssertionError("it does not answer")
