"""Claim checks: what the app relies on, with both implementations; and failures that only Azure has."""

from pathlib import Path

import pytest
from azure.storage.blob import ContainerClient

from local.azurite import Azurite
from shared.configuration.settings import StorageSettings
from shared.errors import AlreadyProcessed, Reason, RetryLater, Undeliverable
from shared.storage.account import TimeLimits
from shared.storage.claim_check import ClaimCheck, Opened
from tests import accounts
from tests.rerouted import refuses, rerouted
from tests.servers import serving
from tests.shared.storage.stored import blobs

ONCE = TimeLimits(connect=1, read=1, retries=0, backoff=0)
UUID = "3f1c0a52-7a3e-4d0e-9f0e-0c6a4f2d9b11"


@pytest.fixture
def stopped(tmp_path: Path) -> ClaimCheck:
    """In a storage account where no server listens."""
    return accounts.claims(StorageSettings("q-stopped", Azurite(tmp_path).connection_string), ONCE)


def test_a_text_is_stored_and_a_missing_container_is_created(claims: ClaimCheck) -> None:
    opened = claims.open(claims.check_in("text"))
    assert opened.text == "text"
    assert opened.blob is not None


def test_a_claim_names_its_blob_until_it_is_deleted(storage_settings: StorageSettings) -> None:
    claims = accounts.claims(storage_settings)
    opened = claims.open(claims.check_in("text"))
    assert blobs(storage_settings) == [opened.blob]
    claims.delete(opened)
    assert blobs(storage_settings) == []


def test_a_claim_is_deleted_once_it_has_been_processed(claims: ClaimCheck) -> None:
    message = claims.check_in("text")
    opened = claims.open(message)
    claims.delete(opened)
    claims.delete(opened)
    with pytest.raises(AlreadyProcessed) as gone:
        claims.open(message)
    assert gone.value.reason is Reason.CLAIM_GONE


def test_a_message_without_a_claim_is_opened_and_deleted_without_storage(stopped: ClaimCheck) -> None:
    opened = stopped.open('{"kind": "change"}')
    stopped.delete(opened)
    assert opened == Opened('{"kind": "change"}')


@pytest.mark.parametrize(
    "name", ["", "a", UUID.upper(), f"{UUID}\n", f"x{UUID}", "../other/blob", "other/" + UUID, UUID[:-1], "a" * 100_000]
)
def test_a_foreign_claim_is_rejected_without_storage(stopped: ClaimCheck, name: str) -> None:
    with pytest.raises(Undeliverable) as undeliverable:
        stopped.open(f"claim:{name}")
    assert undeliverable.value.reason is Reason.MALFORMED
    assert name[:20] not in str(undeliverable.value) or not name[1:]


def test_a_blob_that_this_app_did_not_write_is_undeliverable(storage_settings: StorageSettings) -> None:
    claims = accounts.claims(storage_settings)
    claims.create_missing()
    container = f"{storage_settings.queue}-claims"
    with ContainerClient.from_connection_string(storage_settings.connection_string, container) as client:
        client.upload_blob(UUID, "é".encode())
    with pytest.raises(Undeliverable) as undeliverable:
        claims.open(f"claim:{UUID}")
    assert undeliverable.value.reason is Reason.MALFORMED


def test_a_claim_is_already_processed_where_there_is_no_container(claims: ClaimCheck) -> None:
    with pytest.raises(AlreadyProcessed):
        claims.open(f"claim:{UUID}")


def test_a_withdrawn_claim_leaves_no_blob(storage_settings: StorageSettings) -> None:
    claims = accounts.claims(storage_settings)
    claims.withdraw(claims.check_in("text"))
    assert blobs(storage_settings) == []


def test_a_withdrawn_claim_claims_nothing(claims: ClaimCheck) -> None:
    message = claims.check_in("text")
    claims.withdraw(message)
    with pytest.raises(AlreadyProcessed):
        claims.open(message)


def test_a_claim_is_withdrawn_without_an_error_even_where_storage_refuses(storage_settings: StorageSettings) -> None:
    with serving(refuses) as server:
        accounts.claims(rerouted(storage_settings, "Blob", server.url), ONCE).withdraw(f"claim:{UUID}")
        assert [request.method for request in server.asked] == ["DELETE"]


def test_while_storage_is_stopped_every_call_says_so_and_names_no_account(stopped: ClaimCheck) -> None:
    for call in (
        lambda: stopped.check_in("a"),
        lambda: stopped.open(f"claim:{UUID}"),
        lambda: stopped.delete(Opened("", UUID)),
        stopped.create_missing,
    ):
        with pytest.raises(RetryLater) as retry_later:
            call()
        assert retry_later.value.reason is Reason.STORAGE
        assert "relay" not in str(retry_later.value)
