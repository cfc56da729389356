"""The dispatcher of a destination: shared requests, request slots, and the rate."""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest

from shared.delivery.destination import Delivery, Destination, Rejected
from shared.delivery.dispatcher import Dispatcher, Limits
from shared.delivery.event import Event
from shared.delivery.ledger import Ledger
from shared.delivery.outbox import Outbox, Outboxes
from shared.errors import Isolable, NotAttempted, Reason, RetryLater
from shared.storage.tables import Row
from tests.builders import Clock, destination_secret
from tests.in_process import InProcess
from tests.memory import MemoryTables
from tests.servers import RecordedRequest, ScriptedResponse
from tests.shared.delivery.test_destination import ids, some

HOUR = timedelta(hours=1)
URL = "https://destination.example/"


class Gate:
    """A destination that answers once released; `calls`: the events of each delivery."""

    def __init__(self) -> None:
        self.calls: list[list[Event]] = []
        self.began = threading.Semaphore(0)
        self.may_answer = threading.Semaphore(0)
        self.rejects: set[str] = set()
        self.keeps: set[str] = set()

    def check(self) -> None:
        """Nothing is known against it."""

    def deliver(self, events: Sequence[Event], **_: Any) -> Delivery:
        self.calls.append(list(events))
        self.began.release()
        assert self.may_answer.acquire(timeout=30)
        kept = tuple(event for event in events if event.id in self.keeps)
        rejected = tuple(Rejected(event, 422) for event in events if event.id in self.rejects)
        settled = {event.id for event in kept} | self.rejects
        delivered = tuple(event for event in events if event.id not in settled)
        return Delivery(delivered, rejected, kept, RetryLater(Reason.DESTINATION) if kept else None)


class CountedTables(MemoryTables):
    """Tables that count what is asked of them."""

    def __init__(self) -> None:
        super().__init__()
        self.reads = self.writes = 0

    def partition(self, *place: Any, **options: Any) -> Iterator[Row]:
        self.reads += 1
        return super().partition(*place, **options)

    def put_all(self, *place: Any, **options: Any) -> None:
        self.writes += 1
        super().put_all(*place, **options)


class Delivering:
    """A dispatcher to a gate, with a ledger in memory."""

    def __init__(self, gate: Gate, limits: Limits, batching_delay: timedelta = HOUR) -> None:
        self.dispatcher = Dispatcher(limits, Clock(), lambda _: None, batching_delay)
        self.tables = CountedTables()
        self._outbox = Outbox(gate, Ledger(self.tables, timedelta(days=36_500)), dispatcher=self.dispatcher)
        self.deliver, self.check = self._outbox.deliver, self._outbox.check

    def waiting(self) -> int:
        return sum(len(group.events) for group in self.dispatcher._waiting.values())

    def waiting_bytes(self) -> int:
        return sum(group.size for group in self.dispatcher._waiting.values())

    def active(self) -> int:
        return self.dispatcher._active


def until(condition: Any) -> None:
    pause = threading.Event()
    for _ in range(3000):
        if condition():
            return
        pause.wait(0.01)
    raise AssertionError


def test_deliveries_that_wait_share_the_next_request_and_each_learns_of_its_own() -> None:
    gate, events = Gate(), some(6)
    gate.rejects, gate.keeps = {events[2].id}, {events[4].id}
    to = Delivering(gate, Limits(requests=1))
    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(to.deliver, events[:1])
        assert gate.began.acquire(timeout=30)
        others = []
        for number in range(1, 6):
            others.append(pool.submit(to.deliver, [events[number]]))
            until(lambda number=number: to.waiting() == number)
        gate.may_answer.release()
        gate.may_answer.release()
        assert first.result(30).delivered == (events[0],)
        results = [other.result(30) for other in others]
    assert [len(call) for call in gate.calls] == [1, 5]
    assert [len(result.delivered) for result in results] == [1, 0, 1, 0, 1]
    assert results[1].rejected == (Rejected(events[2], 422),)
    assert results[3].undelivered == (events[4],)
    assert results[3].failure is not None
    assert results[0].failure is None


def test_a_group_looks_up_once_and_records_once() -> None:
    gate, events = Gate(), some(6)
    to = Delivering(gate, Limits(requests=1))
    with ThreadPoolExecutor(8) as pool:
        tasks = [pool.submit(to.deliver, events[:1])]
        assert gate.began.acquire(timeout=30)
        before = to.tables.reads, to.tables.writes
        for number in range(1, 6):
            tasks.append(pool.submit(to.deliver, [events[number]]))
            until(lambda number=number: to.waiting() == number)
        for _ in range(2):
            gate.may_answer.release()
        assert all(len(task.result(30).delivered) == 1 for task in tasks)
    assert before == (1, 0)
    assert (to.tables.reads, to.tables.writes) == (2, 2)
    assert to.deliver(events) == Delivery()


