"""Settings in blobs of a real storage account."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from azure.storage.blob import BlobServiceClient, ContainerClient

from graph_simulator.authority import Authority
from shared.configuration.settings import StorageSettings
from shared.configuration.settings import storage_settings as read_settings
from shared.configuration.values import InvalidValue
from shared.errors import RetryLater
from shared.storage.documents import BlobDocuments
from tests.servers import ScriptedResponse, in_json, serving


@pytest.fixture
def container(storage_settings: StorageSettings) -> Iterator[ContainerClient]:
    with BlobServiceClient.from_connection_string(storage_settings.connection_string) as service:
        container = service.get_container_client(f"config-{uuid.uuid4().hex[:12]}")
        container.create_container()
        yield container


def test_a_blob_is_read_once_for_each_version(container: ContainerClient, storage_settings: StorageSettings) -> None:
    documents, blob = BlobDocuments(storage_settings), container.get_blob_client("subscriptions.json")
    blob.upload_blob("[] # ü".encode("utf-8-sig"))
    first = documents.read(blob.url)
    assert first is not None
    assert first.text == "[] # ü"
    assert documents.read(blob.url, first.etag) is None
    blob.upload_blob(b"[1]", overwrite=True)
    second = documents.read(blob.url, first.etag)
    assert second is not None
    assert second.text == "[1]"
    assert second.etag != first.etag
    assert second.modified >= first.modified


def test_an_empty_blob_is_an_empty_text(container: ContainerClient, storage_settings: StorageSettings) -> None:
    blob = container.get_blob_client("empty")
    blob.upload_blob(b"")
    read = BlobDocuments(storage_settings).read(blob.url)
    assert read is not None
    assert read.text == ""


def test_a_missing_blob_or_one_without_text_is_reported(
    container: ContainerClient, storage_settings: StorageSettings
) -> None:
    documents, blob = BlobDocuments(storage_settings), container.get_blob_client("broken")
    with pytest.raises(RetryLater, match="there is no blob"):
        documents.read(blob.url)
    blob.upload_blob(b"\xff\xfe[]")
    with pytest.raises(InvalidValue, match="UTF-8"):
        documents.read(blob.url)


def test_a_refusal_names_the_role(container: ContainerClient, storage_settings: StorageSettings) -> None:
    blob = container.get_blob_client("subscriptions.json")
    blob.upload_blob(b"[]")
    key = storage_settings.connection_string.partition("AccountKey=")[2].partition(";")[0]
    other = StorageSettings("q", storage_settings.connection_string.replace(key, key[::-1].replace("=", "") + "=="))
    with pytest.raises(RetryLater, match="Storage Blob Data Reader"):
        BlobDocuments(other).read(blob.url)


def test_no_token_goes_to_plain_http(storage_settings: StorageSettings) -> None:
    with pytest.raises(InvalidValue, match="https"):
        BlobDocuments(storage_settings).read("http://127.0.0.1:9/container/subscriptions.json")


def test_every_read_of_a_blob_has_the_same_connection_and_token(
    authority: Authority, trusted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = {"access_token": "t", "expires_on": "4102444800", "resource": "r", "token_type": "Bearer"}
    etag, modified = '"1"', "Mon, 03 Feb 2031 04:05:06 GMT"
    blob = ScriptedResponse(206, b"[]", {"ETag": etag, "Last-Modified": modified, "Content-Range": "bytes 0-1/2"})
    with serving(lambda _: in_json(token)) as identity, serving(lambda _: blob, authority) as account:
        monkeypatch.setenv("IDENTITY_ENDPOINT", f"{identity.url}/token")
        monkeypatch.setenv("IDENTITY_HEADER", "header")
        documents = BlobDocuments(read_settings({"AzureWebJobsStorage__accountName": "somewhere"}))
        for _ in range(3):
            read = documents.read(f"{account.url}/relay/destinations.json")
            assert read is not None
            assert (read.text, read.etag) == ("[]", etag)
        assert len({request.connection for request in account.asked}) == 1
        assert len(identity.asked) == 1
