"""Settings, host.json, and the features that the local host supports."""

import json
import logging
import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import azure.functions as func
import httpx
import pytest
from opentelemetry import metrics

from local.host.bindings import UnsupportedFunction, functions_of
from local.host.configuration import ConfigurationError, QueueOptions, app_settings, host_options, time_span
from local.host.invoker import thread_count
from local.host.server import Host
from tests.coroutines import completed
from tests.local.host.conftest import http_app, queue_app, timer_app
from tests.local.host.in_thread import ThreadWorker, running

ROOT = Path(__file__).parents[3]


def described(app: func.FunctionApp, settings: dict[str, str], host_json: Path) -> list[str]:
    """Return a host's description of its functions."""
    worker = ThreadWorker(app, 1)
    host = Host(worker, completed(worker.start()), settings, host_options(host_json))
    return list(host.describe("http://host"))


def test_what_host_json_leaves_out_is_as_in_azure(tmp_path: Path) -> None:
    (tmp_path / "host.json").write_text('{"version": "2.0"}')
    options = host_options(tmp_path / "host.json")
    assert options.http.route_prefix == "api"
    assert options.queues == QueueOptions("base64", timedelta(minutes=1), timedelta(0), 16, 8, 5)


def test_our_own_host_json_asks_for_plain_text_and_quick_polling() -> None:
    queues = host_options(ROOT / "host.json").queues
    assert queues.message_encoding == "none"
    assert queues.max_polling_interval <= timedelta(seconds=1)


def test_the_environment_goes_before_local_settings(tmp_path: Path) -> None:
    (tmp_path / "local.settings.json").write_text(json.dumps({"Values": {"A": "file", "B": "file"}}))
    assert app_settings(tmp_path, {"A": "environment"}) == {"A": "environment", "B": "file"}


@pytest.mark.parametrize("text", ["", "1", "00:0", "10", "a:b:c"])
def test_a_wrong_time_span_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError):
        time_span(text)


@pytest.mark.parametrize("text", ["0", "-1", "many"])
def test_a_wrong_thread_count_is_named_without_its_value(text: str) -> None:
    with pytest.raises(ConfigurationError, match="PYTHON_THREADPOOL_THREAD_COUNT: expected a positive number"):
        thread_count({"PYTHON_THREADPOOL_THREAD_COUNT": text})


@pytest.mark.parametrize(
    ("app", "settings", "fault"),
    [
        (queue_app(print), {"SOME_QUEUE": "q"}, "process: NOT STARTED, AzureWebJobsStorage: expected a storage"),
        (queue_app(print), {"SOME_QUEUE": "q", "AzureWebJobsStorage": "x"}, "process: NOT STARTED, AzureWebJobs"),
        (timer_app(print, "%WHEN%"), {}, "tick: NOT STARTED, WHEN: expected an app setting"),
        (timer_app(print, "%WHEN%"), {"WHEN": "soon"}, "tick: NOT STARTED, %WHEN%: expected NCRONTAB"),
    ],
)
def test_a_function_that_lacks_a_setting_says_so(
    app: func.FunctionApp, settings: dict[str, str], fault: str, host_json: Callable[..., Path]
) -> None:
    (line,) = described(app, settings, host_json())
    assert fault in line


def test_the_functions_are_listed_with_their_triggers(host_json: Callable[..., Path]) -> None:
    (line,) = described(http_app(print), {}, host_json())
    assert line.strip() == "answer: POST http://host/api/things/{id}"


@pytest.mark.server
def test_one_function_without_its_setting_does_not_stop_the_others(host_json: Callable[..., Path]) -> None:
    app = http_app(lambda _: "yes")

    @app.function_name("process")
    @app.queue_trigger(arg_name="message", queue_name="q", connection="Nowhere")
    def process(message: func.QueueMessage) -> None:
        """Never runs."""

    with running(app, {}, host_json=host_json()) as url:
        assert httpx.post(f"{url}/api/things/1").text == "yes"


def test_a_trigger_that_is_not_known_is_refused_by_name() -> None:
    app = func.FunctionApp()

    @app.blob_trigger(arg_name="blob", path="some/{name}", connection="AzureWebJobsStorage")
    def on_blob(blob: func.InputStream) -> None:
        """Never runs."""

    with pytest.raises(UnsupportedFunction, match="on_blob: the trigger blobTrigger"):
        functions_of(app.get_functions())


@pytest.mark.server
def test_the_apps_counters_are_shown(host_json: Callable[..., Path]) -> None:
    meter = metrics.get_meter("test")
    counter = meter.create_counter("test.counted")
    histogram = meter.create_histogram("test.seconds")

    def call(_: func.HttpRequest) -> str:
        counter.add(2, {"reason": "some"})
        histogram.record(0.25)
        return "yes"

    with running(http_app(call), {}, host_json=host_json()) as url:
        httpx.post(f"{url}/api/things/1")
        httpx.post(f"{url}/api/things/1")
        shown = httpx.get(f"{url}/admin/metrics").json()
    assert {"name": "test.counted", "attributes": {"reason": "some"}, "value": 4} in shown
    assert {"name": "test.seconds", "attributes": {}, "count": 2, "sum": 0.5} in shown


@pytest.mark.server
def test_settings_are_in_the_environment_only_meanwhile(
    host_json: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("SOME_SETTING", "before")
    app = http_app(lambda _: os.environ["SOME_SETTING"])
    with caplog.at_level(logging.INFO), running(app, {"SOME_SETTING": "now"}, host_json=host_json()) as url:
        assert httpx.post(f"{url}/api/things/1").text == "now"
    assert os.environ["SOME_SETTING"] == "before"
