"""Graph and the destination, scripted, around what is read back: a real Azurite between."""

import json
from contextlib import closing
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import requests
from azure.storage.queue import QueueClient

from graph_simulator.authority import Authority
from process_queue.changes import Delivering
from process_queue.readback import Reader, relay_readback
from process_queue.settle import Requeue
from shared.configuration.settings import StorageSettings
from shared.delivery.destination import Destination
from shared.delivery.ledger import Ledger
from shared.errors import Reason, RetryLater
from shared.graph.client import GraphClient
from shared.messages.dead_letters import DeadLetters
from shared.messages.envelope import ReadbackPage, read, read_dead_letter, write
from shared.resources.path import segments
from shared.storage.queues import BACKGROUND_LIMITS, Queue
from shared.storage.tables import Tables
from shared.subscriptions.silence import Silence
from tests.builders import NOW, TENANT, Clock, destination_secret
from tests.hurried import Hurried
from tests.servers import Answer, Asked, in_json, serving
from tests.shared.graph.test_client import Bearer

DONE = Answer(204)
DAY_BEFORE = NOW - timedelta(days=1)


class Away:
    """Graph and the destination, as a test scripts them, and the queue between."""

    def __init__(self, storage_settings: StorageSettings, authority: Authority, session: requests.Session) -> None:
        self.pages: dict[str, Any] = {}
        self.delivered: list[dict[str, Any]] = []
        self.destination_answers = DONE
        self.stumbles_over: set[str] = set()
        self.rejects: set[str] = set()
        self.clock = Clock(NOW)
        self._settings = storage_settings
        self._storage = Hurried(storage_settings, BACKGROUND_LIMITS)
        self._storage.ready()
        self.delays = self._storage.delays
        self._settlement = Requeue(self._storage, timedelta(hours=72), self.clock, lambda: 0.0)
        self._tables = Tables(storage_settings)
        self._session = session
        self._authority = authority

    def __enter__(self) -> "Away":
        self._graph_server = serving(self._page, self._authority)
        self.graph = self._graph_server.__enter__()
        self._destination_server = serving(self._take)
        self._url = self._destination_server.__enter__().url
        self._destination = self._destination_untried()
        return self

    def __exit__(self, *_: object) -> None:
        self._graph_server.__exit__(None, None, None)
        self._destination_server.__exit__(None, None, None)

    def _destination_untried(self) -> Destination:
        return Destination(self._url, [destination_secret()], self._session, self.clock)

    def read(self, readback: ReadbackPage) -> None:
        reader = Reader(GraphClient(self.graph.url, Bearer(), self._session, self.clock), self._tables, self._storage)
        delivering = Delivering(self._destination, Ledger(self._tables), Silence(self._tables), self.clock)
        relay_readback(readback, reader, delivering, self._settlement)

    def read_to_the_end(self, readback: ReadbackPage) -> None:
        """Read, and then whatever is queued, an hour each time, until nothing is."""
        self._storage.put(write(readback))
        while taken := self._storage.take(Queue.NOTIFICATIONS, timedelta(minutes=5)):
            for one in taken:
                self.clock.advance(hours=1)
                self._process(one.text)
                self._storage.remove(one)

    def _process(self, text: str) -> None:
        readback = read(text)
        assert isinstance(readback, ReadbackPage)
        try:
            self.read(readback)
        except RetryLater as retry_later:
            self._settlement.postpone(readback, retry_later)

    def begin_anew(self) -> None:
        """Forget what an example before has left."""
        self.delivered.clear()
        self.pages.clear()
        self.clock.now = NOW
        self._destination = self._destination_untried()
        QueueClient.from_connection_string(
            self._settings.connection_string, f"{self._settings.queue}-dead-letters"
        ).clear_messages()

    def dead(self) -> list[tuple[str, Reason]]:
        """Return the ids of the messages among the dead letters, with the reasons."""
        letters = [read_dead_letter(text) for text in self.dead_texts()]
        return [
            (segments(one.envelope.resource)[-1], one.reason)
            for one in letters
            if isinstance(one.envelope, ReadbackPage)
        ]

    def queued(self) -> list[ReadbackPage]:
        found = []
        for text in self._texts(""):
            envelope = read(text)
            assert isinstance(envelope, ReadbackPage)
            found.append(envelope)
        return found

    def replay(self) -> ReadbackPage:
        """Replay the only dead letter, and take from the queue what that puts there."""
        with closing(DeadLetters(self._storage, self.clock).each()) as letters:
            for letter in letters:
                DeadLetters(self._storage, self.clock).replay(letter)
        (again,) = self.queued()
        return again

    def dead_texts(self) -> list[str]:
        return self._texts("-dead-letters")

    def _texts(self, suffix: str) -> list[str]:
        name = f"{self._settings.queue}{suffix}"
        queue = QueueClient.from_connection_string(self._settings.connection_string, name)
        return [one.content for one in queue.peek_messages(32)]

    def _page(self, asked: Asked) -> Answer:
        found = self.pages.get(urlsplit(asked.path).path, self.pages.get(asked.path))
        return found if isinstance(found, Answer) else in_json(found)

    def _take(self, asked: Asked) -> Answer:
        events = json.loads(asked.body)
        held = {event["data"]["id"] for event in events}
        if held & self.rejects:
            return Answer(422)
        if held & self.stumbles_over:
            return Answer(500)
        if self.destination_answers is DONE:
            self.delivered += events
        return self.destination_answers


def asked_for(resource: str, since: datetime = DAY_BEFORE) -> ReadbackPage:
    return ReadbackPage(NOW, TENANT, resource, since, NOW)


def names(away: Away) -> list[str]:
    return [event["data"]["id"] for event in away.delivered]
