"""Retry and split, over many rounds: whatever the destination answers, and whenever the process is killed, every item
is stored somewhere at every moment, and in the right place at the end.
"""

import json
import random
import uuid
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from process_queue.handler import MessageHandler
from shared.errors import Reason
from shared.messages.envelope import ChangeBatch, read, read_dead_letter, write
from shared.storage.queues import Queue, QueuedMessage
from tests.builders import Clock, changes, message, rich
from tests.memory import MemoryAccount, MemoryQueues
from tests.process_queue.app import start_app
from tests.process_queue.verification import TOKEN
from tests.servers import RESET, RecordedRequest, ScriptedResponse, Server, serving

HORIZON_HOURS = 48
GOOD, REJECTED, STUMBLED = "good", "rejected", "stumbled over"
TAKEN_AND_LOST = "the answer is lost"
ENDS = {  # as long as nothing is accepted, nothing shows that the rejected event is at fault
    Reason.DESTINATION_REJECTED: REJECTED,
    Reason.DESTINATION_REJECTS: REJECTED,
    Reason.DESTINATION_ERROR: STUMBLED,
}

kinds = st.lists(st.sampled_from([GOOD, GOOD, REJECTED, STUMBLED]), min_size=1, max_size=5)
troubles = st.lists(
    st.sampled_from([ScriptedResponse(500), ScriptedResponse(503), ScriptedResponse(429), RESET, TAKEN_AND_LOST]),
    max_size=6,
)
deaths = st.lists(st.integers(0, 12), max_size=3)


class Crash(BaseException):
    """The process ends here."""


class CrashingQueues(MemoryQueues):
    """Queues that raise Crash right before the writes whose numbers `deaths` holds."""

    deaths: tuple[int, ...] = ()
    writes = 0

    def send(self, text: str, queue: Queue = Queue.NOTIFICATIONS, *, delay: timedelta = timedelta(0)) -> None:
        self._live()
        super().send(text, queue, delay=delay)

    def _live(self) -> None:
        self.writes += 1
        if self.writes in self.deaths:
            raise Crash


class QueueLoop:
    """A host that passes one message after the other to the function, and a failing destination."""

    def __init__(self, server: Server, session: requests.Session) -> None:
        self._clock = Clock()
        self._server, self._session = server, session
        server.script = self._take

    def begin(self, kinds_of: dict[str, str], troubles: list[Any], deaths: list[int]) -> None:
        """Enqueue one envelope with an item of each name."""
        account = MemoryAccount()
        self._queues = account.queues = CrashingQueues(account.claims, undelayed=True)
        self.kinds, self.taken, self.troubles = kinds_of, Counter[str](), list(troubles)
        items = [rich(message(name), resourceData={"id": name}) for name in kinds_of]
        self._queues.send(write(changes(*items, tokens=[TOKEN])))
        self._queues.writes, self._queues.deaths = 0, tuple(deaths)
        self._received: list[QueuedMessage] = []
        self._clock.now = changes().received
        relay = start_app(
            account.clients(),
            self._clock,
            self._session,
            random=random.Random(1),
            DESTINATION_URL=self._server.url,
            DELIVERY_HORIZON_HOURS=str(HORIZON_HOURS),
        )
        self._handler = MessageHandler(relay)

    def offer(self) -> bool:
        """Pass the next message to the function, as the host does; return whether there was one."""
        self._clock.advance(hours=1 if self.troubles else 2)
        if not self._received:
            self._received = self._queues.receive(Queue.NOTIFICATIONS, timedelta(minutes=5))
        if not self._received:
            return False
        offered = self._received.pop(0)
        try:
            self._handler.handle([read(offered.text)])
        except Crash:
            self._queues.release(offered)
        else:
            self._queues.delete(offered)
        return True

    def places(self) -> set[str]:
        """The names of all stored items."""
        queued = {name for text in self._queues.texts() for name in names_of(read(text))}
        return queued | set(self.taken) | {name for name, _ in self.dead()}

    def dead(self) -> list[tuple[str, Reason]]:
        """The names in the dead letters, with the reasons."""
        letters = [read_dead_letter(text) for text in self._queues.texts(Queue.DEAD_LETTERS)]
        return [(name, letter.reason) for letter in letters for name in names_of(letter.envelope)]

    def _take(self, request: RecordedRequest) -> ScriptedResponse:
        names = [event["data"]["id"] for event in json.loads(request.body)]
        trouble = self.troubles.pop() if self.troubles else None
        if isinstance(trouble, ScriptedResponse):
            return trouble
        for kind, answer in ((STUMBLED, ScriptedResponse(500)), (REJECTED, ScriptedResponse(400))):
            if kind in {self.kinds[name] for name in names}:
                return answer
        self.taken.update(names)
        return ScriptedResponse(204) if trouble is None else RESET


def names_of(envelope: Any) -> list[str]:
    assert isinstance(envelope, ChangeBatch)
    return [json.loads(bytes(item))["resourceData"]["id"] for item in envelope.items]


@pytest.fixture
def loop(session: requests.Session) -> Iterator[QueueLoop]:
    with serving(lambda _: ScriptedResponse(204)) as server:
        yield QueueLoop(server, session)


@given(kinds, troubles, deaths)
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_item_is_always_stored_somewhere(
    loop: QueueLoop, kinds: list[str], troubles: list[Any], deaths: list[int]
) -> None:
    named = {f"{uuid.uuid4().hex}": kind for kind in kinds}
    loop.begin(named, troubles, deaths)
    while loop.offer():
        assert loop.places() == set(named)
    assert set(loop.taken) == {name for name, kind in named.items() if kind == GOOD}
    expected = {name: kind for name, kind in named.items() if kind != GOOD}
    dead = {name: ENDS[reason] for name, reason in loop.dead()}
    assert dead.keys() == expected.keys()
    for name, end in dead.items():
        # A destination that accepts nothing at all is at fault itself: then one reason stands for both.
        assert end == expected[name] or {end, expected[name]} == {"rejected", "stumbled over"}


@given(
    kinds,
    st.lists(st.sampled_from([ScriptedResponse(500), ScriptedResponse(503), ScriptedResponse(429), RESET]), max_size=6),
)
@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_without_crashes_and_lost_answers_every_item_ends_in_one_place(
    loop: QueueLoop, kinds: list[str], troubles: list[Any]
) -> None:
    named = {f"{uuid.uuid4().hex}": kind for kind in kinds}
    loop.begin(named, troubles, [])
    while loop.offer():
        pass
    ends = loop.taken + Counter(name for name, _ in loop.dead())
    assert ends == Counter(named.keys())
