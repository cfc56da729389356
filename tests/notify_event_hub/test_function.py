"""The Event Hubs trigger: bound only on demand, indexed as in Azure, and invoked by Microsoft's own worker."""

import base64
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from azure.storage.queue import QueueClient

from shared.configuration.settings import StorageSettings
from shared.messages.envelope import ChangeBatch, read
from tests.accounts import queues
from tests.builders import body, change, environment, minted

ROOT = Path(__file__).parents[2]
HUB_URL = "EventHub:https://relay.servicebus.windows.net/eventhubname/graph?tenantId=contoso.example"
NAMESPACE = {"EventHubConnection__fullyQualifiedNamespace": "relay.servicebus.windows.net"}

INDEX = """
import json, function_app
found = {}
for one in function_app.app.get_functions():
    trigger = one.get_bindings()[0].get_dict_repr()
    found[one.get_function_name()] = {
        "trigger": {name: str(getattr(value, "value", value)) for name, value in trigger.items()},
        "retry": one.get_settings_dict("retry_policy"),
    }
print(json.dumps(found))
"""

INVOKE = """
import sys
from pathlib import Path
from tests.worker_library import WorkerLibrary
worker = WorkerLibrary(Path(sys.argv[1]))
worker.load("notify_event_hub")
worker.hand_over("notify_event_hub", "events", [bytes.fromhex(text) for text in sys.argv[2:]])
worker.close()
"""


def run(program: str, environ: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a program in an app of its own: triggers are bound when the app is imported."""
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env={**os.environ, **environ},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.process
def test_the_function_exists_for_an_event_hub_url_and_retries_without_end() -> None:
    ended = run(INDEX, environment(NOTIFICATION_URL=HUB_URL))
    found = json.loads(ended.stdout)["notify_event_hub"]
    assert {name: found["trigger"][name] for name in ("type", "eventHubName", "connection", "cardinality")} == {
        "type": "eventHubTrigger",
        "eventHubName": "graph",
        "connection": "EventHubConnection",
        "cardinality": "many",
    }
    assert found["retry"]["max_retry_count"] == "-1"  # without end


@pytest.mark.process
@pytest.mark.parametrize("url", ["https://relay.example.org/api/notifications", "", "EventHub:https://relay.example"])
def test_it_is_not_there_where_graph_posts(url: str) -> None:
    ended = run(INDEX, environment(NOTIFICATION_URL=url))
    assert sorted(json.loads(ended.stdout)) == ["notify_http", "process_queue", "renew_timer"]


needs_worker = pytest.mark.skipif(
    sys.version_info < (3, 13), reason="Microsoft's worker library needs Python 3.13; older ones run another worker"
)


@needs_worker
def test_events_from_the_worker_are_queued(storage_settings: StorageSettings) -> None:
    environ = environment(
        AzureWebJobsStorage=storage_settings.connection_string,
        NOTIFICATION_QUEUE=storage_settings.queue,
        NOTIFICATION_URL=HUB_URL,
        **NAMESPACE,
    )
    mine = change(clientState=minted(secret=base64.b64decode(environ["CLIENT_STATE_SECRET"])))
    ended = run(INVOKE, environ, str(ROOT), *(text.hex() for text in (body(mine), b"junk", body(mine))))
    assert ended.returncode == 0, ended.stderr
    with QueueClient.from_connection_string(storage_settings.connection_string, storage_settings.queue) as queue:
        (message,) = queue.receive_messages()
    envelope = read(message.content)
    assert isinstance(envelope, ChangeBatch)
    assert len(envelope.items) == 2


@needs_worker
@pytest.mark.parametrize("missing", ["CLIENT_STATE_SECRET", "EventHubConnection__fullyQualifiedNamespace"])
def test_invalid_settings_make_the_function_fail_so_that_the_host_keeps_the_events(
    storage_settings: StorageSettings, missing: str
) -> None:
    queues(storage_settings).create_missing()
    environ = environment(AzureWebJobsStorage=storage_settings.connection_string, NOTIFICATION_URL=HUB_URL, **NAMESPACE)
    del environ[missing]
    ended = run(INVOKE, environ, str(ROOT), body(change()).hex())
    assert ended.returncode != 0
    assert missing in ended.stderr
