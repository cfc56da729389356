"""A few windows of every scenario; `make crash` tries all of them."""

import pytest
from hypothesis import settings

from tests.crash import interleaving
from tests.crash.harness import explore
from tests.crash.interleaving import MEETINGS, Meeting
from tests.crash.operations import DEATHS, Operation, Operations
from tests.crash.scenarios import SCENARIOS, Scenario, one_message
from tests.crash.world import Process, World

FEW = settings().max_examples // 12
"""The approximate number of windows of a scenario, or interleavings of a meeting: 4, and 1 in `make check`."""


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_no_fault_breaks_a_promise(scenario: Scenario) -> None:
    result = explore(scenario, FEW)
    assert result.operations
    assert result.violations == {}


def test_a_process_may_die_in_each_change_at_graph_while_a_rotation_replaces_subscriptions() -> None:
    def dies_in_a_change(operation: Operation, fault: str) -> bool:
        return fault in DEATHS and operation.dependency == "graph" and not operation.name.startswith("GET")

    [scenario] = [scenario for scenario in SCENARIOS if scenario.name == "rotation that replaces subscriptions"]
    result = explore(scenario, among=dies_in_a_change)
    assert result.windows >= 12  # a PATCH that is refused, two creations, two deletions, and the one refused beside
    assert result.violations == {}


@pytest.mark.parametrize("meeting", MEETINGS, ids=lambda meeting: meeting.name)
def test_two_instances_that_meet_break_no_promise(meeting: Meeting) -> None:
    assert interleaving.explore(meeting, FEW).violations == {}


def test_a_message_that_is_acknowledged_and_not_stored_is_seen() -> None:
    """The harness detects a broken promise."""

    def mark_deleted(world: World, process: Process) -> None:
        world.send(process)
        world.account.queues.take()

    found = explore(Scenario("lost", one_message, mark_deleted), 0)
    assert found.violations["no fault"][-1].startswith(
        "Notifications were queued, never handled, and are no longer on the queue: 1 of"
    )


def test_plaintext_that_is_stored_is_seen() -> None:
    def leak(world: World, process: Process) -> None:
        process.relay.storage.tables.put("state", "p", "k", {"text": world.graph.messages["1"]["body"]["content"]})

    found = explore(Scenario("leak", one_message, leak), 0)
    assert found.violations == {"no fault": ["plaintext in storage"]}


def test_every_operation_of_a_process_is_counted() -> None:
    world = one_message()
    operations = Operations(world.clock)
    process = world.process(operations)
    world.send(process)
    world.work(process)
    asked = {operation.dependency for operation in operations.done}
    assert asked == {"queues", "tables", "login", "key store", "destination"}