def test_an_event_in_two_parts_is_delivered_once_and_each_learns_what_was_not_accepted() -> None:
    """The first may be a page, which holds nothing of the event; the other, a push, holds it sealed."""
    gate, events = Gate(), some(4)
    gate.keeps, gate.rejects = {events[1].id}, {events[2].id}
    to = Delivering(gate, Limits(requests=1))
    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(to.deliver, events[:1])
        assert gate.began.acquire(timeout=30)
        page = pool.submit(to.deliver, events[1:])
        until(lambda: to.waiting() == 3)
        alone = to.waiting_bytes()
        push = pool.submit(to.deliver, events[1:])
        until(lambda: to.waiting_bytes() == 2 * alone)
        for _ in range(2):
            gate.may_answer.release()
        assert len(first.result(30).delivered) == 1
        results = [page.result(30), push.result(30)]
    assert [result.delivered for result in results] == [(events[3],), ()]
    for result in results:
        assert (result.rejected, result.undelivered) == ((Rejected(events[2], 422),), (events[1],))
        assert result.failure is not None
    assert [len(call) for call in gate.calls] == [1, 3]


@pytest.mark.parametrize(
    ("batching_delay", "most_events", "at_once"),
    [(HOUR, 100, 1), (timedelta(0), 100, 3), (HOUR, 1, 3)],
    ids=["they wait for others", "no others come", "each is full"],
)
def test_while_one_is_under_way_the_next_wait_for_others(
    batching_delay: timedelta, most_events: int, at_once: int
) -> None:
    gate, events = Gate(), some(3)
    to = Delivering(gate, Limits(most_events=most_events), batching_delay)
    with ThreadPoolExecutor(8) as pool:
        tasks = []
        for number in range(3):
            tasks.append(pool.submit(to.deliver, [events[number]]))
            until(lambda number=number: to.active() == number + 1)
            if number < at_once:
                assert gate.began.acquire(timeout=30)
        assert not gate.began.acquire(blocking=False)
        for _ in tasks:
            gate.may_answer.release()
        assert all(len(task.result(30).delivered) == 1 for task in tasks)
    assert [len(call) for call in gate.calls] == [1] * at_once + [2] * (at_once == 1)


def test_while_others_are_about_to_deliver_they_are_waited_for() -> None:
    gate, events = Gate(), some(3)
    gate.may_answer.release(2)
    ledger = Ledger(MemoryTables(), timedelta(days=60))
    dispatcher = Dispatcher(Limits(most_events=2), Clock(), lambda _: None, HOUR)
    outboxes = Outboxes([Outbox(gate, ledger, dispatcher=dispatcher)])
    outboxes.deliver(events[:1])  # there is nobody to wait for
    with ThreadPoolExecutor(1) as pool:
        with outboxes.preparing():
            waits = pool.submit(outboxes.deliver, events[1:2])
            until(lambda: dispatcher._waiting)
        outboxes.deliver(events[2:])
        waits.result(30)
    assert [len(call) for call in gate.calls] == [1, 2]


@pytest.mark.parametrize(
    ("limits", "waiting", "sizes"),
    [
        (lambda event: Limits(requests=1, most_bytes=2 * len(event.data)), (1, 2, 1), [1, 1, 2]),
        (lambda _: Limits(requests=1, most_events=2), (1, 2, 1, 2), [1, 2, 2]),
    ],
    ids=["bytes", "events"],
)
def test_a_group_holds_no_more_than_a_request(
    limits: Callable[[Event], Limits], waiting: Sequence[int], sizes: Sequence[int]
) -> None:
    gate, events = Gate(), some(1 + len(waiting))
    to = Delivering(gate, limits(events[0]))
    with ThreadPoolExecutor(8) as pool:
        tasks = [pool.submit(to.deliver, events[:1])]
        assert gate.began.acquire(timeout=30)
        for event, expected in zip(events[1:], waiting, strict=True):
            tasks.append(pool.submit(to.deliver, [event]))
            until(lambda expected=expected: to.waiting() == expected)
        for _ in range(3):
            gate.may_answer.release()
        assert all(len(task.result(30).delivered) == 1 for task in tasks)
    assert sorted(len(call) for call in gate.calls) == sizes


