"""Messages at a steady rate, each with typical follow-ups: replies, edits, reactions, deletions and restorations."""

import asyncio
import heapq
import random
from collections.abc import Callable
from itertools import count

from graph_simulator import author, prose
from graph_simulator.clock import VirtualClock, milliseconds
from graph_simulator.conversation import Conversation, Entry
from graph_simulator.world import Place, World

TICK_SECONDS = 0.02
REPLY_SHARE = 0.4
TWIN_SHARE = 0.05
RECENT_ROOTS = 12
SOON = (0.2, 3.0)

Action = Callable[[], object]


class Generator:
    """Writes as the staff of a company would; follow-ups come within a few seconds (virtual)."""

    def __init__(self, world: World, conversation: Conversation, clock: VirtualClock, chance: random.Random) -> None:
        self._world = world
        self._conversation = conversation
        self._clock = clock
        self._chance = chance
        self._rate = 0.0
        self._left: int | None = 0
        self._later: list[tuple[float, int, Action]] = []
        self._order = count()
        self._roots: dict[str, list[Entry]] = {}
        self._wake = asyncio.Event()

    @property
    def busy(self) -> bool:
        """Whether messages or follow-ups are still to come."""
        return self._left != 0 or bool(self._later)

    def start(self, rate: float, messages: int | None) -> None:
        """Write `rate` messages a second, `messages` in total or without end. Follow-ups come on top."""
        self._rate, self._left = rate, messages
        self._wake.set()

    def stop(self) -> None:
        """Write no further messages or follow-ups."""
        self._left = 0
        self._later.clear()

    async def run(self) -> None:
        """Generate until cancelled; sleep while there is nothing to do."""
        due, before = 0.0, self._seconds()
        while True:
            if not self.busy:
                await self._wake.wait()
                due, before = 0.0, self._seconds()
            self._wake.clear()
            now = self._seconds()
            # A jump of the clock must not cause a backlog: at most one second's worth is written at once.
            due += min(now - before, 1.0) * self._rate
            before = now
            while due >= 1 and self._left != 0:
                due -= 1
                self.write()
            self._follow_up(now)
            await asyncio.sleep(TICK_SECONDS)

    def write(self) -> None:
        """Write one message and plan its follow-ups."""
        place = self._chance.choice(tuple(self._world.places.values()))
        roots = self._roots.setdefault(place.path, [])
        answer = bool(place.team and roots) and self._chance.random() < REPLY_SHARE
        root = self._chance.choice(roots[-RECENT_ROOTS:]).message["id"] if answer else None
        entry = self._post(place, root)
        if place.team and not answer:
            roots.append(entry)
        others = [other for other in roots[-RECENT_ROOTS:] if other.message["id"] != root]
        if answer and others and self._left != 0 and self._chance.random() < TWIN_SHARE:
            # Below another root, at the same millisecond: two replies that share an id.
            self._post(place, self._chance.choice(others).message["id"], int(entry.message["id"]))

    def _post(self, place: Place, root: str | None, at: int | None = None) -> Entry:
        if self._left is not None:
            self._left -= 1
        draft = author.draft(self._world, place, self._chance, answer=root is not None)
        entry = self._conversation.post(place, draft, root, at)
        if entry.message["messageType"] == "message":
            self._plan(entry)
        return entry

    def _plan(self, entry: Entry) -> None:
        chance = self._chance
        at = self._seconds()
        if chance.random() < 0.06:
            at = self._soon(at, lambda: self._preview(entry))
        if chance.random() < 0.12:
            at = self._soon(at, lambda: self._edit(entry))
        for _ in range(chance.choice((0, 0, 0, 0, 0, 0, 1, 1, 2))):
            at = self._soon(at, lambda: self._react(entry))
        if chance.random() < 0.05:
            at = self._soon(at, lambda: self._delete(entry))
            if chance.random() < 0.3:
                self._soon(at, lambda: self._restore(entry))

    def _soon(self, at: float, action: Action) -> float:
        at += self._chance.uniform(*SOON)
        heapq.heappush(self._later, (at, next(self._order), action))
        return at

    def _follow_up(self, now: float) -> None:
        while self._later and self._later[0][0] <= now:
            heapq.heappop(self._later)[2]()

    # Controls may have deleted or restored a message since these were planned.

    def _preview(self, entry: Entry) -> None:
        if not _is_deleted(entry):
            self._conversation.preview(entry.path, author.link_preview(self._chance))

    def _edit(self, entry: Entry) -> None:
        if not _is_deleted(entry):
            body = author.edited(entry.message["body"], self._chance)
            self._conversation.edit(entry.path, body, entry.message["mentions"])

    def _react(self, entry: Entry) -> None:
        if not _is_deleted(entry):
            person, reaction = self._chance.choice(entry.place.members), self._chance.choice(prose.REACTIONS)
            self._conversation.react(entry.path, person, reaction)

    def _delete(self, entry: Entry) -> None:
        if not _is_deleted(entry):
            self._conversation.delete(entry.path)

    def _restore(self, entry: Entry) -> None:
        if _is_deleted(entry):
            self._conversation.restore(entry.path)

    def _seconds(self) -> float:
        return milliseconds(self._clock()) / 1000


def _is_deleted(entry: Entry) -> bool:
    return entry.message["deletedDateTime"] is not None
