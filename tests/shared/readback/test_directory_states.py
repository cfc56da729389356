"""The stored state of users and groups, and how a list of them differs from it."""

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from shared.readback.directory_states import DirectoryStates
from tests.builders import NOW
from tests.memory import MemoryTables

ADA = {"@odata.type": "#microsoft.graph.user", "id": "u/1", "displayName": "Ada", "jobTitle": "Engineer"}


@pytest.fixture
def tables() -> MemoryTables:
    return MemoryTables()


@pytest.fixture
def states(tables: MemoryTables) -> DirectoryStates:
    states = DirectoryStates(tables)
    states.note("d", raw(ADA, {"id": "u2", "displayName": "Lin"}), NOW, is_list=True)
    return states


def raw(*entries: dict[str, Any]) -> list[msgspec.Raw]:
    return [msgspec.Raw(msgspec.json.encode(entry)) for entry in entries]


def changed(states: DirectoryStates, *entries: dict[str, Any]) -> list[str]:
    return [msgspec.json.decode(entry)["id"] for entry in states.changed("d", raw(*entries))]


def test_only_what_differs_has_changed(states: DirectoryStates) -> None:
    renamed = {**ADA, "displayName": "Augusta"}
    assert changed(states, ADA, dict(reversed(ADA.items())), {**ADA, "@odata.context": "x", "mail": None}) == []
    assert changed(states, renamed, {"id": "new"}, {"id": "u2", "displayName": "Lin", "mail": "x"}) == [
        "u/1",
        "new",
        "u2",
    ]
    assert states.changed("another", raw(ADA)) == raw(ADA)


def test_a_change_shows_some_properties_and_leaves_the_others_as_they_were(states: DirectoryStates) -> None:
    states.note("d", raw({"id": "u/1", "jobTitle": None, "mail": "ada@x"}), NOW, is_list=False)
    assert changed(states, {"id": "u/1", "displayName": "Ada", "mail": "ada@x"}) == []
    assert changed(states, ADA) == ["u/1"]


def test_a_change_of_members_counts_as_a_change_since_their_number_is_unknown(states: DirectoryStates) -> None:
    group = {"id": "g", "members@delta": [{"id": "u1"}]}
    states.note("d", raw(group), NOW, is_list=True)
    assert changed(states, group) == []
    states.note("d", raw({"id": "g", "members@delta": [{"id": "u2"}]}), NOW, is_list=False)
    assert changed(states, {"id": "g", "members@delta": [{"id": "u1"}, {"id": "u2"}]}) == ["g"]
    assert changed(states, {"id": "g"}) == ["g"]


def test_members_come_in_any_order(states: DirectoryStates) -> None:
    first, second = {"id": "u1"}, {"id": "u2"}
    states.note("d", raw({"id": "g", "members@delta": [first, second]}), NOW, is_list=True)
    assert changed(states, {"id": "g", "members@delta": [second, first]}) == []
    assert changed(states, {"id": "g", "members@delta": [second]}) == ["g"]


def test_of_deleted_entries_a_list_returns_only_known_ones(states: DirectoryStates) -> None:
    gone = [{"id": name, "@removed": {"reason": "changed"}} for name in ("u/1", "never known")]
    assert changed(states, *gone) == ["u/1"]
    states.note("d", raw(*gone), NOW, is_list=True)
    assert changed(states, *gone) == []


def test_who_is_in_the_list_no_more_is_missing_until_that_is_forgotten(states: DirectoryStates) -> None:
    later = NOW + timedelta(days=1)
    states.note("d", raw({"id": "u3"}, {"id": "u2", "@removed": {"reason": "deleted"}}), NOW, is_list=False)
    states.note("d", raw(ADA), later, is_list=True)
    assert states.missing("d", later) == ["u3"]
    assert states.missing("d", NOW) == []
    states.forget("d", ["u3"])
    assert states.missing("d", later) == []


def test_neither_names_nor_values_of_a_person_are_kept(states: DirectoryStates, tables: MemoryTables) -> None:
    assert states.missing("d", NOW + timedelta(days=1))
    assert not any(word in str(list(tables.rows("directory"))) for word in ("Ada", "Engineer", "Lin"))


def test_what_is_no_resource_is_passed_on_and_not_kept(states: DirectoryStates) -> None:
    broken = [msgspec.Raw(b'"x"'), msgspec.Raw(b"{}")]
    assert states.changed("d", broken) == broken
    states.note("d", broken, NOW, is_list=False)
    assert len(states.missing("d", NOW + timedelta(days=1))) == 2


@pytest.mark.parametrize("row", [{}, {"id": "u/1"}, {"id": "u/1", "digests": "odd", "seen": "long ago"}])
def test_of_a_row_that_somebody_else_wrote_nothing_is_lost(
    states: DirectoryStates, tables: MemoryTables, row: dict[str, str]
) -> None:
    (name,) = (str(held["RowKey"]) for held in tables.partition("directory", "d") if held["id"] == "u/1")
    tables.put("directory", "d", name, row)
    assert changed(states, ADA) == ["u/1"]
    assert ("u/1" in states.missing("d", NOW)) == ("id" in row)
    states.note("d", raw(ADA), NOW, is_list=False)
    assert changed(states, ADA) == []
