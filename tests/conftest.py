"""Shared fixtures: a storage account, a certificate authority, a session that trusts it.

Each worker of pytest-xdist has its own.
"""

import gc
import os
import platform
import secrets
import socket
import subprocess
import uuid
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path

import httpx
import pytest
import requests
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import HealthCheck, settings

from graph_simulator.authority import Authority
from graph_simulator.server import GraphServer, Registration, running
from local.azurite import Azurite
from shared import http_client
from shared.configuration.settings import StorageSettings
from tests import rsa_keys, tls_contexts
from tests.builders import CLIENT_ID, TENANT

rsa.generate_private_key = rsa_keys.keys
serialization.load_pem_private_key = rsa_keys.read  # type: ignore[assignment]
httpx._transports.default.create_ssl_context = tls_contexts.context  # type: ignore[attr-defined]

# A slow machine must not fail a property; fixtures that return constants may be shared by its examples.
settings.register_profile(
    "relay", deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.register_profile("check", settings.get_profile("relay"), max_examples=20)  # of `make check`
settings.load_profile("relay")

platform.platform()  # runs `uname` once; Azure's clients send the platform

gc.disable()  # until all tests are collected: what a collection makes, it keeps

PROCESSES = {"azurite", "browser"}
"""The fixtures that start a process."""

SERVERS = {"authority", "feed"}
"""The fixtures of tests that start servers in this process: Graph's have a certificate of the authority."""

LONGEST_NAME = 40
"""Characters of a parameter in the name of a test; a secret of 32 bytes has more in Base64."""


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Use two workers for each core: a worker waits for servers and processes about half of its time. `logical`, as
    in `make check`: one, since tests without servers do not wait, and each worker collects all the tests.
    """
    cores = len(os.sched_getaffinity(0))
    return min(cores if config.option.numprocesses == "logical" else 2 * cores, 8)


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name a test's parameter by its text if that is short. A long text may be a secret made for the test: every worker
    makes another, and the names of the tests must be equal in all workers.
    """
    return argname if isinstance(val, str) and len(val) > LONGEST_NAME else None


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Refuse parameters without an order: every worker would collect them in another, and pytest-xdist run no test."""
    for mark in metafunc.definition.iter_markers("parametrize"):
        if any(isinstance(values, (set, frozenset)) for values in (*mark.args, *mark.kwargs.values())):
            raise pytest.UsageError(f"{metafunc.definition.nodeid}: expected parameters with an order, this is a set")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Iterator[None]:
    """Mark the tests that start a process or a server through a fixture; start with those that may take longest."""
    for item in items:
        fixtures = getattr(item, "fixturenames", ())
        if PROCESSES.intersection(fixtures):
            item.add_marker("process")
        if SERVERS.intersection(fixtures):
            item.add_marker("server")
    yield
    items.sort(key=_time_limit, reverse=True)
    long = [item for item in items if _time_limit(item)]
    items[:] = dealt(long, items[len(long) :], int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")))


def dealt(long: Sequence[pytest.Item], others: Sequence[pytest.Item], workers: int) -> list[pytest.Item]:
    """Let each worker begin with its share of the long tests: pytest-xdist gives each of them a part of the list."""
    left, order = list(others), list[pytest.Item]()
    for number in range(workers):
        share = (len(long) + len(others) - len(order)) // (workers - number)
        first = long[number::workers]
        rest = max(share - len(first), 0)
        order += [*first, *left[:rest]]
        del left[:rest]
    return order + left


def pytest_collection_finish() -> None:
    """Leave out of each garbage collection what lives as long as the tests: modules, and thousands of tests."""
    gc.collect()
    gc.freeze()
    gc.enable()


def _time_limit(item: pytest.Item) -> float:
    limit = item.get_closest_marker("timeout")
    return float(limit.args[0]) if limit else 0


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Enforce the marks: a test without them, which `make check` runs, starts neither a process nor a server."""
    with rsa_keys.keys.of_a_test(), pytest.MonkeyPatch.context() as patch:
        if not item.get_closest_marker("process"):
            patch.setattr(subprocess.Popen, "__init__", _refuse_process)
            if not item.get_closest_marker("server"):
                patch.setattr(socket.socket, "listen", _refuse_server)
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef[object]) -> Iterator[None]:
    """Fixtures that several tests share have keys of their own."""
    with nullcontext() if fixturedef.scope == "function" else rsa_keys.keys.of_more_than_one_test():
        return (yield)


def _refuse_process(*_: object, **__: object) -> None:
    pytest.fail("this test starts a process: give it pytest.mark.process")


def _refuse_server(*_: object, **__: object) -> None:
    pytest.fail("this test starts a server: give it pytest.mark.server")


@pytest.fixture(scope="session")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Azurite]:
    """A storage account for all tests."""
    with Azurite(tmp_path_factory.mktemp("azurite"), in_memory=True) as running:
        yield running


@pytest.fixture
def storage_settings(azurite: Azurite) -> StorageSettings:
    """The account, with a queue name of the test's own; the queue does not exist yet."""
    return StorageSettings(f"q-{uuid.uuid4().hex[:12]}", azurite.connection_string)


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """A certificate authority, and a server's certificate."""
    return Authority.create(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def trusted(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The authority, trusted by every client of the app during the test."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority.ca))
    return authority.ca


@pytest.fixture
def session(trusted: Path) -> Iterator[requests.Session]:
    """The app's own HTTP session."""
    with http_client.session() as made:
        yield made


@pytest.fixture(scope="session")
def simulator(authority: Authority) -> Iterator[GraphServer]:
    """Graph and Entra for our app; a test must restore what it changes."""
    with running(authority, Registration(TENANT, CLIENT_ID, secrets.token_urlsafe())) as server:
        yield server
