"""Azurite in the configuration of the local system and the tests."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from azure.core.exceptions import AzureError
from azure.data.tables import TableServiceClient
from azure.storage.blob import BlobServiceClient
from azure.storage.queue import QueueClient

from local.azurite import Azurite
from local.ports import answers
from tests.waiting import eventually


@pytest.fixture(scope="module")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Azurite]:
    with Azurite(tmp_path_factory.mktemp("azurite")) as running:
        yield running


def test_queues_blobs_and_tables_answer(azurite: Azurite) -> None:
    with QueueClient.from_connection_string(azurite.connection_string, "some-queue") as queue:
        queue.create_queue()
        queue.send_message("hello")
        assert [message.content for message in queue.receive_messages()] == ["hello"]
    with BlobServiceClient.from_connection_string(azurite.connection_string) as blobs:
        blobs.create_container("container").upload_blob("blob", b"hello")
    with TableServiceClient.from_connection_string(azurite.connection_string) as tables:
        tables.create_table("table").upsert_entity({"PartitionKey": "a", "RowKey": "b"})


def test_each_one_has_an_account_key_of_its_own(azurite: Azurite, tmp_path: Path) -> None:
    stranger = Azurite(tmp_path).connection_string.split("AccountKey=")[1].split(";")[0]
    own = azurite.connection_string.split("AccountKey=")[1].split(";")[0]
    guess = QueueClient.from_connection_string(azurite.connection_string.replace(own, stranger), "any")
    with guess, pytest.raises(AzureError):
        guess.create_queue(retry_total=0)


@pytest.mark.process
def test_what_was_stored_survives_a_stop_and_a_start(tmp_path: Path) -> None:
    with Azurite(tmp_path) as azurite:
        queue = QueueClient.from_connection_string(azurite.connection_string, "kept")
        queue.create_queue()
        queue.send_message("still here")
        azurite.stop()
        with pytest.raises(AzureError):
            queue.peek_messages(retry_total=0)
        azurite.start()
        assert [message.content for message in queue.receive_messages()] == ["still here"]
        queue.close()


@pytest.mark.process
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends children with their parent")
def test_it_dies_with_the_process_that_started_it(tmp_path: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path; from local.azurite import Azurite\n"
        "print(Azurite(Path(sys.argv[1])).start().ports['queue'], flush=True); time.sleep(600)"
    )
    parent = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    port = int(parent.stdout.readline())
    assert answers(port)
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    eventually(lambda: not answers(port))