def test_who_delivers_for_others_and_is_interrupted_leaves_their_events_undelivered() -> None:
    class Interrupted(Exception):
        pass

    class Broken(Gate):
        def deliver(self, events: Sequence[Event], **options: Any) -> Delivery:
            delivery = super().deliver(events, **options)
            if len(events) > 1:
                raise Interrupted
            return delivery

    gate, events = Broken(), some(3)
    to = Delivering(gate, Limits(requests=1))
    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(to.deliver, events[:1])
        assert gate.began.acquire(timeout=30)
        others = []
        for number in (1, 2):
            others.append(pool.submit(to.deliver, [events[number]]))
            until(lambda number=number: to.waiting() == number)
        for _ in range(2):
            gate.may_answer.release()
        assert len(first.result(30).delivered) == 1
        with pytest.raises(Interrupted):
            others[0].result(30)
        kept = others[1].result(30)
    assert kept.undelivered == (events[2],)
    assert isinstance(kept.failure, NotAttempted)


def test_one_alone_is_not_kept_waiting_for_others() -> None:
    gate = Gate()
    gate.may_answer.release()
    assert len(Delivering(gate, Limits()).deliver(some(3)).delivered) == 3


def test_deliveries_without_a_slot_are_retried_at_different_times() -> None:
    gate = Gate()
    to = Delivering(gate, Limits(capacity=1, requests=1))
    to.dispatcher._seconds = 10.0  # the duration of its requests so far
    with ThreadPoolExecutor(1) as pool:
        inside = pool.submit(to.deliver, some(1))
        assert gate.began.acquire(timeout=30)
        turned = [to.deliver(some(1)) for _ in range(3)]
        gate.may_answer.release()
        inside.result(30)
    failures = [result.failure for result in turned]
    assert all(isinstance(failure, NotAttempted) and failure.reason is Reason.DESTINATION_BUSY for failure in failures)
    assert [failure.retry_after for failure in failures if failure] == [timedelta(seconds=s) for s in (10, 20, 30)]


@dataclass
class Paced:
    """A destination at a rate, in virtual time, with its ledger and dispatcher. times: of the requests, in seconds."""

    rate: float
    bad: frozenset[str] = frozenset()
    status: int = 400
    clock: Clock = field(default_factory=Clock)
    times: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        began = self.clock()

        def answer(request: RecordedRequest) -> ScriptedResponse:
            self.times.append((self.clock() - began).total_seconds())
            return ScriptedResponse(self.status if self.bad & set(ids(request)) else 204)

        def sleep(seconds: float) -> None:
            self.clock.advance(seconds=seconds)

        def monotonic() -> float:
            return (self.clock() - began).total_seconds()

        self.server = InProcess(answer, self.clock)
        destination = Destination(URL, [destination_secret()], self.server.mounted(URL), self.clock)
        self.dispatcher = Dispatcher(Limits(rate=self.rate), self.clock, sleep, monotonic=monotonic)
        self.outbox = Outbox(destination, Ledger(MemoryTables(), timedelta(days=36_500)), dispatcher=self.dispatcher)
        self.deliver = self.outbox.deliver

    def sizes(self) -> list[int]:
        return [len(ids(request)) for request in self.server.asked]


def test_a_rate_is_kept_and_what_would_wait_long_comes_back() -> None:
    to, events = Paced(2.0), some(30)
    delivery = to.deliver(events)
    assert to.sizes() == [2] * 6  # no burst of what an envelope holds
    assert to.times == [0, 1, 2, 3, 4, 5]
    assert (delivery.delivered, delivery.undelivered) == (tuple(events[:12]), tuple(events[12:]))
    assert isinstance(delivery.failure, NotAttempted)
    assert delivery.failure.reason is Reason.DESTINATION_BUSY
    assert to.deliver(events[:12]) == Delivery()  # what was delivered before costs none of the rate
    assert delivery.failure.retry_after is not None
    to.clock.advance(seconds=delivery.failure.retry_after.total_seconds())
    assert len(to.deliver(events[12:14]).delivered) == 2


def test_a_failure_is_not_followed_by_the_rest_at_the_rate() -> None:
    events = some(4)
    to = Paced(2.0, frozenset({events[1].id}), 503)
    delivery = to.deliver(events)
    assert delivery.undelivered == tuple(events)
    assert delivery.failure is not None
    assert to.sizes() == [2]


