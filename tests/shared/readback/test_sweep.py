"""When a declared resource is compared with Graph, and over which range: with a real queue and real tables."""

import uuid
from datetime import datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.configuration.settings import StorageSettings
from shared.graph.client_state import declaration_id
from shared.messages.envelope import ReadbackPage, read
from shared.readback import checkpoints
from shared.readback.sweep import OVERLAP, PUSHED_WITHIN, SETTLING, Sweep
from shared.storage.queues import BACKGROUND_LIMITS, Storage
from shared.storage.tables import Tables
from tests.builders import NOW, OTHER_TENANT, RESOURCE, TENANT, declaration

DAY = timedelta(days=1)
CHATS = declaration()
NAME = declaration_id(TENANT, RESOURCE)
MINUTE = timedelta(minutes=1)


class Queue(Storage):
    """The real one; what is put on it is noted as well."""

    def __init__(self, settings: StorageSettings) -> None:
        super().__init__(settings, BACKGROUND_LIMITS)
        self.asked: list[ReadbackPage] = []

    def put(self, text: str, *, delay: timedelta = timedelta(0)) -> None:
        super().put(text, delay=delay)
        envelope = read(text)
        assert isinstance(envelope, ReadbackPage)
        assert delay == timedelta(0)
        self.asked.append(envelope)

    def taken(self) -> list[ReadbackPage]:
        asked, self.asked = self.asked, []
        return asked


@pytest.fixture
def queue(storage_settings: StorageSettings) -> Queue:
    return Queue(storage_settings)


@pytest.fixture
def tables(storage_settings: StorageSettings) -> Tables:
    return Tables(storage_settings)


@pytest.fixture
def sweep(tables: Tables, queue: Queue) -> Sweep:
    return Sweep(tables, queue, DAY)


@pytest.fixture
def on_suspicion(tables: Tables, queue: Queue) -> Sweep:
    """No intervals: only what is suspected is compared."""
    return Sweep(tables, queue, timedelta(0))


def ranges(queue: Queue) -> list[tuple[datetime, datetime]]:
    return [(one.since, one.until) for one in queue.taken()]


def test_what_was_declared_just_now_has_missed_nothing(sweep: Sweep, queue: Queue) -> None:
    assert sweep.start([CHATS], set(), NOW) == 0
    assert sweep.start([CHATS], set(), NOW + DAY - MINUTE) == 0
    assert queue.taken() == []


def test_after_the_interval_all_since_the_last_time_is_compared_and_some_more(sweep: Sweep, queue: Queue) -> None:
    sweep.start([CHATS], set(), NOW)
    assert sweep.start([CHATS], set(), NOW + DAY) == 1
    (asked,) = queue.taken()
    assert (asked.tenant_id, asked.resource, asked.received) == (TENANT, RESOURCE, NOW + DAY)
    assert (asked.since, asked.until) == (NOW - OVERLAP, NOW + DAY - SETTLING)
    assert sweep.start([CHATS], set(), NOW + DAY + MINUTE) == 0
    sweep.start([CHATS], set(), NOW + 2 * DAY)
    assert ranges(queue) == [(NOW + DAY - SETTLING - OVERLAP, NOW + 2 * DAY - SETTLING)]


def test_a_suspected_gap_is_compared_at_once_up_to_now_and_once(sweep: Sweep, queue: Queue) -> None:
    sweep.start([CHATS], set(), NOW)
    checkpoints.suspect_gap(sweep.tables, NAME, NOW + MINUTE)
    assert sweep.start([CHATS], set(), NOW + 2 * MINUTE) == 1
    assert ranges(queue) == [(NOW - OVERLAP, NOW + 2 * MINUTE)]
    assert sweep.start([CHATS], set(), NOW + 3 * MINUTE) == 0


@pytest.mark.parametrize("interval", [DAY, timedelta(0)])
def test_a_gap_waits_while_there_is_no_subscription_and_is_read_from_its_beginning(
    tables: Tables, queue: Queue, interval: timedelta
) -> None:
    sweep = Sweep(tables, queue, interval)
    sweep.start([CHATS], set(), NOW)
    checkpoints.suspect_gap(tables, NAME, NOW + MINUTE)
    for days in (1, 2, 3):
        assert sweep.start([CHATS], {NAME}, NOW + days * DAY) == 0
    assert sweep.start([CHATS], set(), NOW + 4 * DAY) == 1
    assert ranges(queue) == [(NOW - OVERLAP, NOW + 4 * DAY)]


def test_one_failing_declaration_keeps_none_of_the_others_waiting(sweep: Sweep, queue: Queue) -> None:
    others = [declaration("/teams/getAllMessages"), declaration(tenant=OTHER_TENANT)]
    sweep.start([CHATS, *others], set(), NOW)
    assert sweep.start([CHATS, *others], {NAME}, NOW + DAY) == 2
    asked = {(one.tenant_id, one.resource) for one in queue.taken()}
    assert asked == {(TENANT, "/teams/getAllMessages"), (OTHER_TENANT, RESOURCE)}


