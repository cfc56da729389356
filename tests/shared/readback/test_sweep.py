"""When a declared resource is compared with Graph, and over which range: with a real queue and real tables."""

import uuid
from datetime import datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.configuration.settings import StorageSettings
from shared.messages.envelope import ReadbackPage, read
from shared.readback.checkpoints import Checkpoints
from shared.readback.delta import OVERLAP
from shared.readback.sweep import HURRY_INTERVAL, PUSHED_WITHIN, SETTLING_TIME, Sweep
from shared.storage.account import BACKGROUND_LIMITS
from shared.storage.queues import AzureQueues, Queue
from tests import accounts
from tests.builders import NOW, OTHER_TENANT, RESOURCE, TENANT, declaration

DAY = timedelta(days=1)
CHATS = declaration()
NAME = CHATS.id
MINUTE = timedelta(minutes=1)


class ObservedQueues(AzureQueues):
    """The real queues, which also record each message."""

    def __init__(self, settings: StorageSettings) -> None:
        super().__init__(settings, BACKGROUND_LIMITS, accounts.claims(settings))
        self._requested: list[ReadbackPage] = []

    def send(self, text: str, queue: Queue = Queue.NOTIFICATIONS, *, delay: timedelta = timedelta(0)) -> None:
        super().send(text, queue, delay=delay)
        envelope = read(text)
        assert isinstance(envelope, ReadbackPage)
        assert (queue, delay) == (Queue.NOTIFICATIONS, timedelta(0))
        self._requested.append(envelope)

    def requested(self) -> list[ReadbackPage]:
        """Return the messages enqueued since the last call."""
        requested, self._requested = self._requested, []
        return requested


@pytest.fixture
def queues(storage_settings: StorageSettings) -> ObservedQueues:
    return ObservedQueues(storage_settings)


@pytest.fixture
def checkpoints(storage_settings: StorageSettings) -> Checkpoints:
    return Checkpoints(accounts.tables(storage_settings))


@pytest.fixture
def sweep(checkpoints: Checkpoints, queues: ObservedQueues) -> Sweep:
    return Sweep(checkpoints, queues, DAY)


@pytest.fixture
def on_suspicion(checkpoints: Checkpoints, queues: ObservedQueues) -> Sweep:
    """No intervals: only suspected gaps are compared."""
    return Sweep(checkpoints, queues, timedelta(0))


def ranges(queues: ObservedQueues) -> list[tuple[datetime, datetime]]:
    return [(page.since, page.until) for page in queues.requested()]


def test_what_was_declared_just_now_has_missed_nothing(sweep: Sweep, queues: ObservedQueues) -> None:
    assert sweep.start([CHATS], set(), NOW) == 0
    assert sweep.start([CHATS], set(), NOW + DAY - MINUTE) == 0
    assert queues.requested() == []


def test_after_the_interval_all_since_the_last_time_is_compared_and_some_more(
    sweep: Sweep, queues: ObservedQueues
) -> None:
    sweep.start([CHATS], set(), NOW)
    assert sweep.start([CHATS], set(), NOW + DAY) == 1
    (page,) = queues.requested()
    assert (page.tenant_id, page.resource, page.received) == (TENANT, RESOURCE, NOW + DAY)
    assert (page.since, page.until) == (NOW - OVERLAP, NOW + DAY - SETTLING_TIME)
    assert sweep.start([CHATS], set(), NOW + DAY + MINUTE) == 0
    sweep.start([CHATS], set(), NOW + 2 * DAY)
    assert ranges(queues) == [(NOW + DAY - SETTLING_TIME - OVERLAP, NOW + 2 * DAY - SETTLING_TIME)]


