"""A vault that accepts tokens of the Graph simulator's login."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from azure.identity import ClientSecretCredential

from graph_simulator.authority import Authority
from graph_simulator.server import GraphServer, Registration, running
from tests.stand_ins.vault import server
from tests.stand_ins.vault.server import VaultServer


@pytest.fixture(scope="module")
def graph(authority: Authority) -> Iterator[GraphServer]:
    registration = Registration(str(uuid.uuid4()), str(uuid.uuid4()), uuid.uuid4().hex)
    with running(authority, registration) as graph:
        yield graph


@pytest.fixture
def vault(authority: Authority, graph: GraphServer, trusted: Path) -> Iterator[VaultServer]:
    with server.running(authority, graph) as vault:
        yield vault


@pytest.fixture
def credential(graph: GraphServer, trusted: Path) -> ClientSecretCredential:
    return sign_in(graph, graph.registration.client_secret)


def sign_in(graph: GraphServer, secret: str) -> ClientSecretCredential:
    """A credential of Azure's SDK, for the simulator's login."""
    registration = graph.registration
    return ClientSecretCredential(
        registration.tenant, registration.client_id, secret, authority=graph.url, disable_instance_discovery=True
    )
