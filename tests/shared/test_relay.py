"""The objects of a process: each created once, from settings that are read again until they are valid."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest

from shared import relay
from shared.configuration.settings import SettingsError
from shared.keys.directory import KeyDirectory
from shared.keys.key_vault import KeyVault
from shared.keys.store import DeferredKeyStore
from shared.messages.group_commit import GroupCommit
from shared.storage.clients import StorageClients
from tests.builders import encryption_key, environment

THREADS = 16


@pytest.fixture(autouse=True)
def set_up(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Each test has settings, and objects, of its own."""

    def set_up(**changes: str | None) -> None:
        for name in environment():
            monkeypatch.delenv(name, raising=False)
        for name, value in environment(**changes).items():
            monkeypatch.setenv(name, value)

    relay.forget()
    set_up()
    yield set_up
    relay.forget()


@pytest.fixture
def eager_threads() -> Iterator[None]:
    """The interpreter switches threads as often as possible, so that races show."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(usual)


def together(call: Callable[[], Any]) -> list[Any]:
    """Return the result of the call in each of 16 threads that make it at the same moment."""
    start = Barrier(THREADS)

    def run() -> Any:
        start.wait()
        return call()

    with ThreadPoolExecutor(THREADS) as threads:
        return [running.result() for running in [threads.submit(run) for _ in range(THREADS)]]


def distinct(objects: list[Any]) -> int:
    return len({id(item) for item in objects})


def test_each_is_made_once() -> None:
    assert relay.relay() is relay.relay()
    assert relay.storage() is relay.storage() is relay.relay().storage


def test_threads_that_come_together_at_a_cold_start_get_the_same_objects(eager_threads: None) -> None:
    made = together(lambda: (relay.relay(), relay.storage()))
    assert distinct([app for app, _ in made]) == 1
    assert distinct([storage for app, own in made for storage in (app.storage, own)]) == 1


def test_threads_that_need_storage_alone_get_the_same_clients(eager_threads: None) -> None:
    for _ in range(10):
        relay.forget()
        assert distinct(together(relay.storage)) == 1


def test_threads_that_come_together_each_get_the_complaint_about_wrong_settings(set_up: Callable[..., None]) -> None:
    set_up(GRAPH_TENANT_ID="%")

    def complaint() -> str:
        with pytest.raises(SettingsError) as wrong:
            relay.relay()
        return str(wrong.value)

    assert {text.partition(":")[0] for text in together(complaint)} == {"GRAPH_TENANT_ID"}


def test_what_was_forgotten_is_built_again_from_the_environment(set_up: Callable[..., None]) -> None:
    before = relay.relay()
    set_up(NOTIFICATION_URL="https://other.example.org/hook")
    assert relay.relay() is before
    relay.forget()
    assert relay.relay().settings.notification_url == "https://other.example.org/hook"
    assert relay.storage() is not before.storage


def test_its_parts_share_what_they_have_in_common() -> None:
    app = relay.relay()
    assert app.rotation._ring is app.keys
    assert app.sweep.queues is app.queues
    assert app.queues.sender is app.storage.queues
    assert isinstance(app.acknowledging.sender, GroupCommit)
    assert app.acknowledging.sender._sender is app.storage.acknowledging
    assert app.sweep.checkpoints is app.checkpoints
    assert app.checkpoints._tables is app.ledgers[0]._tables is app.last_seen._tables is app.storage.tables
    assert app.outboxes["default"].ledger is app.ledgers[0]
    assert app.graph._session is app.signing_keys._session is app.destinations["default"]._session is app.session
    assert app.dead_letters()._queues is app.storage.queues
    assert app.dead_letters()._claims is app.storage.claims


def test_each_look_through_the_dead_letters_is_one_of_its_own() -> None:
    assert relay.relay().dead_letters() is not relay.relay().dead_letters()


def test_the_path_of_the_202_has_queues_of_its_own() -> None:
    assert relay.storage().acknowledging is not relay.storage().queues


def test_wrong_settings_are_reported_each_time_until_they_are_fixed(set_up: Callable[..., None]) -> None:
    set_up(GRAPH_TENANT_ID="%")
    for _ in range(2):
        with pytest.raises(SettingsError, match="GRAPH_TENANT_ID"):
            relay.relay()
    set_up()
    assert relay.relay() is relay.relay()


def test_storage_works_while_other_settings_are_wrong(
    set_up: Callable[..., None],
) -> None:
    set_up(AzureWebJobsStorage=None, GRAPH_TENANT_ID="%")
    for _ in range(2):
        with pytest.raises(SettingsError, match="AzureWebJobsStorage") as wrong:
            relay.storage()
        assert len(wrong.value.complaints) == 1
    set_up(GRAPH_TENANT_ID="%")
    assert relay.storage() is relay.storage()
    with pytest.raises(SettingsError, match="GRAPH_TENANT_ID"):
        relay.relay()
    assert isinstance(relay.storage(), StorageClients)


def test_storage_made_while_other_settings_were_wrong_is_that_of_the_app(set_up: Callable[..., None]) -> None:
    set_up(GRAPH_TENANT_ID="%")
    storage = relay.storage()
    set_up()
    assert relay.relay().storage is storage


def test_keys_may_be_in_a_directory(set_up: Callable[..., None], tmp_path: Path) -> None:
    set_up(KEY_STORE=f"file:{tmp_path / 'with space'}")
    app = relay.relay()
    assert isinstance(app.keys._store, KeyDirectory)
    key = app.desired_state(app.keys.current()).key
    assert key
    assert [path.name for path in (tmp_path / "with space").iterdir()] == [f"{key.key_id}.pem"]
    assert app.keys.current() == key


def test_keys_may_be_in_a_vault(set_up: Callable[..., None]) -> None:
    set_up(KEY_STORE="https://keys.vault.azure.net")
    deferred = relay.relay().keys._store
    assert isinstance(deferred, DeferredKeyStore)
    assert isinstance(deferred._store(), KeyVault)
    assert deferred._store() is deferred._store()


@pytest.mark.process
def test_the_sdk_of_a_vault_is_not_imported_for_a_202() -> None:
    """Its import takes 0.3 s, of the three seconds that a cold start has."""
    code = (
        "import sys; from shared.relay import relay; relay();"
        "print([name for name in ('azure.identity', 'azure.keyvault') if name in sys.modules])"
    )
    environ = {**os.environ, **environment(KEY_STORE="https://keys.vault.azure.net")}
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_subscriptions_are_minted_with_the_first_of_two_secrets(set_up: Callable[..., None], tmp_path: Path) -> None:
    first, second = (environment()["CLIENT_STATE_SECRET"] for _ in range(2))
    set_up(CLIENT_STATE_SECRET=f"{first},{second}", KEY_STORE=f"file:{tmp_path}")
    app = relay.relay()
    desired = app.desired_state(app.keys.current())
    assert desired.client_state_secret == app.settings.client_state_secrets[0]
    assert desired.notification_url == app.settings.notification_url
    assert desired.key is not None
    assert desired.key.key_id != encryption_key().key_id


@pytest.mark.parametrize("scope", [None, "api://feed/.default"])
def test_the_destination_gets_a_token_only_where_a_scope_is_set(
    set_up: Callable[..., None], monkeypatch: pytest.MonkeyPatch, scope: str | None
) -> None:
    set_up()
    if scope:
        monkeypatch.setenv("DESTINATION_SCOPE", scope)
    assert (relay.relay().destinations["default"]._authorization is not None) == (scope is not None)


def test_the_clock_is_utc() -> None:
    assert relay.utc_now().tzname() == "UTC"
