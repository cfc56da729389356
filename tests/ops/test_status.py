import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from azure.storage.queue import QueueServiceClient

from graph_simulator.server import GraphServer
from shared.configuration.declaration import declaration_id
from shared.configuration.settings import StorageSettings
from shared.messages.envelope import write
from shared.readback.checkpoints import Checkpoints
from shared.storage.clients import StorageClients
from shared.storage.queues import Queue
from shared.subscriptions.silence import LastSeen, Source
from tests import builders
from tests.ops.conftest import Operator
from tests.ops.letters import give_up, poison
from tests.servers import ScriptedResponse, Server, in_json

DECLARED = declaration_id(builders.TENANT, builders.RESOURCE)


def test_a_system_that_was_never_run_lacks_its_subscription_and_its_key(operator: Operator) -> None:
    report = operator.json("status", ends=1)
    assert [subscription["attention"] for subscription in report["subscriptions"]] == ["there is no subscription"]
    assert report["keys"] == []
    assert len(report["attention"]) == 2
    assert report["unreachable"] == []


def test_looking_changes_nothing(
    operator: Operator, storage: StorageClients, storage_settings: StorageSettings, keys: Path
) -> None:
    operator("status")
    account = QueueServiceClient.from_connection_string(storage_settings.connection_string)
    assert [queue.name for queue in account.list_queues(storage_settings.queue)] == []
    assert storage.tables.names() == []
    assert not keys.exists()


def test_after_a_reconciliation_all_is_well(operator: Operator) -> None:
    operator.json("reconcile")
    report = operator.json("status")
    (subscription,), (key,) = report["subscriptions"], report["keys"]
    assert subscription["id"]
    assert subscription["expires_in_seconds"] > 3600
    assert subscription["todo"] is None
    assert subscription["key"] == key["id"]
    assert (key["current"], key["subscriptions"], key["unnamed_seconds"]) == (True, 1, None)
    assert report["queue"] == {"messages": 0, "oldest_seconds": None}
    assert report["dead_letters"] == {"count": 0, "by_reason": {}, "looked_at": 0}
    assert "All is well." in operator("status").stdout


def test_a_key_that_graph_does_not_show_is_counted_by_what_the_app_remembers(
    operator: Operator, graph: GraphServer
) -> None:
    operator.json("reconcile")
    (subscription,) = operator.json("status")["subscriptions"]
    held = graph.simulator.subscriptions.find(subscription["id"])
    assert held.recipient is not None
    held.recipient = replace(held.recipient, certificate_id="")
    report = operator.json("status")
    assert (report["keys"][0]["subscriptions"], report["subscriptions"][0]["key"]) == (1, subscription["key"])


def test_a_subscription_that_is_about_to_expire_unrenewed_needs_attention(
    operator: Operator, graph: GraphServer
) -> None:
    operator.json("reconcile")
    (subscription,) = operator.json("status")["subscriptions"]
    graph.simulator.subscriptions.find(subscription["id"]).expires = datetime.now(UTC) + timedelta(minutes=5)
    report = operator.json("status", ends=1)
    assert report["subscriptions"][0]["todo"].startswith("renew")
    assert "renew_timer" in report["subscriptions"][0]["attention"]


def test_what_nothing_declares_any_more_is_shown_with_its_removal(operator: Operator) -> None:
    operator.json("reconcile")
    other = builders.environment()["SUBSCRIPTIONS"].replace("chats", "teams")
    report = Operator(operator.environment | {"SUBSCRIPTIONS": other}).json("status", ends=1)
    removed = [
        subscription for subscription in report["subscriptions"] if (subscription["todo"] or "").startswith("remove")
    ]
    assert [subscription["resource"].strip("/") for subscription in removed] == ["chats/getAllMessages"]


def test_an_unavailable_graph_hides_no_other_result(
    operator: Operator, graph: GraphServer, storage: StorageClients
) -> None:
    operator.json("reconcile")
    give_up(storage, builders.changes(builders.change()))
    graph.post("faults", unavailable=["graph"])
    report = operator.json("status", ends=3)
    assert len(report["unreachable"]) == 1
    assert report["dead_letters"]["count"] == 1
    assert [(key["id"], key["subscriptions"]) for key in report["keys"]] == [(report["keys"][0]["id"], None)]
    assert [subscription["resource"] for subscription in report["subscriptions"]] == [builders.RESOURCE]


def test_a_graph_that_refuses_needs_attention(operator: Operator, graph: GraphServer) -> None:
    graph.post("consent", tenant=builders.TENANT, granted=False)
    report = operator.json("status", ends=1)
    assert any("403" in sentence for sentence in report["attention"])


def test_dead_letters_are_counted_by_reason_those_of_the_host_too(
    operator: Operator, storage: StorageClients, storage_settings: StorageSettings
) -> None:
    operator.json("reconcile")
    for _ in range(2):
        give_up(storage, builders.changes(builders.change()))
    poison(storage_settings, write(builders.changes(builders.change())))
    report = operator.json("status", ends=1)
    assert report["dead_letters"] == {"count": 3, "by_reason": {"key_unknown": 2, "poison": 1}, "looked_at": 3}
    assert len(storage.queues.peek(Queue.DEAD_LETTERS)) == 2
    assert "2 key_unknown, 1 poison" in operator("status").stdout


