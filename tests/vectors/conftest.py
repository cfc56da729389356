"""One set for all tests, written by the public command, and the app that reads it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from graph_simulator.authority import Authority
from graph_simulator.vectors import command
from tests.memory import MemoryAccount
from tests.once import once
from tests.vectors.receiver import App, Vectors, running_app


@pytest.fixture(scope="session")
def vectors(tmp_path_factory: pytest.TempPathFactory) -> Vectors:
    """The set of seed 0."""

    def written(directory: Path) -> Vectors:
        assert command.main([str(directory / "set")]) == 0
        return Vectors(directory / "set")

    return once(tmp_path_factory, "vectors", written)


@pytest.fixture(scope="session")
def app(vectors: Vectors, authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """The app's own modules, with the keys and subscriptions of the set."""
    with running_app(vectors, MemoryAccount().queues, authority, tmp_path_factory.mktemp("app")) as app:
        yield app
