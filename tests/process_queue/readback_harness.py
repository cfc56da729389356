"""A scripted Graph and destination, for tests of reading back."""

import json
from contextlib import closing
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import requests

from graph_simulator.authority import Authority
from process_queue.handler import MessageHandler
from shared.configuration.declaration import Declaration, Declarations
from shared.errors import Reason
from shared.messages.envelope import ReadbackPage, read, read_dead_letter, write
from shared.resources.path import segments
from shared.storage.queues import Queue
from tests.builders import NOW, TENANT, Clock
from tests.memory import MemoryAccount
from tests.process_queue.app import start_app
from tests.servers import RecordedRequest, ScriptedResponse, in_json, serving

DONE = ScriptedResponse(204)
DAY_BEFORE = NOW - timedelta(days=1)


class ReadbackHarness:
    """A scripted Graph and destination, with the app between."""

    def __init__(self, authority: Authority, session: requests.Session) -> None:
        self.pages: dict[str, Any] = {}
        self.delivered: list[dict[str, Any]] = []
        self.destination_answers = DONE
        self.stumbles_over: set[str] = set()
        self.rejects: set[str] = set()
        self.clock = Clock(NOW)
        self._account = MemoryAccount(undelayed=True)
        self._queues = self._account.queues
        self.delays = self._queues.delays
        self._session = session
        self._authority = authority

    def __enter__(self) -> "ReadbackHarness":
        self._graph_server = serving(self._page, self._authority)
        self.graph = self._graph_server.__enter__()
        self._destination_server = serving(self._take)
        self._url = self._destination_server.__enter__().url
        self.declare()
        return self

    def __exit__(self, *_: object) -> None:
        self._graph_server.__exit__(None, None, None)
        self._destination_server.__exit__(None, None, None)

    def declare(self, *declarations: Declaration) -> None:
        """Start a new process with these declarations."""
        self.declarations = declarations
        self._relay = start_app(
            self._account.clients(),
            self.clock,
            self._session,
            declarations=Declarations(declarations),
            GRAPH_BASE_URL=self.graph.url,
            DESTINATION_URL=self._url,
        )
        self._handler = MessageHandler(self._relay)

    def read(self, readback: ReadbackPage) -> None:
        self._handler.readback.handle(readback)

    def read_to_the_end(self, readback: ReadbackPage) -> None:
        """Read the page, then every queued page, advancing by six hours each time, until the queue is empty."""
        self._queues.send(write(readback))
        while received := self._queues.receive(Queue.NOTIFICATIONS, timedelta(minutes=5)):
            for message in received:
                self.clock.advance(hours=6)
                self._handler.handle([read(message.text)])
                self._queues.delete(message)

    def start_over(self) -> None:
        """Remove the state of an earlier example."""
        self.delivered.clear()
        self.pages.clear()
        self.clock.now = NOW
        self.declare()
        self._queues.take(Queue.DEAD_LETTERS)

    def dead(self) -> list[tuple[str, Reason]]:
        """Return the ids of the messages among the dead letters, with the reasons."""
        letters = [read_dead_letter(text) for text in self.dead_texts()]
        return [
            (segments(letter.envelope.resource)[-1], letter.reason)
            for letter in letters
            if isinstance(letter.envelope, ReadbackPage)
        ]

    def queued(self) -> list[ReadbackPage]:
        found = []
        for text in self._queues.texts():
            envelope = read(text)
            assert isinstance(envelope, ReadbackPage)
            found.append(envelope)
        return found

    def replay(self) -> ReadbackPage:
        """Replay the only dead letter, and return the pages that the replay enqueues."""
        self._queues.take()
        letters = self._relay.dead_letters()
        with closing(letters.each()) as each:
            for letter in each:
                letters.replay(letter, self._relay.admission, self._relay.queues)
        (again,) = self.queued()
        return again

    def dead_texts(self) -> list[str]:
        return self._queues.texts(Queue.DEAD_LETTERS)

    def _page(self, request: RecordedRequest) -> ScriptedResponse:
        found = self.pages.get(urlsplit(request.path).path, self.pages.get(request.path))
        return found if isinstance(found, ScriptedResponse) else in_json(found)

    def _take(self, request: RecordedRequest) -> ScriptedResponse:
        events = json.loads(request.body)
        held = {event["data"]["id"] for event in events}
        if held & self.rejects:
            return ScriptedResponse(422)
        if held & self.stumbles_over:
            return ScriptedResponse(500)
        if self.destination_answers is DONE:
            self.delivered += events
        return self.destination_answers


def asked_for(resource: str, since: datetime = DAY_BEFORE) -> ReadbackPage:
    return ReadbackPage(NOW, TENANT, resource, since, NOW)


def names(harness: ReadbackHarness) -> list[str]:
    return [event["data"]["id"] for event in harness.delivered]