@pytest.mark.parametrize("text", [write(builders.changes(builders.change())), "not ours"])
def test_the_queue_is_as_old_as_the_oldest_receipt_that_can_be_read(
    operator: Operator, storage: StorageClients, text: str
) -> None:
    operator.json("reconcile")
    recently = builders.changes(builders.change())
    storage.queues.send(write(type(recently)(datetime.now(UTC) - timedelta(minutes=30), recently.items)))
    storage.queues.send(text)
    report = operator.json("status", ends=1)
    assert report["queue"]["messages"] == 2
    assert 1_800 <= report["queue"]["oldest_seconds"] < 3_600
    assert any("process_queue" in sentence for sentence in report["attention"])


def test_a_resource_that_cannot_be_read_back_is_never_compared(operator: Operator, storage: StorageClients) -> None:
    declared = '[{"resource": "/communications/presences", "changeTypes": ["updated"]}]'
    checkpoints, now = Checkpoints(storage.tables), datetime.now(UTC)
    checkpoints.save(declaration_id(builders.TENANT, "/communications/presences"), now, now)  # like former versions
    elsewhere = Operator(operator.environment | {"SUBSCRIPTIONS": declared})
    (sweep,) = elsewhere.json("status", ends=1)["sweeps"]
    assert (sweep["compared_until"], sweep["due"], sweep["can_be_read_back"]) == (None, False, False)
    assert "can't be read back" in elsewhere("status").output


def test_silence_and_sweeps_are_shown_from_what_the_app_remembers(operator: Operator, storage: StorageClients) -> None:
    operator.json("reconcile")
    now, checkpoints = datetime.now(UTC), Checkpoints(storage.tables)
    LastSeen(storage.tables).note({DECLARED: Source("s")}, now - timedelta(hours=2))
    checkpoints.save(DECLARED, now - timedelta(hours=3), now)
    report = operator.json("status")
    assert 7_200 <= report["subscriptions"][0]["silent_seconds"] < 9_000
    (sweep,) = report["sweeps"]
    assert datetime.fromisoformat(sweep["compared_until"]) == now - timedelta(hours=3)
    checkpoints.save(DECLARED, now - timedelta(days=3), now - timedelta(days=3))
    checkpoints.suspect_gap(DECLARED, now)
    report = operator.json("status", ends=1)
    assert report["sweeps"][0]["due"] is True
    assert any("not compared" in sentence for sentence in report["attention"])


def test_the_lag_is_shown_where_the_host_has_it(operator: Operator, endpoint: Server) -> None:
    operator.json("reconcile")
    assert operator.json("status")["lag_seconds"] is None
    points = [
        {"name": "graph_relay.lag_seconds", "attributes": {}, "count": 4, "sum": 2.0},
        {"name": "graph_relay.received", "attributes": {}, "value": 7},
    ]
    endpoint.script = lambda _: in_json(points)
    assert operator.json("status")["lag_seconds"] == 0.5
    endpoint.script = lambda _: ScriptedResponse(200, b"<html>")
    assert operator.json("status")["lag_seconds"] is None


def many(number: int) -> str:
    return json.dumps(
        [{"resource": f"/users/u{person}/messages", "changeTypes": ["created"]} for person in range(number)]
    )


def test_of_many_subscriptions_the_worst_are_shown_and_all_are_counted(operator: Operator, graph: GraphServer) -> None:
    elsewhere = Operator(operator.environment | {"SUBSCRIPTIONS": many(30)})
    reconciled = elsewhere.json("reconcile")
    assert reconciled["counts"] == {"create done": 30}
    assert len(reconciled["steps"]) == 20
    for subscription in list(graph.simulator.subscriptions)[:2]:
        graph.simulator.subscriptions.remove(subscription.id)
    report = elsewhere.json("status", ends=1)
    assert report["subscriptions_by_state"] == {"fine": 28, "missing": 2}
    assert [state["state"] for state in report["subscriptions"]] == ["missing"] * 2 + ["fine"] * 18
    assert (report["sweeps_in_all"], len(report["sweeps"])) == (30, 20)
    assert "30 subscriptions: 28 fine, 2 missing" in elsewhere("status").stdout


def test_all_subscriptions_are_lines_of_json_and_can_be_chosen(operator: Operator) -> None:
    elsewhere = Operator(operator.environment | {"SUBSCRIPTIONS": many(30)})
    *steps, last = elsewhere("reconcile", "--all", "--json").stdout.splitlines()
    assert {json.loads(step)["action"] for step in steps} == {"create"}
    assert (len(steps), json.loads(last)["counts"]) == (30, {"create done": 30})
    *lines, summary = elsewhere("status", "--all", "--json").stdout.splitlines()
    assert (len(lines), json.loads(summary)["subscriptions"]) == (30, [])
    chosen = elsewhere.json("status", "--resource", "u17/")["subscriptions"]
    assert [state["resource"] for state in chosen] == ["/users/u17/messages"]
    assert elsewhere.json("status", "--state", "missing")["subscriptions"] == []
