"""A destination's lane: shared requests, request slots, and the rate."""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from shared.delivery.destination import Delivery, Rejected
from shared.delivery.event import Event
from shared.delivery.lane import Lane, Limits
from shared.errors import NotAttempted, Reason, RetryLater
from tests.builders import Clock
from tests.shared.delivery.test_destination import some


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


def lane(gate: Gate, limits: Limits, clock: Clock | None = None) -> Lane:
    return Lane(gate, limits, clock or Clock(), lambda _: None)  # type: ignore[arg-type]


def waiting(lane: Lane) -> int:
    return sum(len(group.events) for group in lane._waiting.values())


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
    to = lane(gate, Limits(requests=1))
    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(to.deliver, events[:1])
        assert gate.began.acquire(timeout=30)
        others = []
        for number in range(1, 6):
            others.append(pool.submit(to.deliver, [events[number]]))
            until(lambda number=number: waiting(to) == number)
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


def test_a_group_holds_no_more_than_a_request() -> None:
    gate, events = Gate(), some(5)
    to = lane(gate, Limits(requests=1, most_events=2))
    with ThreadPoolExecutor(8) as pool:
        tasks = [pool.submit(to.deliver, events[:1])]
        assert gate.began.acquire(timeout=30)
        for number, expected in ((1, 1), (2, 2), (3, 1), (4, 2)):
            tasks.append(pool.submit(to.deliver, [events[number]]))
            until(lambda expected=expected: waiting(to) == expected)
        for _ in range(3):
            gate.may_answer.release()
        assert all(len(task.result(30).delivered) == 1 for task in tasks)
    assert sorted(len(call) for call in gate.calls) == [1, 2, 2]


def test_one_alone_is_not_kept_waiting_for_others() -> None:
    gate = Gate()
    gate.may_answer.release()
    assert len(lane(gate, Limits()).deliver(some(3)).delivered) == 3


def test_what_finds_no_place_comes_back_later_and_each_at_a_time_of_its_own() -> None:
    gate = Gate()
    to = lane(gate, Limits(capacity=1, requests=1))
    to._seconds = 10.0  # the duration of its requests so far
    with ThreadPoolExecutor(1) as pool:
        inside = pool.submit(to.deliver, some(1))
        assert gate.began.acquire(timeout=30)
        turned = [to.deliver(some(1)) for _ in range(3)]
        gate.may_answer.release()
        inside.result(30)
    failures = [result.failure for result in turned]
    assert all(isinstance(failure, NotAttempted) and failure.reason is Reason.DESTINATION_BUSY for failure in failures)
    assert [failure.retry_after for failure in failures if failure] == [timedelta(seconds=s) for s in (10, 20, 30)]


def test_a_rate_is_kept_and_what_would_wait_long_comes_back() -> None:
    gate, clock = Gate(), Clock()
    slept: list[float] = []
    to = Lane(gate, Limits(rate=2.0), clock, slept.append)  # type: ignore[arg-type]
    for _ in range(3):
        gate.may_answer.release()
    assert len(to.deliver(some(4)).delivered) == 4
    assert len(to.deliver(some(8)).delivered) == 8
    assert slept == [2.0]
    failure = to.deliver(some(1)).failure
    assert isinstance(failure, NotAttempted)
    assert failure.retry_after == timedelta(seconds=6.5)
    clock.advance(seconds=6)
    assert len(to.deliver(some(1)).delivered) == 1


def test_a_quick_destination_is_waited_for_and_a_slow_one_is_not() -> None:
    gate, events = Gate(), some(3)
    to = lane(gate, Limits(capacity=1, requests=1))
    with ThreadPoolExecutor(2) as pool:
        inside = pool.submit(to.deliver, events[:1])
        assert gate.began.acquire(timeout=30)
        waits = pool.submit(to.deliver, events[1:2])
        until(lambda: to._left._waiters)  # type: ignore[attr-defined]
        gate.may_answer.release()
        gate.may_answer.release()
        assert len(inside.result(30).delivered) == len(waits.result(30).delivered) == 1
        assert gate.began.acquire(timeout=30)
        to.check()
        inside = pool.submit(to.deliver, events[:1])
        assert gate.began.acquire(timeout=30)
        to.check()  # it may well have a place in a moment
        assert isinstance(to.deliver(events[2:]).failure, NotAttempted)  # it had none
        with pytest.raises(NotAttempted):
            to.check()
        assert isinstance(to.deliver(events[2:]).failure, NotAttempted)
        gate.may_answer.release()
        inside.result(30)


def test_several_destinations_share_the_invocations_and_what_waits_shares_requests() -> None:
    assert Limits(requests=8).shared_by(1, 24) == Limits(capacity=48, requests=8)
    assert Limits(requests=8).shared_by(3, 24) == Limits(capacity=8, requests=4)
    assert Limits(requests=2).shared_by(3, 24) == Limits(capacity=8, requests=2)
    assert Limits().shared_by(40, 24) == Limits(capacity=2, requests=1)


@pytest.mark.parametrize("isolate", [True, False])
def test_no_events_need_no_place(isolate: bool) -> None:
    assert lane(Gate(), Limits(capacity=0)).deliver([], isolate_errors=isolate) == Delivery()
