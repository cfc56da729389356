"""The command line against a running storage account, Graph and destination."""

import gc
import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from click.testing import CliRunner, Result

from graph_simulator.authority import Authority
from graph_simulator.server import GraphServer, Registration
from graph_simulator.server import running as running_graph
from local.azurite import Azurite
from local.feed.server import RunningFeed
from local.feed.server import running as running_feed
from ops.cli import ops
from shared import relay
from shared.configuration.settings import SettingsError, StorageSettings
from shared.storage.clients import StorageClients
from tests import builders
from tests.builders import CLIENT_ID, TENANT, destination_secret, environment
from tests.servers import RecordedRequest, ScriptedResponse, Server, serving

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Operator:
    """Runs commands with the settings of a system."""

    environment: dict[str, str]

    def __call__(self, *arguments: str, typed: str = "") -> Result:
        """Run a command in this process."""
        return run(*arguments, environment=self.environment, typed=typed)

    def json(self, *arguments: str, ends: int = 0) -> Any:
        """Run a command with --json, check its exit code, and return its output."""
        result = self(*arguments, "--json")
        assert result.exit_code == ends, result.output
        return json.loads(result.stdout)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a command in a process of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "ops", *arguments],
            cwd=ROOT,
            env={**os.environ, **self.environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


def run(*arguments: str, environment: Mapping[str, str], typed: str = "") -> Result:
    """Run a command with exactly these settings, like a process of its own."""
    bare = {name: value for name, value in os.environ.items() if name not in builders.environment()}
    with variables(bare | dict(environment)):
        relay.forget()
        result = CliRunner().invoke(ops, arguments, input=typed)
        with suppress(SettingsError):
            relay.relay().session.close()
    relay.forget()
    gc.collect()  # MSAL keeps connections open; a server that stops would wait for them
    return result


@contextmanager
def variables(wanted: Mapping[str, str]) -> Iterator[None]:
    """Replace the variables of this process's environment while the block runs, those that the block adds included."""
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(wanted)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def complete_handshake(request: RecordedRequest) -> ScriptedResponse:
    """An endpoint that echoes validation tokens."""
    token = parse_qs(urlsplit(request.path).query).get("validationToken", [""])[0]
    return ScriptedResponse(200 if token else 404, token.encode(), {"Content-Type": "text/plain"})


@pytest.fixture
def storage(storage_settings: StorageSettings) -> StorageClients:
    return StorageClients.of(storage_settings)


@pytest.fixture
def graph(authority: Authority) -> Iterator[GraphServer]:
    registration = Registration(TENANT, CLIENT_ID, destination_secret())
    with running_graph(authority, registration) as server:
        yield server


@pytest.fixture
def endpoint(authority: Authority) -> Iterator[Server]:
    with serving(complete_handshake, authority) as server:
        yield server


@pytest.fixture
def secret() -> str:
    return destination_secret()


@pytest.fixture
def feed(secret: str, tmp_path: Path) -> Iterator[RunningFeed]:
    with running_feed(secret, tmp_path / "feed.db") as feed:
        yield feed


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """The directory of the key store, initially empty."""
    return tmp_path / "keys"


def operator_of_storage(settings: StorageSettings, trusted: Path) -> Operator:
    """Return an operator whose settings reach storage only: no server listens at the other addresses."""
    return Operator(
        environment(
            AzureWebJobsStorage=settings.connection_string,
            NOTIFICATION_QUEUE=settings.queue,
            REQUESTS_CA_BUNDLE=str(trusted),
            SUBSCRIPTIONS='[{"resource": "/chats/getAllMessages", "changeTypes": ["created", "updated", "deleted"], '
            '"includeResourceData": true}]',
        )
    )


def operator_of_system(
    storage: Operator, graph: GraphServer, endpoint: Server, feed: RunningFeed, secret: str, keys: Path
) -> Operator:
    """Return an operator whose settings name a whole system."""
    return Operator(
        storage.environment
        | {
            "GRAPH_BASE_URL": graph.url,
            "LOGIN_BASE_URL": graph.url,
            "GRAPH_CLIENT_SECRET": graph.registration.client_secret,
            "NOTIFICATION_URL": f"{endpoint.url}/api/notifications",
            "DESTINATION_URL": feed.events_url,
            "DESTINATION_SECRET": secret,
            "KEY_STORE": f"file:{keys}",
        }
    )


@pytest.fixture
def storage_operator(storage_settings: StorageSettings, trusted: Path) -> Iterator[Operator]:
    yield operator_of_storage(storage_settings, trusted)
    relay.forget()


@pytest.fixture
def operator(
    storage_operator: Operator, graph: GraphServer, endpoint: Server, feed: RunningFeed, secret: str, keys: Path
) -> Operator:
    return operator_of_system(storage_operator, graph, endpoint, feed, secret, keys)


@pytest.fixture(scope="module")
def unchanged(azurite: Azurite, authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    """An operator of a healthy system that tests share: they change copies of its settings, and nothing else."""
    directory, secret = tmp_path_factory.mktemp("system"), destination_secret()
    storage = operator_of_storage(
        StorageSettings(f"q-{uuid.uuid4().hex[:12]}", azurite.connection_string), authority.ca
    )
    with (
        running_graph(authority, Registration(TENANT, CLIENT_ID, destination_secret())) as graph,
        serving(complete_handshake, authority) as endpoint,
        running_feed(secret, directory / "feed.db") as feed,
    ):
        operator = operator_of_system(storage, graph, endpoint, feed, secret, directory / "keys")
        operator.json("reconcile")
        yield operator
