"""Two storage accounts: Azurite, and the one in memory that other tests use. Each test runs with both."""

import pytest

from shared.storage.claim_check import ClaimCheck
from shared.storage.clients import StorageClients
from shared.storage.queues import Queues
from shared.storage.tables import Tables
from tests.memory import MemoryAccount


@pytest.fixture(params=["memory", pytest.param("azure", marks=pytest.mark.process)])
def storage(request: pytest.FixtureRequest) -> StorageClients:
    if request.param == "memory":
        return MemoryAccount().clients()
    return StorageClients.of(request.getfixturevalue("storage_settings"))


@pytest.fixture
def queues(storage: StorageClients) -> Queues:
    return storage.queues


@pytest.fixture
def claims(storage: StorageClients) -> ClaimCheck:
    return storage.claims


@pytest.fixture
def tables(storage: StorageClients) -> Tables:
    return storage.tables
