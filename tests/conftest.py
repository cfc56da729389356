"""What many tests share: a storage account, a certificate authority, a session that trusts it."""

import secrets
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from hypothesis import HealthCheck, settings

from graph_simulator.authority import Authority
from graph_simulator.server import GraphServer, Registration, running
from local.azurite import Azurite
from shared import http_client
from shared.configuration.settings import StorageSettings
from tests.builders import CLIENT_ID, TENANT

# A slow machine must not fail a property; fixtures that hand out constants may be shared by its examples.
settings.register_profile("relay", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.load_profile("relay")


@pytest.fixture(scope="session")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Azurite]:
    """A storage account for all tests."""
    with Azurite(tmp_path_factory.mktemp("azurite")) as running:
        yield running


@pytest.fixture
def storage_settings(azurite: Azurite) -> StorageSettings:
    """That account, with a queue of the test's own that does not exist yet."""
    return StorageSettings(f"q-{uuid.uuid4().hex[:12]}", azurite.connection_string)


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """A certificate authority, and a server's certificate."""
    return Authority.create(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def trusted(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The authority, trusted by every client of ours for the time of the test."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority.ca))
    return authority.ca


@pytest.fixture
def session(trusted: Path) -> Iterator[requests.Session]:
    """The app's own HTTP session."""
    with http_client.session() as made:
        yield made


@pytest.fixture(scope="session")
def simulator(authority: Authority) -> Iterator[GraphServer]:
    """Graph and Entra for our app; a test leaves it as it found it."""
    with running(authority, Registration(TENANT, CLIENT_ID, secrets.token_urlsafe())) as server:
        yield server
