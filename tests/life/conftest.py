"""A simulated Graph, an endpoint, a destination, and an instance of the app between them, all on virtual time."""

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests

from graph_simulator.authority import Authority
from shared.configuration.settings import StorageSettings
from shared.storage.clients import StorageClients
from tests.builders import destination_secret, environment
from tests.life.instance import Inbox, Instance
from tests.life.watched_graph import WatchedGraph, watched_graph
from tests.memory import MemoryAccount
from tests.servers import ScriptedResponse, Server, serving

CHATS, TEAMS = "/chats/getAllMessages", "/teams/getAllMessages"


def declared(resource: str, *types: str, tenant: str = "", rich: bool = True) -> dict[str, Any]:
    """A declaration, as in `subscriptions.json`."""
    change_types = types or ("created", "updated", "deleted")
    return {
        "resource": resource,
        "changeTypes": change_types,
        "includeResourceData": rich,
        **({"tenantId": tenant} if tenant else {}),
    }


def in_thread(work: Callable[[], None]) -> Future[None]:
    """Run a function in a thread beside the test."""
    done: Future[None] = Future()

    def run() -> None:
        try:
            work()
            done.set_result(None)
        except BaseException as error:  # the test sees the exception
            done.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return done


@pytest.fixture
def graph(authority: Authority, trusted: Path) -> Iterator[WatchedGraph]:
    with watched_graph(authority) as graph:
        yield graph


@dataclass
class AppEnvironment:
    """The app's surroundings. `app` starts an instance; the latest instance answers at the endpoint."""

    graph: WatchedGraph
    endpoint: Server
    inbox: Inbox
    session: requests.Session
    environ: dict[str, str]
    storage: StorageClients
    """The storage account of all instances."""
    instances: list[Instance] = field(default_factory=list)

    def instance(self, *declarations: dict[str, Any], **settings: str) -> Instance:
        """Return an instance with these declarations, or with the former ones."""
        if declarations:
            self.environ["SUBSCRIPTIONS"] = json.dumps(declarations)
        self.environ.update(settings)
        app = Instance(self.environ, self.session, self.graph.clock, storage=self.storage)
        self.instances.append(app)
        self.endpoint.script = app.answer
        return app

    def delivered(self) -> Callable[[], bool]:
        """Return a condition: the inbox holds every message in its present version."""
        written = {line["path"]: line["resource"]["lastModifiedDateTime"] for line in self.graph.messages()}

        def all_there() -> bool:
            held = {
                event["subject"]: (event.get("data") or {}).get("lastModifiedDateTime")
                for event in self.inbox.messages().values()
            }
            return held == written

        return all_there


@contextmanager
def app_environment(
    graph: WatchedGraph,
    authority: Authority,
    session: requests.Session,
    directory: Path,
    storage: StorageClients,
    **settings: str,
) -> Iterator[AppEnvironment]:
    """Run the endpoint and the destination of an app that stores in `storage`."""
    secret = destination_secret()
    inbox = Inbox(secret)
    with serving(lambda _: ScriptedResponse(503), authority) as endpoint, serving(inbox.answer) as destination:
        environ = environment(
            GRAPH_TENANT_ID=graph.registration.tenant,
            GRAPH_CLIENT_ID=graph.registration.client_id,
            GRAPH_CLIENT_SECRET=graph.registration.client_secret,
            GRAPH_BASE_URL=graph.url,
            LOGIN_BASE_URL=graph.url,
            NOTIFICATION_URL=f"{endpoint.url}/api/notifications",
            KEY_STORE=f"file:{directory / 'keys'}",
            DESTINATION_URL=f"{destination.url}/events",
            DESTINATION_SECRET=secret,
            SWEEP_INTERVAL_HOURS="0",
            SUBSCRIPTIONS=json.dumps([declared(CHATS)]),
            **settings,
        )
        yield AppEnvironment(graph, endpoint, inbox, session, environ, storage)


@pytest.fixture
def world(
    graph: WatchedGraph, authority: Authority, session: requests.Session, tmp_path: Path
) -> Iterator[AppEnvironment]:
    """Storage is in memory, tested like Azure's (tests/shared/storage): days of runs ask it for a lot."""
    with app_environment(graph, authority, session, tmp_path, MemoryAccount().clients()) as made:
        yield made


@pytest.fixture
def azure_world(
    graph: WatchedGraph,
    authority: Authority,
    session: requests.Session,
    storage_settings: StorageSettings,
    tmp_path: Path,
) -> Iterator[AppEnvironment]:
    """Storage is Azurite, for what several processes or instances do at once."""
    account = {
        "AzureWebJobsStorage": storage_settings.connection_string,
        "NOTIFICATION_QUEUE": storage_settings.queue,
    }
    with app_environment(graph, authority, session, tmp_path, StorageClients.of(storage_settings), **account) as made:
        yield made
