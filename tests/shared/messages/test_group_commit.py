"""Group commit: requests share puts, and each learns the outcome of its own texts."""

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import Reason, RetryLater
from shared.messages.envelope import parts, together
from shared.messages.group_commit import MOST_PUTS, GroupCommit
from shared.storage.queues import Queue
from tests.memory import MemoryQueues
from tests.waiting import LIMIT, eventually

PATIENCE = timedelta(seconds=LIMIT)


class SlowQueues(MemoryQueues):
    """Queues whose puts wait until a test releases them."""

    def __init__(self) -> None:
        super().__init__()
        self.under_way = 0
        self.let = threading.Semaphore(0)

    def send(self, text: str, queue: Queue = Queue.NOTIFICATIONS, *, delay: timedelta = timedelta(0)) -> None:
        with self.lock:
            self.under_way += 1
        self.let.acquire()
        with self.lock:
            self.under_way -= 1
        super().send(text, queue, delay=delay)


class Requests:
    """Sends requests from threads of their own."""

    def __init__(self, limit: int = 1000) -> None:
        self.queues = SlowQueues()
        self.commit = GroupCommit(self.queues, limit)
        self._pool = ThreadPoolExecutor(40)

    def send(self, *texts: str, within: timedelta = PATIENCE) -> Future[None]:
        return self._pool.submit(self.commit.send_all, texts, within=within)

    def send_and_wait(self, *texts: str) -> Future[None]:
        """Send a request that waits for its turn, since all puts are in progress."""
        before = len(self.commit._waiting)
        sent = self.send(*texts)
        eventually(lambda: len(self.commit._waiting) > before)
        return sent

    def occupy(self) -> list[Future[None]]:
        """Occupy all slots with puts."""
        first = []
        for number in range(MOST_PUTS):
            first.append(self.send(f'{{"first":{number}}}'))
            eventually(lambda most=number + 1: self.queues.under_way == most)  # type: ignore[misc]
        return first

    def let(self, puts: int = 100) -> None:
        self.queues.let.release(puts)

    def stored(self) -> list[list[str]]:
        return [parts(text) for text in self.queues.texts()]


@pytest.fixture
def requests() -> Iterator[Requests]:
    made = Requests()
    yield made
    made.let()
    made._pool.shutdown()


def texts(*numbers: int) -> list[str]:
    return [f'{{"n":{number}}}' for number in numbers]


def test_a_request_alone_waits_for_nobody_and_is_stored_as_it_is(requests: Requests) -> None:
    requests.let()
    requests.send(*texts(1)).result(LIMIT)
    assert requests.queues.texts() == texts(1)


def test_requests_that_come_while_puts_are_under_way_share_the_next_one(requests: Requests) -> None:
    first = requests.occupy()
    later = [requests.send_and_wait(*texts(number)) for number in range(10)]
    assert requests.queues.under_way == MOST_PUTS
    assert not any(request.done() for request in (*first, *later))
    requests.let()
    for request in (*first, *later):
        request.result(LIMIT)
    assert texts(*range(10)) in requests.stored()
    assert requests.queues.length() == MOST_PUTS + 1


def test_a_group_is_no_longer_than_a_message_and_the_rest_comes_next(requests: Requests) -> None:
    first = requests.occupy()
    long = [f'{{"long":"{number}{"x" * 300}"}}' for number in range(7)]
    later = [requests.send_and_wait(text) for text in long]
    requests.let()
    for request in (*first, *later):
        request.result(LIMIT)
    groups = [group for group in requests.stored() if group[0] in long]
    assert sorted(len(group) for group in groups) == [1, 3, 3]
    assert all(len(together(group)) <= 1000 for group in groups)


def test_what_fills_a_message_by_itself_is_sent_by_itself_and_waits_for_nobody(requests: Requests) -> None:
    first = requests.occupy()
    large = requests.send("x" * 999)
    eventually(lambda: requests.queues.under_way == MOST_PUTS + 1)
    requests.let()
    for request in (*first, large):
        request.result(LIMIT)
    assert ["x" * 999] in requests.stored()


