"""How far things have been compared: a suspicion holds until a comparison that was begun after it."""

import uuid
from datetime import datetime, timedelta, timezone
from typing import Literal

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from shared.configuration.settings import StorageSettings
from shared.readback import checkpoints
from shared.readback.checkpoints import Progress
from shared.storage.tables import Tables
from tests.builders import NOW

Deed = tuple[Literal["save", "suspect"], str, int]

deeds = st.lists(st.tuples(st.sampled_from(["save", "suspect"]), st.sampled_from("ab"), st.integers(0, 2)), max_size=8)


@pytest.fixture
def tables(storage_settings: StorageSettings) -> Tables:
    return Tables(storage_settings)


def test_at_first_nothing_has_been_compared(tables: Tables) -> None:
    assert checkpoints.load_all(tables) == {}


def test_a_suspicion_alone_is_no_progress(tables: Tables) -> None:
    checkpoints.suspect_gap(tables, "a", NOW)
    assert checkpoints.load_all(tables) == {}


def test_a_suspicion_that_arises_while_a_comparison_is_noted_is_kept(tables: Tables) -> None:
    """The comparison was begun at NOW and is noted later than the suspicion."""
    checkpoints.suspect_gap(tables, "a", NOW + timedelta(seconds=1))
    checkpoints.save(tables, "a", NOW - timedelta(minutes=5), NOW)
    assert checkpoints.load_all(tables)["a"].due


def test_times_come_back_as_utc_to_the_microsecond(tables: Tables) -> None:
    until = datetime(2031, 2, 3, 4, 5, 6, 789_012, timezone(timedelta(hours=-7)))
    checkpoints.save(tables, "a", until, NOW)
    loaded = checkpoints.load_all(tables)["a"].until
    assert (loaded, loaded.utcoffset()) == (until, timedelta(0))


@given(deeds)
@example([("save", "a", 0), ("suspect", "a", 0)])
@example([("suspect", "a", 0), ("save", "a", 1), ("suspect", "b", 0), ("save", "b", 0)])
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_due_is_what_was_suspected_since_the_last_comparison_began(tables: Tables, deeds: list[Deed]) -> None:
    run, now = uuid.uuid4().hex, NOW
    compared: dict[str, datetime] = {}
    suspected: dict[str, datetime] = {}
    for deed, name, seconds in deeds:
        now += timedelta(seconds=seconds)
        if deed == "save":
            checkpoints.save(tables, run + name, now - timedelta(minutes=5), now)
            compared[run + name] = now
        else:
            checkpoints.suspect_gap(tables, run + name, now)
            suspected[run + name] = now
    loaded = {name: one for name, one in checkpoints.load_all(tables).items() if name.startswith(run)}
    assert loaded == {
        name: Progress(at - timedelta(minutes=5), name in suspected and suspected[name] >= at)
        for name, at in compared.items()
    }
