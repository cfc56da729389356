"""A storage account and small apps for the host to run."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import azure.functions as func
import pytest
from azure.storage.queue import QueueClient

from local.azurite import Azurite

Settings = dict[str, str]


@pytest.fixture
def queue(azurite: Azurite, request: pytest.FixtureRequest) -> Iterator[QueueClient]:
    """A queue of the test's own; the host creates it."""
    name = f"q{abs(hash(request.node.nodeid)):x}"
    with QueueClient.from_connection_string(azurite.connection_string, name) as client:
        yield client


@pytest.fixture
def settings(azurite: Azurite, queue: QueueClient) -> Settings:
    return {"AzureWebJobsStorage": azurite.connection_string, "SOME_QUEUE": str(queue.queue_name)}


@pytest.fixture
def host_json(tmp_path: Path) -> Callable[..., Path]:
    """Write a host.json with these options of the queues extension; short intervals by default."""

    def write(**queues: object) -> Path:
        quick = {"messageEncoding": "none", "maxPollingInterval": "00:00:00.2"}
        file = tmp_path / "host.json"
        file.write_text(json.dumps({"version": "2.0", "extensions": {"queues": {**quick, **queues}}}))
        return file

    return write


def http_app(call: Callable[[func.HttpRequest], Any], route: str = "things/{id}") -> func.FunctionApp:
    """An app with one HTTP function, POST to `route`."""
    app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)

    @app.function_name("answer")
    @app.route(route, methods=["POST"])
    def answer(req: func.HttpRequest) -> Any:
        return call(req)

    return app


def queue_app(call: Callable[[func.QueueMessage], None]) -> func.FunctionApp:
    """An app with one queue function, on the queue that SOME_QUEUE names."""
    app = func.FunctionApp()

    @app.function_name("process")
    @app.queue_trigger(arg_name="message", queue_name="%SOME_QUEUE%", connection="AzureWebJobsStorage")
    def process(message: func.QueueMessage) -> None:
        call(message)

    return app


def timer_app(call: Callable[[func.TimerRequest], None], schedule: str, at_start: bool = False) -> func.FunctionApp:
    """An app with one timer function, called `tick`."""
    app = func.FunctionApp()

    @app.function_name("tick")
    @app.timer_trigger(arg_name="timer", schedule=schedule, run_on_startup=at_start, use_monitor=False)
    def tick(timer: func.TimerRequest) -> None:
        call(timer)

    return app
