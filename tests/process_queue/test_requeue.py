"""Unfinished items, step by step: when they are retried, how they are split, when they are dead-lettered.

test_requeue_properties.py has many rounds, with crashes.
"""

from dataclasses import replace
from datetime import datetime, timedelta

import msgspec
import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from process_queue.handler import MessageHandler
from shared.errors import Isolable, NotAttempted, Reason, RetryLater
from shared.messages.envelope import ChangeBatch, Envelope, ReadbackPage, attempts, read, read_dead_letter
from shared.messages.retry import MAX_DELAY, SCHEDULE
from shared.storage.queues import Queue
from tests.builders import NOW, TENANT, Clock, change, changes, lifecycle, lifecycle_items
from tests.memory import MemoryAccount, MemoryQueues
from tests.process_queue.app import FixedRandom, start_app

HORIZON = timedelta(hours=72)
MOMENT = timedelta(seconds=1)
PAGE = ReadbackPage(NOW, TENANT, "/chats/getAllMessages", NOW - HORIZON, NOW)
ERROR, AWAY = Isolable(Reason.DESTINATION_ERROR), RetryLater(Reason.DESTINATION)


class RecordingQueues(MemoryQueues):
    """Queues that also record each message with its queue and delay."""

    def __init__(self) -> None:
        super().__init__()
        self.queued: list[tuple[Envelope, timedelta]] = []
        self.dead: list[tuple[Envelope, Reason, datetime]] = []

    def send(self, text: str, queue: Queue = Queue.NOTIFICATIONS, *, delay: timedelta = timedelta(0)) -> None:
        super().send(text, queue, delay=delay)
        if queue is Queue.DEAD_LETTERS:
            letter = read_dead_letter(text)
            self.dead.append((letter.envelope, letter.reason, letter.given_up))
        else:
            self.queued.append((read(text), delay))

    def later(self, envelope: Envelope, failure: RetryLater, after: timedelta = timedelta(0)) -> None:
        self.queued, self.dead = [], []
        storage = replace(MemoryAccount().clients(), queues=self)
        relay = start_app(storage, Clock(NOW + after), requests.Session(), random=FixedRandom(0.5))
        MessageHandler(relay).requeue.later(envelope, failure)

    def envelopes(self) -> list[Envelope]:
        return [envelope for envelope, _ in self.queued]

    def without_history(self) -> list[Envelope]:
        """The requeued envelopes without their history of failed attempts, which all of them have."""
        assert all(attempts(envelope) for envelope in self.envelopes())
        return [msgspec.structs.replace(envelope, history=msgspec.UNSET) for envelope in self.envelopes()]


@pytest.fixture
def queues() -> RecordingQueues:
    return RecordingQueues()


def numbered(number: int, attempt: int = 0) -> ChangeBatch:
    return changes(*[change(f"chats('c')/messages('{message_id}')") for message_id in range(number)], attempt=attempt)


def sizes(queues: RecordingQueues) -> list[int]:
    return [len(envelope.items) for envelope in queues.envelopes() if not isinstance(envelope, ReadbackPage)]


@pytest.mark.parametrize(
    ("number", "attempt", "why", "parts"),
    [
        (4, 0, ERROR, [4]),  # it may have been a transient error
        (4, 1, ERROR, [2, 2]),
        (5, 2, ERROR, [2, 3]),
        (2, 9, ERROR, [1, 1]),
        (1, 9, ERROR, [1]),
        (4, 9, AWAY, [4]),
        (4, 9, RetryLater(Reason.DESTINATION_GONE), [4]),
        (4, 9, RetryLater(Reason.SIGNING_KEYS), [4]),
    ],
)
def test_only_an_isolable_failure_of_a_later_attempt_splits_an_envelope(
    queues: RecordingQueues, number: int, attempt: int, why: RetryLater, parts: list[int]
) -> None:
    queues.later(numbered(number, attempt), why)
    assert sizes(queues) == parts
    assert {envelope.attempt for envelope in queues.envelopes()} == {attempt + 1}


def test_lifecycle_items_are_requeued_unchanged(queues: RecordingQueues) -> None:
    envelope = lifecycle_items(lifecycle(), lifecycle("missed"))
    queues.later(envelope, RetryLater(Reason.GRAPH))
    assert queues.without_history() == [msgspec.structs.replace(envelope, attempt=1)]