def test_the_rest_of_a_large_request_shares_a_message(requests: Requests) -> None:
    first = requests.occupy()
    large = ["x" * 900, "y" * 900, *texts(1)]
    sent = requests.send_and_wait(*large)
    eventually(lambda: requests.queues.under_way == MOST_PUTS + 1)
    small = requests.send_and_wait(*texts(2))
    requests.let()
    for request in (*first, sent, small):
        request.result(LIMIT)
    assert texts(1, 2) in requests.stored()
    assert all([text] in requests.stored() for text in large[:2])


@pytest.mark.parametrize("last", ["z" * 600, "z" * 999])
def test_a_rest_that_leaves_little_room_is_sent_by_itself(requests: Requests, last: str) -> None:
    requests.occupy()
    sent = requests.send("x" * 900, last)
    eventually(lambda: requests.queues.under_way == MOST_PUTS + 1)
    requests.let()
    sent.result(LIMIT)
    assert [last] in requests.stored()


def test_a_large_request_fails_as_a_whole(requests: Requests) -> None:
    first = requests.occupy()
    sent = requests.send_and_wait("x" * 900, "y" * 900, *texts(1))
    eventually(lambda: requests.queues.under_way == MOST_PUTS + 1)
    requests.queues.available = False
    requests.let()
    assert all(isinstance(request.exception(LIMIT), RetryLater) for request in (*first, sent))
    requests.queues.available = True
    requests.send(*texts(2)).result(LIMIT)
    assert requests.stored() == [texts(2)]


def test_a_failed_put_fails_its_own_requests_only_each_with_its_own_error(
    requests: Requests,
) -> None:
    first = requests.occupy()
    later = [requests.send_and_wait(*texts(number)) for number in range(3)]
    requests.queues.available = False
    requests.let(1)
    eventually(lambda: sum(request.done() for request in first) == 1)
    eventually(lambda: requests.queues.under_way == MOST_PUTS)  # the next put has started
    requests.queues.available = True
    requests.let()
    failures = [request.exception(LIMIT) for request in (*first, *later)]
    assert sum(failure is not None for failure in failures) == 1
    requests.queues.available = False
    again = [requests.send(*texts(number)) for number in range(8)]
    errors = [request.exception(LIMIT) for request in again]
    assert all(isinstance(error, RetryLater) and error.reason is Reason.STORAGE for error in errors)
    assert len({id(error) for error in errors}) == 8


def test_a_request_whose_time_is_out_is_refused_and_not_stored_later(requests: Requests) -> None:
    first = requests.occupy()
    late = requests.send(*texts(1), within=timedelta(0))
    with pytest.raises(RetryLater):
        late.result(LIMIT)
    patient = requests.send_and_wait(*texts(2))
    requests.let()
    for request in (*first, patient):
        request.result(LIMIT)
    assert texts(2) in requests.stored()
    assert not any(texts(1)[0] in group for group in requests.stored())


def test_an_unforeseen_error_reaches_the_request_and_the_next_one_is_served(requests: Requests) -> None:
    requests.let()
    for _ in range(MOST_PUTS + 1):
        with pytest.raises(UnicodeEncodeError):
            requests.send("ä").result(LIMIT)
    requests.send(*texts(1)).result(LIMIT)
    assert requests.stored() == [texts(1)]


def test_every_stored_text_is_there_once_in_any_order_of_arrival() -> None:
    queues = MemoryQueues()
    commit = GroupCommit(queues, limit=200)
    sent = [[f'{{"n":"{number}.{text}"}}' for text in range(number % 4)] for number in range(300)]
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda request: commit.send_all(request, within=PATIENCE), sent))
    stored = [text for message in queues.texts() for text in parts(message)]
    assert sorted(stored) == sorted(text for request in sent for text in request)


json_objects: st.SearchStrategy[Sequence[str]] = st.lists(
    st.sampled_from(['{"a":1}', '{"a":"],["}', '{"kind":"change", "items":[[],{}]}', '{"a":"\\""}']), min_size=1
)


@given(json_objects)
def test_what_was_put_together_comes_apart_as_it_was(objects: Sequence[str]) -> None:
    assert parts(together(objects)) == list(objects)