def test_a_suspected_gap_is_compared_at_once_up_to_now_and_once(sweep: Sweep, queues: ObservedQueues) -> None:
    sweep.start([CHATS], set(), NOW)
    sweep.checkpoints.suspect_gap(NAME, NOW + MINUTE)
    assert sweep.start([CHATS], set(), NOW + 2 * MINUTE) == 1
    assert ranges(queues) == [(NOW - OVERLAP, NOW + 2 * MINUTE)]
    assert sweep.start([CHATS], set(), NOW + 3 * MINUTE) == 0


@pytest.mark.parametrize("interval", [DAY, timedelta(0)])
def test_a_gap_waits_while_there_is_no_subscription_and_is_read_from_its_beginning(
    checkpoints: Checkpoints, queues: ObservedQueues, interval: timedelta
) -> None:
    sweep = Sweep(checkpoints, queues, interval)
    sweep.start([CHATS], set(), NOW)
    checkpoints.suspect_gap(NAME, NOW + MINUTE)
    for days in (1, 2, 3):
        assert sweep.start([CHATS], {NAME}, NOW + days * DAY) == 0
    assert sweep.start([CHATS], set(), NOW + 4 * DAY) == 1
    assert ranges(queues) == [(NOW - OVERLAP, NOW + 4 * DAY)]


def test_one_failing_declaration_keeps_none_of_the_others_waiting(sweep: Sweep, queues: ObservedQueues) -> None:
    others = [declaration("/teams/getAllMessages"), declaration(tenant=OTHER_TENANT)]
    sweep.start([CHATS, *others], set(), NOW)
    assert sweep.start([CHATS, *others], {NAME}, NOW + DAY) == 2
    asked = {(page.tenant_id, page.resource) for page in queues.requested()}
    assert asked == {(TENANT, "/teams/getAllMessages"), (OTHER_TENANT, RESOURCE)}


def test_without_intervals_only_a_suspected_gap_is_compared(on_suspicion: Sweep, queues: ObservedQueues) -> None:
    for days in range(4):
        assert on_suspicion.start([CHATS], set(), NOW + days * DAY) == 0
    on_suspicion.checkpoints.suspect_gap(NAME, NOW + 4 * DAY)
    assert on_suspicion.start([CHATS], set(), NOW + 4 * DAY) == 1
    ((since, until),) = ranges(queues)
    assert until == NOW + 4 * DAY
    assert since == NOW + 3 * DAY - PUSHED_WITHIN - OVERLAP  # not from the beginning of time, and not too late


def test_a_gap_suspected_only_after_the_subscription_is_back_is_read_from_its_beginning(
    on_suspicion: Sweep, queues: ObservedQueues
) -> None:
    """While Graph was unavailable, the app could not know that the subscription had expired."""
    on_suspicion.start([CHATS], set(), NOW)
    for hours in range(1, 20):
        assert on_suspicion.start([CHATS], {NAME}, NOW + timedelta(hours=hours)) == 0
    on_suspicion.checkpoints.suspect_gap(NAME, NOW + DAY)
    assert on_suspicion.start([CHATS], set(), NOW + DAY) == 1
    assert ranges(queues) == [(NOW - OVERLAP, NOW + DAY)]


def test_what_has_delta_queries_begins_with_one_of_an_empty_range(sweep: Sweep, queues: ObservedQueues) -> None:
    users = declaration("/users")
    sweep.start([users], set(), NOW)
    assert ranges(queues) == [(NOW - OVERLAP, NOW - OVERLAP)]
    sweep.start([users], set(), NOW + DAY)
    ((since, until),) = ranges(queues)
    assert since < until


def test_a_drive_has_its_link_before_its_subscription(sweep: Sweep, queues: ObservedQueues) -> None:
    drive = declaration("/drives/b!1/root", rich=False, types="updated")
    sweep.start([drive], set(), NOW)
    assert ranges(queues) == []
    sweep.start([drive], set(), NOW + DAY)
    assert ranges(queues) == [(NOW - OVERLAP, NOW + DAY - SETTLING_TIME)]


