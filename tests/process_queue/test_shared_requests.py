"""Invocations that share a request: each settles its own items."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pytest

from process_queue.handler import MessageHandler
from shared.messages.envelope import ChangeBatch, ReadbackPage, read
from shared.storage.queues import Queue
from tests.builders import Clock, changes, message
from tests.in_process import InProcess
from tests.memory import MemoryAccount
from tests.process_queue.app import start_app
from tests.process_queue.readback_harness import asked_for
from tests.process_queue.test_changes import item, names_of
from tests.process_queue.verification import TOKEN
from tests.servers import RecordedRequest, ScriptedResponse, in_json
from tests.shared.delivery.test_dispatcher import until

GRAPH, DESTINATION = "https://graph.example", "https://destination.example"


@dataclass
class Meeting:
    """The app, whose destination holds the first request until `go_on`, and answers all others with `status`."""

    status: int = 503
    go_on: threading.Event = field(default_factory=threading.Event)
    taken: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        clock, self.account = Clock(), MemoryAccount(undelayed=True)
        self.graph = InProcess(lambda _: in_json({"value": [message("1")]}), clock)
        self.destination = InProcess(self._take, clock)
        session = self.graph.mounted(GRAPH)
        session.mount(DESTINATION, self.destination)
        relay = start_app(self.account.clients(), clock, session, GRAPH_BASE_URL=GRAPH, DESTINATION_URL=DESTINATION)
        self.handler = MessageHandler(relay)
        self.dispatcher = relay.outboxes.by_name()["default"]._dispatcher
        self.dispatcher._batching_delay = 3600  # groups wait until the first request is answered
        self.clock, self.relay = clock, relay

    def _take(self, request: RecordedRequest) -> ScriptedResponse:
        names = [event["data"]["id"] for event in json.loads(request.body)]
        if names == ["0"]:
            assert self.go_on.wait(30)
        elif self.status >= 300:
            return ScriptedResponse(self.status)
        self.taken += names
        return ScriptedResponse(204)

    def waiting(self) -> int:
        """Return the bytes of all parts that wait for the first request."""
        return sum(group.size for group in list(self.dispatcher._waiting.values()))


@pytest.mark.parametrize("status", [503, 400])
def test_what_is_pushed_survives_a_page_with_the_same_event_that_leads_the_request(status: int) -> None:
    """When the page is read again, its version is gone: the push alone holds it."""
    app, push = Meeting(status), changes(item("1"), tokens=[TOKEN])
    with ThreadPoolExecutor(3) as pool:
        tasks = [pool.submit(app.handler.handle, [changes(item("0"), tokens=[TOKEN])])]
        until(lambda: app.destination.asked)
        for envelope in (asked_for("/chats/19:9e/messages"), push):
            waiting = app.waiting()
            tasks.append(pool.submit(app.handler.handle, [envelope]))
            until(lambda waiting=waiting: app.waiting() > waiting)
        app.go_on.set()
        for task in tasks:
            task.result(30)
    assert len(app.destination.asked) == 2  # the page and the push shared the second
    envelopes = [read(text) for text in app.account.queues.take()]
    (again,) = (envelope for envelope in envelopes if isinstance(envelope, ChangeBatch))
    assert names_of(again) == ["1"]
    assert any(isinstance(envelope, ReadbackPage) for envelope in envelopes)
    app.graph.script = lambda _: in_json({"value": []})
    app.status = 204
    app.clock.advance(minutes=5)
    app.handler.handle([again])
    assert app.taken == ["0", "1"]
    assert app.account.queues.texts(Queue.DEAD_LETTERS) == []
    app.relay.account.flush()
    [hour] = app.relay.account.hours().values()
    assert (hour.outcomes["delivered"], hour.outcomes["duplicates"]) == (2, 0)