@pytest.mark.parametrize("rate", [0.5, 1.0, 2.0, 10.0])
def test_a_rejected_event_blocks_nothing_at_any_rate(rate: float) -> None:
    bad, *good = some(3)
    delivery = Paced(rate, frozenset({bad.id})).deliver([bad, *good])
    assert delivery.rejected == (Rejected(bad, 400),)
    assert delivery.delivered == tuple(good)


def test_at_a_rate_the_halves_of_a_rejected_batch_keep_it_too() -> None:
    events = some(4)
    to = Paced(4.0, frozenset({events[3].id}))
    assert to.deliver(events).delivered == tuple(events[:3])
    assert to.sizes() == [4, 2, 2, 1, 1]
    assert to.times == [0, 1, 1.5, 2, 2.25]


@pytest.mark.parametrize("status", [400, 500])
def test_more_rejected_events_than_the_rate_allows_are_separated_from_those_behind(status: int) -> None:
    """None was accepted, and the rest was never sent: what is tried again is halved, until one behind is accepted."""
    events = some(8)
    to = Paced(1.0, frozenset(event.id for event in events[:7]), status)
    delivery = to.deliver(events, isolate_errors=True)
    assert delivery.undelivered == tuple(events)
    assert isinstance(delivery.failure, Isolable)
    assert not isinstance(delivery.failure, NotAttempted)


def test_pauses_for_the_rate_and_the_ledger_do_not_make_a_destination_slow() -> None:
    class Slow(MemoryTables):
        def partition(self, *place: Any, **options: Any) -> Iterator[Row]:
            to.clock.advance(seconds=10)
            return super().partition(*place, **options)

    to = Paced(1.0)
    to.outbox.ledger._tables = Slow()
    to.deliver(some(5))
    assert (to.times[-1] - to.times[0], to.dispatcher._seconds) == (4, 0)
    to.server.takes = 10
    to.clock.advance(seconds=10)
    to.deliver(some(6))
    assert to.dispatcher._seconds == 0.2 * 10


def test_a_leader_whose_patience_ends_between_two_looks_at_the_clock_goes() -> None:
    """The clock passes the end of its patience with its third reading; nobody else is there to wake it."""
    times = iter([0.0, 0.0])
    dispatcher = Dispatcher(Limits(), Clock(), batching_delay=timedelta(seconds=1), monotonic=lambda: next(times, 1.5))
    gate = Gate()
    gate.may_answer.release()
    outbox = Outbox(gate, Ledger(MemoryTables(), timedelta(days=60)), dispatcher=dispatcher)
    deliver = threading.Thread(target=lambda: outbox.deliver(some(1), others_expected=True), daemon=True)
    deliver.start()
    deliver.join(30)
    assert not deliver.is_alive()


def test_a_quick_destination_is_waited_for_and_a_slow_one_is_not() -> None:
    gate, events = Gate(), some(4)
    to = Delivering(gate, Limits(capacity=1, requests=1))
    with ThreadPoolExecutor(2) as pool:
        inside = pool.submit(to.deliver, events[:1])
        assert gate.began.acquire(timeout=30)
        waits = pool.submit(to.deliver, events[1:2])
        until(lambda: to.dispatcher._slot_freed._waiters)  # type: ignore[attr-defined]
        gate.may_answer.release()
        gate.may_answer.release()
        assert len(inside.result(30).delivered) == len(waits.result(30).delivered) == 1
        assert gate.began.acquire(timeout=30)
        to.check()
        inside = pool.submit(to.deliver, events[2:3])
        assert gate.began.acquire(timeout=30)
        to.check()  # it may well have a place in a moment
        assert isinstance(to.deliver(events[3:]).failure, NotAttempted)  # it had none
        with pytest.raises(NotAttempted):
            to.check()
        assert isinstance(to.deliver(events[3:]).failure, NotAttempted)
        gate.may_answer.release()
        inside.result(30)


def test_several_destinations_share_the_invocations_and_what_waits_shares_requests() -> None:
    assert Limits(requests=8).shared_by(1, 24) == Limits(capacity=48, requests=8)
    assert Limits(requests=8).shared_by(3, 24) == Limits(capacity=8, requests=4)
    assert Limits(requests=2).shared_by(3, 24) == Limits(capacity=8, requests=2)
    assert Limits().shared_by(40, 24) == Limits(capacity=2, requests=1)


@pytest.mark.parametrize("isolate", [True, False])
def test_no_events_need_no_place(isolate: bool) -> None:
    assert Delivering(Gate(), Limits(capacity=0)).deliver([], isolate_errors=isolate) == Delivery()
