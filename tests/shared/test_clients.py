"""The clients of a process: each made once, from settings that are read anew until they are right."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from shared import clients
from shared.configuration.settings import SettingsError
from shared.keys.directory import KeyDirectory
from shared.keys.key_vault import KeyVault
from tests.builders import encryption_key, environment

CACHED = [name for name, made in vars(clients).items() if hasattr(made, "cache_clear")]
FOR_STORAGE_ALONE = ("prompt_storage", "patient_storage", "tables", "silence", "session")


@pytest.fixture(autouse=True)
def set_up(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Each test has settings, and clients, of its own."""

    def set_up(**changes: str | None) -> None:
        for name in environment():
            monkeypatch.delenv(name, raising=False)
        for name, value in environment(**changes).items():
            monkeypatch.setenv(name, value)

    forget()
    set_up()
    yield set_up
    forget()


def forget() -> None:
    for name in CACHED:
        getattr(clients, name).cache_clear()


def made(name: str) -> Any:
    return getattr(clients, name)()


@pytest.mark.parametrize("name", CACHED)
def test_each_is_made_once(name: str) -> None:
    assert made(name) is made(name)


def test_they_share_what_they_have_in_common() -> None:
    assert clients.rotation().ring is clients.key_ring()
    assert clients.rotation().tables is clients.sweep().tables is clients.tables()
    assert clients.sweep().storage is clients.patient_storage()


def test_the_way_of_the_202_has_a_client_of_its_own() -> None:
    assert clients.prompt_storage() is not clients.patient_storage()


@pytest.mark.parametrize("name", [name for name in CACHED if name not in FOR_STORAGE_ALONE])
def test_wrong_settings_are_complained_of_each_time_until_they_are_mended(
    name: str, set_up: Callable[..., None]
) -> None:
    set_up(GRAPH_TENANT_ID="%")
    for _ in range(2):
        with pytest.raises(SettingsError, match="GRAPH_TENANT_ID"):
            made(name)
    set_up()
    assert made(name) is made(name)


@pytest.mark.parametrize("name", [name for name in FOR_STORAGE_ALONE if name != "session"])
def test_storage_works_while_other_settings_are_wrong_and_waits_for_its_own(
    name: str, set_up: Callable[..., None]
) -> None:
    set_up(AzureWebJobsStorage=None, GRAPH_TENANT_ID="%")
    for _ in range(2):
        with pytest.raises(SettingsError, match="AzureWebJobsStorage") as wrong:
            made(name)
        assert len(wrong.value.complaints) == 1
    set_up(GRAPH_TENANT_ID="%")
    assert made(name) is made(name)


def test_keys_may_lie_in_a_directory(set_up: Callable[..., None], tmp_path: Path) -> None:
    set_up(KEY_STORE=f"file:{tmp_path / 'with space'}")
    assert isinstance(clients.key_ring()._store, KeyDirectory)
    key = clients.desired(clients.key_ring().current()).key
    assert key
    assert [path.name for path in (tmp_path / "with space").iterdir()] == [f"{key.key_id}.pem"]
    assert clients.key_ring().current() == key


def test_keys_may_lie_in_a_vault(set_up: Callable[..., None]) -> None:
    set_up(KEY_STORE="https://keys.vault.azure.net")
    assert isinstance(clients.key_ring()._store, KeyVault)


def test_subscriptions_are_minted_with_the_first_of_two_secrets(set_up: Callable[..., None], tmp_path: Path) -> None:
    first, second = (environment()["CLIENT_STATE_SECRET"] for _ in range(2))
    set_up(CLIENT_STATE_SECRET=f"{first},{second}", KEY_STORE=f"file:{tmp_path}")
    desired = clients.desired(clients.key_ring().current())
    assert desired.client_state_secret == clients.settings().client_state_secrets[0]
    assert desired.notification_url == clients.settings().notification_url
    assert desired.key
    assert desired.key.key_id != encryption_key().key_id


@pytest.mark.parametrize("scope", [None, "api://feed/.default"])
def test_the_destination_gets_a_token_only_where_a_scope_is_set(
    set_up: Callable[..., None], monkeypatch: pytest.MonkeyPatch, scope: str | None
) -> None:
    set_up()
    if scope:
        monkeypatch.setenv("DESTINATION_SCOPE", scope)
    assert (clients.destination()._authorization is not None) == (scope is not None)


def test_now_is_utc() -> None:
    assert clients.now().tzname() == "UTC"
