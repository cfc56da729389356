"""What stays stored after a declaration is removed, and the changes that were read back for it."""

from datetime import timedelta

import pytest

from shared.readback.checkpoints import Checkpoints
from shared.readback.recovered_changes import IN_TRANSIT, RecoveredChanges, is_silent
from shared.readback.undeclared import UndeclaredCleanup
from tests.builders import NOW, Clock, declaration
from tests.memory import MemoryTables

CHATS, TEAMS = declaration(), declaration("/teams/getAllMessages")
MINUTE = timedelta(minutes=1)


def test_what_nothing_declares_is_forgotten_after_a_day_and_begins_afresh() -> None:
    """Declared again after months, they would be read back, although they were not watched deliberately."""
    clock, tables = Clock(), MemoryTables()
    undeclared, checkpoints = UndeclaredCleanup(tables, clock), Checkpoints(tables)
    for declared in (CHATS, TEAMS):
        checkpoints.save(declared.id, NOW, NOW)
        checkpoints.suspect_gap(declared.id, NOW)
        checkpoints.save_delta_link(declared.id, "https://graph.example/delta", NOW)
    for hours, left in ((0, {CHATS.id, TEAMS.id}), (23, {CHATS.id, TEAMS.id}), (2, {CHATS.id})):
        clock.advance(hours=hours)
        undeclared([CHATS])
        assert checkpoints.all().keys() == left
    assert checkpoints.delta_link(TEAMS.id) is None
    assert checkpoints.delta_link(CHATS.id) is not None


def test_what_was_missing_by_mistake_goes_on_where_it_stood() -> None:
    clock, tables = Clock(), MemoryTables()
    undeclared, checkpoints = UndeclaredCleanup(tables, clock), Checkpoints(tables)
    checkpoints.save(TEAMS.id, NOW, NOW)
    for declared in ([], [TEAMS], [], [TEAMS]):
        clock.advance(hours=14)
        undeclared(declared)
    clock.advance(days=3)
    undeclared([TEAMS])
    assert checkpoints.all().keys() == {TEAMS.id}


@pytest.mark.parametrize(
    ("minutes", "seen", "silent"),
    [
        ((1, 2, 3, 4, 5), None, True),
        ((1, 2, 3, 4), None, False),  # fewer may be a coincidence
        ((1, 2, 3, 4, 5), 3, False),  # something was pushed in between
        ((-90, -80, -70, -60, -50), None, False),  # before it lived: the gap of another one
        ((101, 102, 103, 104, 105), None, False),  # their notifications may be on their way
    ],
)
def test_a_subscription_is_dead_if_all_has_to_be_read_back(
    minutes: tuple[int, ...], seen: int | None, silent: bool
) -> None:
    recovered_changes = RecoveredChanges(MemoryTables())
    began = NOW + IN_TRANSIT
    recovered_changes.note("d", [began + minute * MINUTE for minute in minutes[:2]])
    recovered_changes.note("d", [began + minute * MINUTE for minute in minutes])
    pushed = began + seen * MINUTE if seen is not None else None
    assert is_silent(recovered_changes.all()["d"], pushed, NOW, began + 115 * MINUTE) is silent
