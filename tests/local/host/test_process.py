"""The local host as a process: how it starts, ends, crashes and starts again."""

import json
from pathlib import Path

import httpx
import pytest
from azure.storage.queue import QueueClient

from local.azurite import Azurite
from local.child import ChildFailed
from local.host.process import HostProcess
from local.host.waits import LEASE_SETTING
from tests.local.host.conftest import Settings
from tests.waiting import eventually

APP = """
import os, pathlib, time
import azure.functions as func

app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)

@app.route("echo", methods=["POST"])
def echo(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse(req.get_body())

@app.queue_trigger(arg_name="message", queue_name="%SOME_QUEUE%", connection="AzureWebJobsStorage")
def process(message: func.QueueMessage) -> None:
    with pathlib.Path("calls").open("a") as calls:
        calls.write(f"{message.dequeue_count}\\n")
    if message.dequeue_count == 1:
        time.sleep(600)
"""


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """A directory with an app whose queue function hangs at the first attempt."""
    directory = tmp_path / "app"
    directory.mkdir()
    (directory / "function_app.py").write_text(APP)
    queues = {"messageEncoding": "none", "maxPollingInterval": "00:00:00.2"}
    (directory / "host.json").write_text(json.dumps({"version": "2.0", "extensions": {"queues": queues}}))
    return directory


def test_it_says_what_it_is_and_ends_when_asked(app: Path, settings: Settings, tmp_path: Path) -> None:
    log = tmp_path / "host.log"
    with HostProcess(settings, log=log, directory=app) as host:
        assert httpx.post(f"{host.url}/api/echo", content=b"hello").content == b"hello"
        said = log.read_text()
        child = host.child
    assert not child.running
    assert "stand-in" in said
    assert f"echo: POST {host.url}/api/echo" in said
    assert f"process: queue {settings['SOME_QUEUE']}" in said
    assert "Traceback" not in log.read_text()


def test_a_message_that_was_under_way_in_a_crash_comes_again(
    app: Path, settings: Settings, queue: QueueClient, tmp_path: Path
) -> None:
    calls = app / "calls"
    queue.create_queue()
    with HostProcess({**settings, LEASE_SETTING: "2"}, log=tmp_path / "host.log", directory=app) as host:
        queue.send_message("important")
        eventually(calls.exists)
        host.kill()
        host.start()
        assert httpx.post(f"{host.url}/api/echo", content=b"back").content == b"back"
        eventually(lambda: calls.read_text().split()[-1] != "1")
        eventually(lambda: queue.get_queue_properties().approximate_message_count == 0)


@pytest.mark.process
def test_an_app_that_cannot_be_imported_is_shown_with_its_reason(app: Path, tmp_path: Path) -> None:
    (app / "function_app.py").write_text("import nowhere_to_be_found")
    with pytest.raises(ChildFailed, match="No module named 'nowhere_to_be_found'"):
        HostProcess({}, log=tmp_path / "host.log", directory=app).start()


def test_local_settings_fill_in_for_the_environment(app: Path, azurite: Azurite, tmp_path: Path) -> None:
    values = {"AzureWebJobsStorage": azurite.connection_string, "SOME_QUEUE": "from-the-file"}
    (app / "local.settings.json").write_text(json.dumps({"IsEncrypted": False, "Values": values}))
    log = tmp_path / "host.log"
    with HostProcess({}, log=log, directory=app):
        assert "process: queue from-the-file" in log.read_text()
