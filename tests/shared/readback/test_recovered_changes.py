"""What comparisons have recovered."""

from datetime import timedelta

import pytest

from shared.readback.recovered_changes import RecoveredChanges
from shared.storage.state import STATE
from tests.builders import NOW
from tests.memory import MemoryTables


@pytest.mark.parametrize("row", [{}, {"seconds": "x -1 99999999999999999999 1e9"}])
def test_what_somebody_else_wrote_is_left_out(row: dict[str, str]) -> None:
    tables = MemoryTables()
    tables.put(STATE, "recovered", "d", row)
    recovered_changes = RecoveredChanges(tables)
    assert recovered_changes.all() == {"d": []}
    recovered_changes.note("d", [NOW + timedelta(seconds=1), NOW])
    assert recovered_changes.all()["d"] == [
        NOW.replace(microsecond=0),
        NOW.replace(microsecond=0) + timedelta(seconds=1),
    ]
