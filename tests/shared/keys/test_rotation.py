"""Creation and retirement of keys, to the second: keys in a real directory, times in a real table.

tests/life shows the effect on subscriptions and messages.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import pytest

from graph_simulator.authority import write_private
from shared.configuration.settings import StorageSettings
from shared.errors import Reason, RetryLater
from shared.keys.directory import KeyDirectory
from shared.keys.key import EncryptionKey, new_key, write_pem
from shared.keys.ring import KeyRing
from shared.keys.rotation import EXPIRY_MARGIN, GRAPH_RETRY_PERIOD, Rotation
from shared.storage.tables import Tables
from tests import accounts
from tests.builders import Clock
from tests.rerouted import refuses, rerouted
from tests.servers import serving

AGE, OVERLAP, QUEUED = timedelta(days=90), timedelta(hours=72), timedelta(hours=78)
MOMENT, DAY = timedelta(seconds=1), timedelta(days=1)
START = datetime(2031, 2, 3, 4, 5, 6, tzinfo=UTC)


@cache
def key(name: str, made: datetime, life: timedelta = timedelta(days=730)) -> EncryptionKey:
    return new_key(name, made, life)


class FullKeyDirectory(KeyDirectory):
    """A store that accepts no further key."""

    def create(self, now: datetime) -> EncryptionKey:
        raise RetryLater(Reason.KEY_STORE, "no key can be made")


class RotationHarness:
    """A key directory and a rotation over it, at a time that a test sets."""

    def __init__(self, tables: Tables, directory: Path) -> None:
        self.directory, self.tables = directory, tables
        self.clock = Clock(START)
        self.queue_is_empty = True
        self.overlap = OVERLAP
        self.store: type[KeyDirectory] = KeyDirectory
        directory.mkdir(mode=0o700)

    def bring(self, *keys: EncryptionKey) -> None:
        for key in keys:
            write_private(self.directory / f"{key.key_id}.pem", write_pem(key))

    def rotation(self) -> Rotation:
        """Return the rotation of a new process."""
        ring = KeyRing(self.store(self.directory), self.clock)
        return Rotation(ring, self.tables, AGE, self.overlap, QUEUED)

    def renew(self, at: datetime) -> str:
        self.clock.now = at
        return self.rotation().renew(at).key_id

    def retire(self, at: datetime, *named: str, used: Mapping[str, datetime] | None = None) -> set[str]:
        """Retire keys, and return the ids of the remaining ones."""
        self.clock.now = at
        self.rotation().retire(named, used or {}, lambda: self.queue_is_empty, at)
        return {path.stem for path in self.directory.glob("*.pem")}


@pytest.fixture
def workbench(storage_settings: StorageSettings, tmp_path: Path) -> RotationHarness:
    return RotationHarness(accounts.tables(storage_settings), tmp_path / "keys")


OLD, NEW = key("old", START - AGE), key("new", START)


class TestRenewing:
    def test_a_key_serves_until_it_is_as_old_as_that(self, workbench: RotationHarness) -> None:
        workbench.bring(OLD)
        assert workbench.renew(START - MOMENT) == "old"
        made = workbench.renew(START)
        assert made != "old"
        assert workbench.renew(START + AGE - MOMENT) == made

    def test_a_key_that_expires_before_long_is_followed_by_another_however_young(
        self, workbench: RotationHarness
    ) -> None:
        workbench.bring(key("short", START - DAY, OVERLAP + EXPIRY_MARGIN + 2 * DAY))
        assert workbench.renew(START + DAY - MOMENT) == "short"
        assert workbench.renew(START + DAY) != "short"

    def test_the_first_key_is_made(self, workbench: RotationHarness) -> None:
        made = workbench.renew(START)
        assert workbench.renew(START + DAY) == made

    def test_a_key_that_was_brought_serves_from_its_beginning(self, workbench: RotationHarness) -> None:
        workbench.bring(key("now", START - DAY), key("brought", START + DAY))
        assert workbench.renew(START) == "now"
        assert workbench.renew(START + DAY) == "brought"

    def test_where_none_can_be_made_the_current_one_goes_on(
        self, workbench: RotationHarness, caplog: pytest.LogCaptureFixture
    ) -> None:
        workbench.bring(OLD)
        workbench.store = FullKeyDirectory
        for day in range(3):
            assert workbench.renew(START + day * DAY) == "old"
        assert "Could not create a new encryption key; old stays in use" in caplog.text
        workbench.store = KeyDirectory
        assert workbench.renew(START + 3 * DAY) != "old"

    def test_since_when_a_key_is_current_is_remembered(self, workbench: RotationHarness) -> None:
        workbench.bring(OLD, NEW)
        assert workbench.rotation().current_since(NEW, START + DAY) == START + DAY
        assert workbench.rotation().current_since(NEW, START + 9 * DAY) == START + DAY


@pytest.fixture
def two(workbench: RotationHarness) -> RotationHarness:
    """An old key that has just been followed by a new one."""
    workbench.bring(OLD, NEW)
    assert workbench.retire(START, "new") == {"old", "new"}
    return workbench


class TestRetiring:
    def test_a_key_goes_once_it_was_named_by_nothing_for_the_overlap(self, two: RotationHarness) -> None:
        assert two.retire(START + OVERLAP - MOMENT, "new") == {"old", "new"}
        assert two.retire(START + OVERLAP, "new") == {"new"}
        assert (two.directory / "old.retired").exists()
        assert two.rotation().unused_since() == {}

    def test_an_overlap_of_none_still_waits_for_what_graph_may_send_again(self, workbench: RotationHarness) -> None:
        workbench.overlap = timedelta(0)
        workbench.bring(OLD, NEW)
        workbench.retire(START, "new")
        assert workbench.retire(START + GRAPH_RETRY_PERIOD - MOMENT, "new") == {"old", "new"}
        assert workbench.retire(START + GRAPH_RETRY_PERIOD, "new") == {"new"}

    def test_while_messages_wait_a_key_stays_for_as_long_as_one_can_wait(self, two: RotationHarness) -> None:
        two.queue_is_empty = False
        longest = OVERLAP + GRAPH_RETRY_PERIOD + QUEUED
        assert two.retire(START + longest - MOMENT, "new") == {"old", "new"}
        assert two.retire(START + longest, "new") == {"new"}

    def test_a_key_that_is_named_again_begins_to_wait_again(self, two: RotationHarness) -> None:
        two.retire(START + OVERLAP - MOMENT, "new", "old")
        assert two.rotation().unused_since() == {}
        again = START + OVERLAP
        assert two.retire(again, "new") == {"old", "new"}
        assert two.rotation().unused_since() == {"old": again}
        assert two.retire(again + OVERLAP - MOMENT, "new") == {"old", "new"}
        assert two.retire(again + OVERLAP, "new") == {"new"}

    def test_a_key_that_is_named_stays(self, two: RotationHarness) -> None:
        for days in (1, 100, 700):
            assert two.retire(START + days * DAY, "old") == {"old", "new"}

    def test_the_current_key_stays_though_nothing_names_it(self, two: RotationHarness) -> None:
        assert two.retire(START + OVERLAP) == {"new"}
        assert two.retire(START + 100 * DAY) == {"new"}

    def test_a_key_whose_time_has_yet_to_come_stays(self, two: RotationHarness) -> None:
        two.bring(key("brought", START + 300 * DAY))
        assert two.retire(START + 10 * DAY, "new") == {"new", "brought"}
        assert two.retire(START + 20 * DAY, "new") == {"new", "brought"}

    def test_each_key_waits_for_itself(self, two: RotationHarness) -> None:
        two.bring(key("older", START - 2 * AGE))
        assert two.retire(START + OVERLAP, "new") == {"older", "new"}
        assert two.retire(START + 2 * OVERLAP, "new") == {"new"}

    def test_a_key_is_retired_once_no_item_has_named_it_for_the_overlap(self, two: RotationHarness) -> None:
        used = {"old": START + DAY}
        assert two.retire(START + OVERLAP, "new", used=used) == {"old", "new"}
        assert two.retire(START + DAY + OVERLAP - MOMENT, "new", used=used) == {"old", "new"}
        assert two.retire(START + DAY + OVERLAP, "new", used=used) == {"new"}

    def test_names_that_no_key_has_do_no_harm(self, two: RotationHarness) -> None:
        assert two.retire(START + DAY, "new", "", "unheard of") == {"old", "new"}


@pytest.mark.parametrize("act", [lambda workbench: workbench.renew(START), lambda workbench: workbench.retire(START)])
def test_while_the_directory_cannot_be_read_no_key_is_created_or_retired(
    workbench: RotationHarness, act: Callable[[RotationHarness], object]
) -> None:
    workbench.directory.rmdir()
    workbench.directory.touch()
    with pytest.raises(RetryLater) as unavailable:
        act(workbench)
    assert unavailable.value.reason is Reason.KEY_STORE


def test_while_the_table_is_unavailable_no_key_is_retired(
    two: RotationHarness, storage_settings: StorageSettings
) -> None:
    with serving(refuses) as server:
        two.tables = accounts.tables(rerouted(storage_settings, "Table", server.url))
        with pytest.raises(RetryLater):
            two.retire(START + 100 * DAY, "new")
    assert {path.stem for path in two.directory.glob("*.pem")} == {"old", "new"}
