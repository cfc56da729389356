"""The simulator's own controls, and the simulator as a process."""

import os
import socket
import ssl
import subprocess
import sys
import uuid
from typing import Any

import httpx
import pytest

from graph_simulator.authority import Authority
from graph_simulator.faults import Faults
from graph_simulator.server import GraphServer
from tests.graph_simulator.client import GraphClient, generated
from tests.waiting import LIMIT, eventually


@pytest.mark.parametrize(
    ("path", "order"),
    [
        ("generate", {"rate": 0}),
        ("generate", {"rate": "fast"}),
        ("generate", {"rate": 1, "messages": 0}),
        ("messages", {"count": -1}),
        ("messages", {"chat": 5}),
        ("messages", {"team": "only-a-team"}),
        ("messages", {"unknown": 1}),
        ("faults", {"throttle": 2}),
        ("faults", {"unavailable": ["everything"]}),
        ("faults", {"unknown": 1}),
        ("faults", {"token_version": 3}),
        ("lifecycle", {"subscriptionId": "x"}),
        ("clock", {}),
        ("consent", {"tenant": "x"}),
    ],
)
def test_an_order_that_makes_no_sense_is_refused(graph: GraphServer, path: str, order: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{path}: 400"):
        graph.post(path, **order)


@pytest.mark.parametrize(
    ("path", "order"),
    [
        ("messages", {"edit": "chats/x/messages/1"}),
        ("lifecycle", {"subscriptionId": str(uuid.uuid4()), "event": "reauthorizationRequired"}),
    ],
)
def test_an_order_about_nothing_is_not_found(graph: GraphServer, path: str, order: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{path}: 404"):
        graph.post(path, **order)


def test_a_message_is_followed_through_edit_reaction_deletion_and_restoration(graph: GraphServer) -> None:
    [made] = graph.post("messages", html="<p>one</p>")["messages"]
    path = made["path"]
    [edited] = graph.post("messages", edit=path, text="two")["messages"]
    assert edited["resource"]["body"] == {"contentType": "text", "content": "two"}
    [liked] = graph.post("messages", react=path)["messages"]
    assert liked["resource"]["reactions"][0]["reactionType"] == "like"
    with pytest.raises(ValueError, match="400"):
        graph.post("messages", restore=path)
    [deleted] = graph.post("messages", delete=path)["messages"]
    assert deleted["deleted"]
    with pytest.raises(ValueError, match="400"):
        graph.post("messages", edit=path, text="three")
    assert graph.messages() == [deleted]
    graph.post("messages", restore=path)
    summary = graph.get("summary")
    assert (summary["written"], summary["changes"]) == (1, 5)


def test_faults_change_one_by_one_and_are_shown(graph: GraphServer) -> None:
    assert graph.get("faults") == {**graph.get("faults"), "throttle": 0, "token_version": "both"}
    graph.post("faults", throttle=0.5, unavailable=["keys"])
    assert graph.post("faults", slow_seconds=0.1)["throttle"] == 0.5
    assert graph.get("faults")["unavailable"] == ["keys"]
    assert graph.get("faults").keys() == set(Faults.__struct_fields__)


def test_the_generator_stops_by_itself_and_on_request(graph: GraphServer) -> None:
    graph.post("generate", rate=500, messages=20)
    eventually(lambda: generated(graph))
    assert graph.get("summary")["written"] == 20
    graph.post("generate", rate=100)
    eventually(lambda: generated(graph) or graph.get("summary")["written"] > 30)
    assert graph.get("summary")["generating"]
    graph.post("stop")
    stopped = graph.get("summary")
    assert not stopped["generating"]


def test_calls_are_counted_by_path_template_and_status(graph: GraphServer, app: GraphClient) -> None:
    subscription = app.subscribed()
    app.call("GET", f"subscriptions/{subscription['id']}")
    app.call("GET", f"subscriptions/{uuid.uuid4()}")
    app.call("GET", "elsewhere")
    counts = {(call["method"], call["path"], call["status"]): call["count"] for call in graph.get("calls")}
    assert counts == {
        ("GET", "/subscriptions/{id}", 200): 1,
        ("GET", "/subscriptions/{id}", 404): 1,
        ("GET", "{unknown}", 400): 1,
        ("POST", "/subscriptions", 201): 1,
        ("POST", "/{tenant}/oauth2/v2.0/token", 200): 1,
    }


@pytest.mark.process
def test_it_runs_as_a_process_of_its_own_and_ends_on_a_signal(authority: Authority) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "graph_simulator", "--port", str(port), "--directory", str(authority.ca.parent),
               "--tenant", str(uuid.uuid4()), "--client-id", str(uuid.uuid4())]  # fmt: skip
    environment = {**os.environ, "GRAPH_CLIENT_SECRET": "any"}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == f"Graph simulator on https://127.0.0.1:{port}\n"
        trusted = ssl.create_default_context(cafile=authority.ca)
        with httpx.Client(verify=trusted, transport=httpx.HTTPTransport(verify=trusted, retries=5)) as http:
            assert http.get(f"https://127.0.0.1:{port}/simulator/summary").json()["subscriptions"] == 0
        process.terminate()
        assert process.wait(LIMIT) in {0, -15}


@pytest.mark.process
def test_it_does_not_start_without_the_apps_secret(authority: Authority) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "GRAPH_CLIENT_SECRET"}
    command = [sys.executable, "-m", "graph_simulator", "--port", "0", "--directory", str(authority.ca.parent),
               "--tenant", "t", "--client-id", "c"]  # fmt: skip
    process = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=LIMIT, check=False)
    assert process.returncode == 1
    assert "GRAPH_CLIENT_SECRET" in process.stderr


def test_a_page_in_a_browser_can_control_nothing(graph: GraphServer, authority: Authority) -> None:
    trust = ssl.create_default_context(cafile=authority.ca)
    with httpx.Client(base_url=graph.url, verify=trust) as browser:
        for origin in ("https://evil.example", "null", graph.url):
            answer = browser.post("/simulator/faults", json={"drop": 1.0}, headers={"Origin": origin})
            assert answer.status_code == 403
    assert graph.simulator.faults.drop == 0