def test_a_page_is_never_split(queues: RecordingQueues) -> None:
    queues.later(msgspec.structs.replace(PAGE, attempt=5), ERROR)
    assert queues.without_history() == [msgspec.structs.replace(PAGE, attempt=6)]


reasons = st.sampled_from([Reason.DESTINATION_ERROR, Reason.DESTINATION, Reason.GRAPH_THROTTLED])
wait_budget = st.none() | st.timedeltas(timedelta(0), timedelta(days=30))


@given(
    st.integers(1, 7), st.integers(0, 20), reasons, wait_budget, st.timedeltas(timedelta(0), 2 * HORIZON), st.booleans()
)
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_item_is_queued_once_before_the_horizon_and_dead_lettered_once_after_it(
    queues: RecordingQueues,
    number: int,
    attempt: int,
    reason: Reason,
    wait: timedelta | None,
    later: timedelta,
    replayed: bool,
) -> None:
    begun = NOW - HORIZON if replayed else NOW
    envelope = msgspec.structs.replace(
        numbered(number, attempt), received=begun, replayed=NOW if replayed else None, tokens=("a",), proven=(TENANT,)
    )
    queues.later(envelope, RetryLater(reason, retry_after=wait), later)
    queued = [
        (batch, bytes(item)) for batch in queues.envelopes() if isinstance(batch, ChangeBatch) for item in batch.items
    ]
    dead = [
        (batch, bytes(item)) for batch, _, _ in queues.dead if isinstance(batch, ChangeBatch) for item in batch.items
    ]
    every = [bytes(item) for item in envelope.items]
    assert [item for _, item in queued] == (every if later < HORIZON else [])
    assert [item for _, item in dead] == (every if later >= HORIZON else [])
    for batch, _ in queued + dead:
        # everything that an item is judged by goes with it
        assert (batch.received, batch.replayed, batch.tokens) == (envelope.received, envelope.replayed, ("a",))
        assert batch.proven == (TENANT,)
    for _, why, at in queues.dead:
        assert (why, at) == (reason, NOW + later)
    for _, delay in queues.queued:
        assert timedelta(0) <= delay <= MAX_DELAY
        assert wait is None or delay >= min(wait, MAX_DELAY)


def test_the_last_attempt_is_at_the_horizon(queues: RecordingQueues) -> None:
    queues.later(numbered(1, 30), AWAY, HORIZON - MOMENT)
    assert [delay for _, delay in queues.queued] == [MOMENT]
    queues.later(numbered(1, 31), AWAY, HORIZON)
    assert (queues.queued, len(queues.dead)) == ([], 1)


def test_a_replayed_envelope_starts_with_no_attempts(queues: RecordingQueues) -> None:
    old = msgspec.structs.replace(numbered(1), received=NOW - 10 * HORIZON, replayed=NOW)
    queues.later(old, AWAY)
    ((again, delay),) = queues.queued
    assert delay == SCHEDULE[0]
    assert again.received == old.received  # tokens are judged as of then
    page = msgspec.structs.replace(PAGE, received=NOW - 10 * HORIZON, replayed=NOW)
    queues.later(page, AWAY)
    assert queues.without_history() == [msgspec.structs.replace(page, attempt=1)]


def test_a_postponed_envelope_is_hidden_until_its_time(queues: RecordingQueues) -> None:
    queues.later(numbered(1), RetryLater(Reason.GRAPH, retry_after=timedelta(hours=1)))
    assert queues.length() == 1
    assert queues.peek(Queue.NOTIFICATIONS) == []


def test_while_storage_is_unavailable_nothing_is_requeued(queues: RecordingQueues) -> None:
    queues.available = False
    for later in (timedelta(0), HORIZON):
        with pytest.raises(RetryLater) as unavailable:
            queues.later(numbered(2, 3), ERROR, later)
        assert unavailable.value.reason is Reason.STORAGE
        assert (queues.queued, queues.dead) == ([], [])


def test_an_unattempted_envelope_keeps_its_attempts_and_is_retried_soon(queues: RecordingQueues) -> None:
    """After an outage of three hours no item waits for another two."""
    turned_away = NotAttempted(Reason.DESTINATION, retry_after=timedelta(seconds=30))
    queues.later(numbered(2, attempt=11), turned_away, after=timedelta(hours=3))
    ((again, delay),) = queues.queued
    assert not isinstance(again, ReadbackPage)
    assert again.attempt == 11
    assert timedelta(seconds=30) <= delay <= timedelta(seconds=40)
