"""Nothing hangs: the duration of an envelope while a dependency is slow or does not answer, in virtual time."""

import json
from datetime import timedelta
from pathlib import Path

import pytest

from process_queue.changes import READ_TIME
from process_queue.handler import MESSAGE_TIME, MessageHandler
from process_queue.verify import READS_AT_ONCE
from renew_timer.drain import WORK_TIME
from renew_timer.run import LONGEST_RUN
from shared import deadline
from shared.configuration.declaration import Declaration, Declarations
from shared.deadline import time_limit
from shared.errors import NotAttempted, Reason
from shared.messages.envelope import ChangeBatch, LifecycleBatch, read
from shared.messages.group_commit import MOST_ENVELOPES
from shared.storage.account import BACKGROUND_LIMITS
from shared.storage.queues import Queue
from shared.subscriptions.known import KnownSubscription
from shared.subscriptions.wait_budget import WaitBudget
from tests.builders import (
    NOW,
    TENANT,
    Clock,
    change,
    changes,
    chat_path,
    encryption_key,
    lifecycle,
    lifecycle_items,
    message,
)
from tests.in_process import HANGS, InProcess
from tests.memory import MemoryAccount, MemoryKeys
from tests.process_queue.app import start_app
from tests.servers import RecordedRequest, ScriptedResponse, in_json

GRAPH, DESTINATION = "https://graph.example", "https://destination.example"
HYDRATED = Declaration("/chats/getAllMessages", ("created",), tenant_id=TENANT, hydrate=True)
ITEMS = 127
ROOT = Path(__file__).parents[2]


