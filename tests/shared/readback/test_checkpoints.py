"""How far declarations are compared: a suspicion remains until a comparison that began after it."""

import uuid
from datetime import datetime, timedelta, timezone
from typing import Literal

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from shared.configuration.settings import StorageSettings
from shared.readback.checkpoints import Checkpoint, Checkpoints, DeltaLink
from tests import accounts
from tests.builders import NOW, OTHER_TENANT, TENANT, declaration

Action = tuple[Literal["save", "suspect"], str, int]

actions = st.lists(
    st.tuples(st.sampled_from(["save", "suspect"]), st.sampled_from("ab"), st.integers(0, 2)), max_size=8
)


@pytest.fixture
def checkpoints(storage_settings: StorageSettings) -> Checkpoints:
    return Checkpoints(accounts.tables(storage_settings))


def test_at_first_nothing_has_been_compared(checkpoints: Checkpoints) -> None:
    assert checkpoints.all() == {}


def test_a_suspicion_alone_is_no_checkpoint(checkpoints: Checkpoints) -> None:
    checkpoints.suspect_gap("a", NOW)
    assert checkpoints.all() == {}


def test_a_suspicion_that_arises_while_a_comparison_is_recorded_is_kept(checkpoints: Checkpoints) -> None:
    """The comparison began at NOW and is recorded later than the suspicion."""
    checkpoints.suspect_gap("a", NOW + timedelta(seconds=1))
    checkpoints.save("a", NOW - timedelta(minutes=5), NOW)
    assert checkpoints.all()["a"].due


def test_times_come_back_as_utc_to_the_microsecond(checkpoints: Checkpoints) -> None:
    until = datetime(2031, 2, 3, 4, 5, 6, 789_012, timezone(timedelta(hours=-7)))
    checkpoints.save("a", until, NOW)
    loaded = checkpoints.all()["a"].until
    assert (loaded, loaded.utcoffset()) == (until, timedelta(0))


@given(actions)
@example([("save", "a", 0), ("suspect", "a", 0)])
@example([("suspect", "a", 0), ("save", "a", 1), ("suspect", "b", 0), ("save", "b", 0)])
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_due_is_what_was_suspected_since_the_last_comparison_began(
    checkpoints: Checkpoints, actions: list[Action]
) -> None:
    run, now = uuid.uuid4().hex, NOW
    compared: dict[str, datetime] = {}
    suspected: dict[str, datetime] = {}
    for action, name, seconds in actions:
        now += timedelta(seconds=seconds)
        if action == "save":
            checkpoints.save(run + name, now - timedelta(minutes=5), now)
            compared[run + name] = now
        else:
            checkpoints.suspect_gap(run + name, now)
            suspected[run + name] = now
    loaded = {name: checkpoint for name, checkpoint in checkpoints.all().items() if name.startswith(run)}
    assert loaded == {
        name: Checkpoint(at - timedelta(minutes=5), name in suspected and suspected[name] >= at)
        for name, at in compared.items()
    }


LINK = "https://graph.microsoft.com/v1.0/users/delta?$deltatoken=" + "Ab-_" * 500
USERS = declaration("/users").id


def test_there_is_no_delta_link_before_the_first_query_has_ended(checkpoints: Checkpoints) -> None:
    assert checkpoints.delta_link(USERS) is None


def test_the_last_saved_delta_link_is_used_in_each_spelling_of_the_resource(
    checkpoints: Checkpoints,
) -> None:
    for link in ("https://graph.microsoft.com/old", LINK):
        checkpoints.save_delta_link(USERS, link, NOW)
    assert checkpoints.delta_link(declaration("Users/", tenant=TENANT.upper()).id) == DeltaLink(LINK, NOW)
    assert checkpoints.all() == {}


def test_each_tenant_and_resource_has_a_delta_link_of_its_own(checkpoints: Checkpoints) -> None:
    checkpoints.save_delta_link(USERS, LINK, NOW)
    assert checkpoints.delta_link(declaration("/users", tenant=OTHER_TENANT).id) is None
    assert checkpoints.delta_link(declaration("/groups").id) is None
