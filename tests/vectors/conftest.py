"""One set for all tests, written by the public command, and the app that reads it."""

from collections.abc import Iterator

import pytest

from graph_simulator.authority import Authority
from graph_simulator.vectors import command
from local.azurite import Azurite
from shared.configuration.settings import StorageSettings
from tests.vectors.receiver import App, Vectors, running_app


@pytest.fixture(scope="session")
def vectors(tmp_path_factory: pytest.TempPathFactory) -> Vectors:
    """The set of seed 0."""
    directory = tmp_path_factory.mktemp("vectors") / "set"
    assert command.main([str(directory)]) == 0
    return Vectors(directory)


@pytest.fixture(scope="session")
def app(
    vectors: Vectors, azurite: Azurite, authority: Authority, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[App]:
    """The app's own modules, with the keys and subscriptions of the set."""
    storage = StorageSettings("vectors", azurite.connection_string)
    with running_app(vectors, storage, authority, tmp_path_factory.mktemp("app")) as app:
        yield app