class VirtualTime:
    """Graph and the destination in virtual time, and the handlers of one process between them."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.graph = InProcess(lambda request: in_json(message(request.path.rpartition("/")[2])), self.clock)
        self.destination = InProcess(self._take, self.clock)
        self.taken: list[str] = []
        self.fails_on: set[str] = set()
        self.account = MemoryAccount()
        self.keys = MemoryKeys(encryption_key())
        session = self.graph.mounted(GRAPH)
        session.mount(DESTINATION, self.destination)
        self.relay = start_app(
            self.account.clients(),
            self.clock,
            session,
            declarations=Declarations([HYDRATED]),
            key_store=self.keys,
            GRAPH_BASE_URL=GRAPH,
            DESTINATION_URL=DESTINATION,
        )
        self.handler = MessageHandler(self.relay)

    def deliver(self, envelope: ChangeBatch) -> timedelta:
        """Handle an envelope; return the duration."""
        began = self.clock.now
        self.handler.handle([envelope])
        return self.clock.now - began

    def queued(self) -> list[tuple[int, int]]:
        """Return the number of items, and the attempt, of each requeued envelope."""
        envelopes = [read(text) for text in self.account.queues.texts()]
        return [(len(envelope.items), envelope.attempt) for envelope in envelopes if isinstance(envelope, ChangeBatch)]

    def _take(self, request: RecordedRequest) -> ScriptedResponse:
        names = [event["data"]["id"] for event in json.loads(request.body)]
        if self.fails_on.intersection(names):
            return ScriptedResponse(422)
        self.taken += names
        return ScriptedResponse(204)


def envelope(number: int = ITEMS) -> ChangeBatch:
    return changes(
        *[change(chat_path(str(message_id)), resourceData={"id": str(message_id)}) for message_id in range(number)]
    )


@pytest.fixture
def app() -> VirtualTime:
    return VirtualTime()


def test_while_graph_hangs_an_envelope_waits_for_one_answer_only(app: VirtualTime) -> None:
    app.graph.script = lambda _: HANGS
    app.graph.together(READS_AT_ONCE)
    assert app.deliver(envelope()) < timedelta(minutes=1)
    assert len(app.graph.asked) == READS_AT_ONCE
    # Items that were not attempted are retried apart from failed items, as often as it takes.
    assert app.queued() == [(READS_AT_ONCE, 1), (ITEMS - READS_AT_ONCE, 0)]
    assert max(app.account.queues.delays) < timedelta(minutes=1)


def test_while_graph_is_slow_items_read_in_time_are_delivered_and_the_rest_retried(app: VirtualTime) -> None:
    app.graph.takes = 3
    app.graph.together(READS_AT_ONCE)
    took = app.deliver(envelope())
    assert took < READ_TIME + timedelta(seconds=5)
    assert len(app.taken) == len(app.graph.asked)
    assert app.queued() == [(ITEMS - len(app.taken), 0)]


def test_a_few_items_are_read_at_once(app: VirtualTime) -> None:
    app.graph.takes = 1
    app.graph.together(READS_AT_ONCE)
    assert app.deliver(envelope(READS_AT_ONCE)) < timedelta(seconds=2)
    assert sorted(app.taken) == [str(number) for number in range(READS_AT_ONCE)]


def test_when_graph_answers_again_what_was_held_back_is_delivered(app: VirtualTime) -> None:
    answers = app.graph.script
    app.graph.script = lambda _: HANGS
    app.deliver(envelope(20))
    app.graph.script = answers
    for _ in range(5):
        app.clock.advance(minutes=2)
        for text in app.account.queues.take():
            again = read(text)
            assert isinstance(again, ChangeBatch)
            app.deliver(again)
    assert sorted(app.taken, key=int) == [str(number) for number in range(20)]


def test_a_destination_that_rejects_slowly_is_abandoned_at_the_deadline(app: VirtualTime) -> None:
    app.destination.takes = 15
    app.fails_on = {str(number) for number in range(ITEMS)}
    assert app.deliver(envelope()) < MESSAGE_TIME + READ_TIME + timedelta(seconds=30)
    waiting = sum(items for items, _ in app.queued())
    dead = len(app.account.queues.texts(Queue.DEAD_LETTERS))
    assert waiting + dead == ITEMS


def test_while_graph_hangs_many_lifecycle_items_wait_for_one_answer(app: VirtualTime) -> None:
    app.graph.script = lambda _: HANGS
    names = [f"3f1c0a52-7a3e-4d0e-9f0e-{number:012x}" for number in range(ITEMS)]
    app.relay.known_subscriptions.note(TENANT, dict.fromkeys(names, KnownSubscription(HYDRATED.id, NOW)))
    app.clock.advance(seconds=1)
    outcome = app.handler.lifecycle.handle(lifecycle_items(*[lifecycle(subscriptionId=name) for name in names]))
    assert len(app.graph.asked) == 1
    assert app.clock.now - NOW < timedelta(minutes=1)
    assert [(retry.failure.reason, len(retry.items)) for retry in outcome.retries] == [
        (Reason.GRAPH, 1),
        (Reason.GRAPH, 126),
    ]
    assert not app.keys.calls  # a reauthorization sends no key


def test_the_envelopes_of_a_message_share_the_time_of_its_invocation(app: VirtualTime) -> None:
    """Graph answers slowly; what there is no time for is not attempted, and comes back."""
    app.graph.script = lambda _: in_json({"error": {"code": "ServiceUnavailable", "message": "slow"}}, 404)
    app.graph.takes = 25
    names = [f"3f1c0a52-7a3e-4d0e-9f0e-0c6a4f2d9b{number:02x}" for number in range(MOST_ENVELOPES)]
    app.relay.known_subscriptions.note(TENANT, dict.fromkeys(names, KnownSubscription(HYDRATED.id, NOW)))
    app.clock.advance(seconds=1)
    began = app.clock.now
    app.handler.handle([lifecycle_items(lifecycle(subscriptionId=name)) for name in names])
    assert app.clock.now - began < MESSAGE_TIME + timedelta(seconds=35)
    waiting = [read(text) for text in app.account.queues.texts()]
    assert {type(envelope) for envelope in waiting} == {LifecycleBatch}
    assert MOST_ENVELOPES // 2 < len(waiting) < MOST_ENVELOPES
    assert not any(envelope.attempt for envelope in waiting)


def test_no_invocation_reaches_the_time_at_which_the_host_restarts_the_worker() -> None:
    hours, minutes, _ = map(int, json.loads((ROOT / "host.json").read_text())["functionTimeout"].split(":"))
    limit = timedelta(hours=hours, minutes=minutes)
    storage = BACKGROUND_LIMITS
    hanging = timedelta(seconds=(1 + storage.retries) * (storage.connect + storage.read) + storage.backoff**2 + 1)
    last_request = timedelta(seconds=35)  # that started in time: to connect to Graph, and to wait for its answer
    keeping = 3 * hanging  # items that could not be handled are enqueued again; failing that, the message itself
    assert MESSAGE_TIME + last_request + keeping < limit
    assert LONGEST_RUN + last_request + WORK_TIME + MESSAGE_TIME + last_request < limit


def test_a_run_whose_time_is_over_does_not_wait_for_more() -> None:
    clock, slept = Clock(), list[timedelta]()
    budget = WaitBudget(timedelta(minutes=3), slept.append)
    with time_limit(timedelta(0), clock), pytest.raises(NotAttempted) as over:
        deadline.check()
    assert not budget.wait(over.value.retry_after)
    assert slept == []
