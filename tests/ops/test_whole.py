"""The command line beside the whole system, as `make run` starts it, each part a process of its own."""

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from local.run.comparison import differences
from local.run.system import System
from tests.ops.conftest import Operator

pytestmark = pytest.mark.process

PATIENCE = 120  # seconds


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    # The timer runs when a test says so, and at no other time.
    with System(tmp_path_factory.mktemp("system"), {"RENEW_SCHEDULE": "0 0 0 1 1 *"}) as system:
        yield system


@pytest.fixture
def beside(system: System) -> Operator:
    return Operator(system.host.settings)


def until(done: Callable[[], Any]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def is_whole(system: System) -> bool:
    written = system.lines(f"{system.simulator_url}/simulator/messages")
    return not differences(written, system.lines(f"{system.feed_url}/api/contents"))


def tell_feed(system: System, **conduct: object) -> None:
    system.http.post(f"{system.feed_url}/control", json=conduct).raise_for_status()


def test_an_operator_makes_it_work_brings_back_what_was_rejected_and_reads_back_what_was_missed(
    system: System, beside: Operator
) -> None:
    system.tell_simulator("messages", count=3)  # nobody is told of these
    assert {one["action"] for one in beside.json("reconcile")["steps"]} == {"create"}
    assert {one["verdict"] for one in beside.json("doctor")["findings"]} == {"fine", "unseen"}

    tell_feed(system, mode="status", status=422)
    system.tell_simulator("messages", count=5)
    until(lambda: beside.json("dead-letters", "list")["letters"] and system.simulator("summary")["pending"] == 0)
    until(lambda: beside.json("dead-letters", "list", "--reason", "destination_rejected")["letters"][4:])
    assert beside.json("status", ends=1)["dead_letters"]["by_reason"] == {"destination_rejected": 5}
    tell_feed(system)
    assert beside.json("dead-letters", "replay", "--reason", "destination_rejected")["done"] == {
        "destination_rejected": 5
    }
    until(lambda: system.feed()["messages"] == 5)
    assert not is_whole(system)

    for resource in ("/chats/getAllMessages", "/teams/getAllMessages"):
        beside.json("backfill", "--resource", resource, "--since", "1h")
    until(lambda: is_whole(system))
    until(lambda: beside.json("status")["lag_seconds"] is not None)


def test_content_encrypted_to_a_rotated_key_arrives(system: System, beside: Operator) -> None:
    beside.json("reconcile")
    told = beside.json("rotate-keys")
    assert {(one["action"], one["error"]) for one in told["steps"]} == {("rekey", None)}
    system.tell_simulator("messages", count=3)
    until(lambda: system.simulator("summary")["pending"] == 0 and is_whole(system))
    process = beside.start("status", "--json")
    output, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, errors
    assert {one["id"]: one["subscriptions"] for one in json.loads(output)["keys"]}[told["new_key"]] == 2