def test_without_intervals_only_a_suspected_gap_is_compared(on_suspicion: Sweep, queue: Queue) -> None:
    for days in range(4):
        assert on_suspicion.start([CHATS], set(), NOW + days * DAY) == 0
    checkpoints.suspect_gap(on_suspicion.tables, NAME, NOW + 4 * DAY)
    assert on_suspicion.start([CHATS], set(), NOW + 4 * DAY) == 1
    ((since, until),) = ranges(queue)
    assert until == NOW + 4 * DAY
    assert since == NOW + 3 * DAY - PUSHED_WITHIN - OVERLAP  # not from the beginning of time, and not too late


def test_a_gap_that_is_not_suspected_until_its_subscription_is_back_is_read_from_its_beginning(
    on_suspicion: Sweep, queue: Queue
) -> None:
    """While Graph could not be asked, nobody knew that the subscription had run out."""
    on_suspicion.start([CHATS], set(), NOW)
    for hours in range(1, 20):
        assert on_suspicion.start([CHATS], {NAME}, NOW + timedelta(hours=hours)) == 0
    checkpoints.suspect_gap(on_suspicion.tables, NAME, NOW + DAY)
    assert on_suspicion.start([CHATS], set(), NOW + DAY) == 1
    assert ranges(queue) == [(NOW - OVERLAP, NOW + DAY)]


def test_what_has_delta_queries_begins_with_one_that_delivers_nothing(sweep: Sweep, queue: Queue) -> None:
    users = declaration("/users")
    sweep.start([users], set(), NOW)
    assert ranges(queue) == [(NOW, NOW)]
    sweep.start([users], set(), NOW + DAY)
    ((since, until),) = ranges(queue)
    assert since < until


def test_what_can_not_be_read_back_is_said_once_and_costs_the_others_nothing(
    sweep: Sweep, queue: Queue, caplog: pytest.LogCaptureFixture
) -> None:
    presence = declaration("/communications/presences")
    sweep.start([presence, CHATS], set(), NOW)
    checkpoints.suspect_gap(sweep.tables, declaration_id(TENANT, presence.resource), NOW)
    checkpoints.suspect_gap(sweep.tables, NAME, NOW)
    sweep.start([presence, CHATS], set(), NOW + MINUTE)
    sweep.start([presence, CHATS], set(), NOW + 2 * MINUTE)
    assert [one.resource for one in queue.taken()] == [RESOURCE]
    assert [record.levelname for record in caplog.records if presence.resource in record.getMessage()] == ["WARNING"]


def test_a_process_that_dies_between_asking_and_noting_asks_again(tables: Tables, queue: Queue) -> None:
    class Dying(Queue):
        def put(self, text: str, *, delay: timedelta = timedelta(0)) -> None:
            queue.put(text, delay=delay)
            raise KeyboardInterrupt

    Sweep(tables, queue, DAY).start([CHATS], set(), NOW)
    with pytest.raises(KeyboardInterrupt):
        Sweep(tables, Dying(queue._settings), DAY).start([CHATS], set(), NOW + DAY)
    assert Sweep(tables, queue, DAY).start([CHATS], set(), NOW + DAY + MINUTE) == 1
    first, second = ranges(queue)
    assert second[0] == first[0]


ticks = st.lists(
    st.tuples(st.timedeltas(MINUTE, 2 * DAY), st.booleans(), st.booleans()), min_size=1, max_size=6
)  # time since the tick before, whether a gap is suspected, whether there is no subscription


@given(ticks, st.sampled_from([DAY, timedelta(hours=1)]))
@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_ranges_leave_nothing_out(
    tables: Tables, queue: Queue, ticks: list[tuple[timedelta, bool, bool]], interval: timedelta
) -> None:
    sweep = Sweep(tables, queue, interval)
    one = declaration(f"/chats/{uuid.uuid4()}/messages")
    name, now, covered = declaration_id(TENANT, one.resource), NOW, NOW
    sweep.start([one], set(), now)
    due = False
    for passed, suspected, failing in ticks:
        now += passed
        if suspected:
            checkpoints.suspect_gap(tables, name, now - MINUTE / 2)
        due = due or suspected
        started = sweep.start([one], {name} if failing else set(), now)
        for since, until in ranges(queue):
            assert since <= covered - OVERLAP
            assert until == (now if due else now - SETTLING)
            covered = now - SETTLING  # what is younger is left to the next one as well
        assert started or failing or not due
        due = due and not started


@pytest.mark.parametrize(
    "resource",
    ["/users/5d/messages", "/users/5d/events", "/chats", "/teams", "/appCatalogs/teamsApps/a/installedToChats"],
)
def test_what_can_not_be_read_back_says_so_at_each_gap(
    on_suspicion: Sweep, queue: Queue, caplog: pytest.LogCaptureFixture, resource: str
) -> None:
    lost = declaration(resource)
    on_suspicion.start([lost], set(), NOW)
    for hours in (1, 2):
        now = NOW + timedelta(hours=hours)
        caplog.clear()
        checkpoints.suspect_gap(on_suspicion.tables, declaration_id(TENANT, resource), now)
        on_suspicion.start([lost], set(), now)
        assert f"{resource} can't be read back" in caplog.text
    assert queue.taken() == []
