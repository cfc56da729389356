import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from graph_simulator.server import GraphServer
from shared.configuration.declaration import declaration_id
from shared.configuration.settings import StorageSettings
from shared.readback.checkpoints import Checkpoint, Checkpoints
from tests import builders
from tests.accounts import tables
from tests.ops.conftest import Operator
from tests.servers import ScriptedResponse, Server


def test_a_missing_subscription_is_made_and_a_second_run_finds_nothing_to_do(
    operator: Operator, graph: GraphServer
) -> None:
    (step,) = operator.json("reconcile")["steps"]
    assert (step["action"], step["resource"], step["error"]) == ("create", builders.RESOURCE, None)
    assert graph.get("summary")["subscriptions"] == 1
    assert operator.json("reconcile")["steps"] == []
    assert "as declared" in operator("reconcile").stdout


def test_all_subscriptions_can_be_recreated_although_nothing_is_wrong_with_them(
    operator: Operator, graph: GraphServer
) -> None:
    operator.json("reconcile")
    (before,) = graph.simulator.subscriptions
    (step,) = operator.json("reconcile", "--anew")["steps"]
    assert (step["action"], step["error"]) == ("replace", None)
    (after,) = graph.simulator.subscriptions
    assert after.id != before.id


def test_the_next_timer_run_reads_back_the_gap_before_a_new_subscription(
    operator: Operator, storage_settings: StorageSettings
) -> None:
    checkpoints, declared = Checkpoints(tables(storage_settings)), declaration_id(builders.TENANT, builders.RESOURCE)
    until = datetime.now(UTC) - timedelta(hours=1)
    checkpoints.save(declared, until, until)
    operator.json("reconcile")
    assert checkpoints.all()[declared] == Checkpoint(until, due=True)


def test_a_rotation_gives_every_rich_subscription_a_new_key_and_keeps_the_old_one(
    operator: Operator, keys: Path
) -> None:
    operator.json("reconcile")
    (before,) = keys.glob("*.pem")
    while operator.json("status")["keys"][0]["age_seconds"] < 1:
        time.sleep(0.05)  # certificates begin at a whole second: of two from the same second, neither is newer
    report = operator.json("rotate-keys")
    assert [step["action"] for step in report["steps"]] == ["rekey"]
    status = operator.json("status")
    assert [(key["id"], key["current"], key["subscriptions"]) for key in status["keys"]] == [
        (report["new_key"], True, 1),
        (before.stem, False, 0),
    ]


def test_what_graph_refuses_needs_attention_and_comes_with_advice(operator: Operator, endpoint: Server) -> None:
    endpoint.script = lambda _: ScriptedResponse(403)
    (step,) = operator.json("reconcile", ends=1)["steps"]
    assert "400" in step["error"]
    assert step["advice"]


def test_a_tenant_that_cannot_be_listed_does_not_affect_the_others(operator: Operator, graph: GraphServer) -> None:
    graph.post("consent", tenant=builders.OTHER_TENANT, granted=False)
    both = (
        f'[{{"resource": "/chats/getAllMessages", "changeTypes": ["created"], "tenantId": "{builders.OTHER_TENANT}"}},'
        ' {"resource": "/chats/getAllMessages", "changeTypes": ["created"]}]'
    )
    steps = Operator(operator.environment | {"SUBSCRIPTIONS": both}).json("reconcile", ends=1)["steps"]
    assert {(step["tenant"], step["action"], step["error"] is None) for step in steps} == {
        (builders.TENANT, "create", True),
        (builders.OTHER_TENANT, "list", False),
    }


def test_an_unavailable_graph_ends_with_3(operator: Operator, graph: GraphServer) -> None:
    graph.post("faults", unavailable=["graph"])
    (step,) = operator.json("reconcile", ends=3)["steps"]
    assert step["later"] is True