def test_a_resource_that_cannot_be_read_back_is_logged_once_and_affects_no_other(
    sweep: Sweep, queues: ObservedQueues, caplog: pytest.LogCaptureFixture
) -> None:
    presence = declaration("/communications/presences")
    sweep.start([presence, CHATS], set(), NOW)
    sweep.suspect_gap(presence, NOW)
    sweep.checkpoints.suspect_gap(NAME, NOW)
    sweep.start([presence, CHATS], set(), NOW + MINUTE)
    sweep.start([presence, CHATS], set(), NOW + 2 * MINUTE)
    assert [page.resource for page in queues.requested()] == [RESOURCE]
    assert [record.levelname for record in caplog.records if presence.resource in record.getMessage()] == ["WARNING"]


def test_a_process_that_dies_between_enqueueing_and_recording_enqueues_again(
    checkpoints: Checkpoints, queues: ObservedQueues
) -> None:
    class DyingQueues(ObservedQueues):
        def send(self, text: str, queue: Queue = Queue.NOTIFICATIONS, *, delay: timedelta = timedelta(0)) -> None:
            queues.send(text, queue, delay=delay)
            raise KeyboardInterrupt

    Sweep(checkpoints, queues, DAY).start([CHATS], set(), NOW)
    with pytest.raises(KeyboardInterrupt):
        Sweep(checkpoints, DyingQueues(queues._settings), DAY).start([CHATS], set(), NOW + DAY)
    assert Sweep(checkpoints, queues, DAY).start([CHATS], set(), NOW + DAY + MINUTE) == 1
    first, second = ranges(queues)
    assert second[0] == first[0]


ticks = st.lists(
    st.tuples(st.timedeltas(MINUTE, 2 * DAY), st.booleans(), st.booleans()), min_size=1, max_size=6
)  # time since the tick before, whether a gap is suspected, whether there is no subscription


@given(ticks, st.sampled_from([DAY, timedelta(hours=1)]))
@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_ranges_leave_nothing_out(
    checkpoints: Checkpoints, queues: ObservedQueues, ticks: list[tuple[timedelta, bool, bool]], interval: timedelta
) -> None:
    sweep = Sweep(checkpoints, queues, interval)
    declared = declaration(f"/chats/{uuid.uuid4()}/messages")
    name, now, covered = declared.id, NOW, NOW
    sweep.start([declared], set(), now)
    due, hurried = False, NOW - HURRY_INTERVAL
    for passed, suspected, failing in ticks:
        now += passed
        if suspected:
            checkpoints.suspect_gap(name, now - MINUTE / 2)
        due = due or suspected
        started = sweep.start([declared], {name} if failing else set(), now)
        for since, until in ranges(queues):
            assert since <= covered - OVERLAP
            assert until == (now if due else now - SETTLING_TIME)
            covered = now - SETTLING_TIME  # later changes are left to the next comparison as well
        assert started or failing or not due or now - hurried < HURRY_INTERVAL
        if started and due:
            due, hurried = False, now


@pytest.mark.parametrize(
    "resource",
    [
        "/chats",
        "/teams",
        "/appCatalogs/teamsApps/a/installedToChats",
        "/chats/19:a/messages?$search=word",
        "/chats/19:a/messages?$filter=mentions/any(u: u/mentioned/user/id eq '5d')",
        "/users/5d/messages?$search=word",
    ],
)
def test_a_resource_that_cannot_be_read_back_is_logged_at_each_gap(
    on_suspicion: Sweep, queues: ObservedQueues, caplog: pytest.LogCaptureFixture, resource: str
) -> None:
    lost = declaration(resource)
    on_suspicion.start([lost], set(), NOW)
    for hours in (1, 2):
        now = NOW + timedelta(hours=hours)
        caplog.clear()
        on_suspicion.suspect_gap(lost, now)
        on_suspicion.start([lost], set(), now)
        assert f"{resource} can't be read back" in caplog.text
    assert queues.requested() == []
    assert on_suspicion.checkpoints.all() == {}  # and no comparison is recorded
