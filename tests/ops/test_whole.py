"""The command line with the whole system, as `make run` starts it, each part in a process of its own."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from local.run.comparison import differences
from local.run.system import System
from tests.ops.conftest import Operator
from tests.waiting import LIMIT, eventually

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    # Only the tests run the timer.
    with System(tmp_path_factory.mktemp("system"), {"RENEW_SCHEDULE": "0 0 0 1 1 *"}) as system:
        yield system


@pytest.fixture
def beside(system: System) -> Operator:
    return Operator(system.host.settings)


def is_whole(system: System) -> bool:
    written = system.lines(f"{system.simulator_url}/simulator/messages")
    return not differences(written, system.lines(f"{system.feed_url}/api/contents"))


def tell_feed(system: System, **conduct: object) -> None:
    system.http.post(f"{system.feed_url}/control", json=conduct).raise_for_status()


def shown(beside: Operator) -> Any:
    """Return the output of `status`, whatever its exit code."""
    return json.loads(beside("status", "--json").stdout)


def test_an_operator_reconciles_waits_backfills_and_rotates_keys(system: System, beside: Operator) -> None:
    system.tell_simulator("messages", count=3)  # Graph sends no notification of these
    assert {step["action"] for step in beside.json("reconcile")["steps"]} == {"create"}
    findings = beside.json("doctor", ends=1)["findings"]
    assert {finding["verdict"] for finding in findings if finding["check"] != "schedule"} == {"fine", "unseen"}
    assert any(finding["verdict"] == "attention" for finding in findings)  # the timer runs once a year here

    tell_feed(system, mode="status", status=422)
    system.tell_simulator("messages", count=5)
    eventually(lambda: shown(beside)["waiting_for"])
    status = beside.json("status", ends=1)
    assert [retry["reason"] for retry in status["waiting_for"]] == ["destination_rejects"]
    assert status["dead_letters"]["count"] == 0  # a destination that rejects everything is itself at fault
    tell_feed(system)
    assert not is_whole(system)

    for resource in ("/chats/getAllMessages", "/teams/getAllMessages"):
        beside.json("backfill", "--resource", resource, "--since", "1h")
    eventually(lambda: is_whole(system))

    # Then the keys are rotated, and content that is encrypted to the new key arrives.
    report = beside.json("rotate-keys")
    assert {(step["action"], step["error"]) for step in report["steps"]} == {("rekey", None)}
    system.tell_simulator("messages", count=3)
    eventually(lambda: system.simulator("summary")["pending"] == 0 and is_whole(system))
    eventually(lambda: shown(beside)["lag_seconds"] is not None)
    process = beside.start("status", "--json")
    output, errors = process.communicate(timeout=LIMIT)
    assert process.returncode in (0, 1), errors  # 1 while the latest failure of a delivery is recent
    assert {key["id"]: key["subscriptions"] for key in json.loads(output)["keys"]}[report["new_key"]] == 2
