"""What happens to many subscriptions, phase by phase: what each takes, and what must hold in it."""

import base64
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta

from shared.graph.pace import LISTS, WRITES
from tests.builders import client_state_secret
from tests.crash.services import made_key
from tests.scale.world import Figures, Killed, Scale

OVERLAP = timedelta(hours=24)
"""KEY_OVERLAP_HOURS, by default: a new key is in use everywhere within this time."""

KILLS = 12
"""Calls to Graph in which the process dies, spread over the run."""


@dataclass(frozen=True)
class Phase:
    """A phase that is over. broken: what did not hold, in words."""

    name: str
    figures: Figures
    broken: tuple[str, ...] = ()


class Course:
    """A world of so many subscriptions, led through all phases."""

    def __init__(self, number: int) -> None:
        self.world = Scale(number)
        self._number = number
        self._unserved: list[str] = []
        self.world.watch_deletions(self._unserved.append)

    def phases(self, quiet_runs: int) -> Iterator[Phase]:
        """Yield each phase when it is over. quiet_runs: of an hour without anything to do."""
        yield self._phase("creation", self._until_complete)
        yield self._phase("a quiet run", lambda: self._quiet(quiet_runs))
        yield self._phase("renewal", self._renew)
        yield self._phase("a new key", self._rekey)
        yield self._phase("another secret", self._another_secret)
        yield self._phase("another URL", lambda: self._another_url("?code=2"))
        yield self._phase("the process dies in each step", self._killed)
        yield self._phase("an empty list", self._empty_list)
        yield self._phase("a dead endpoint", self._dead_endpoint)
        yield self._phase("a third of all calls is throttled", self._storm)

    def _phase(self, name: str, do: Callable[[], object]) -> Phase:
        self._unserved.clear()
        broken = []
        with self.world.measured() as figures:
            try:
                do()
            except AssertionError as error:
                broken.append(str(error).partition("\n")[0])
        broken += [f"{len(self._unserved)} were deleted before a successor lived"] if self._unserved else []
        if figures.most_writes > WRITES.in_tenant * 0.8:
            broken.append(f"{figures.most_writes} writes in 20 s")
        if figures.most_lists > LISTS.in_tenant:
            broken.append(f"{figures.most_lists} list calls in 20 s")
        return Phase(name, figures, tuple(broken))

    def _quiet(self, runs: int) -> None:
        for _ in range(runs):
            self.world.run()

    def _until_complete(self) -> None:
        self.world.run_until(self.world.is_complete)

    def _renew(self) -> None:
        """Half a day without a run, as after an outage of the host: then all are due within a few hours."""
        before = min(subscription.expires for subscription in self.world.subscriptions())
        self.world.clock.advance(hours=15)
        self.world.run_until(lambda: min(held.expires for held in self.world.subscriptions()) > before)
        assert self.world.is_complete(), "some were lost"

    def _rekey(self) -> None:
        began = self.world.clock()
        key = made_key(f"enc-{len(self.world.keys.keys) + 1}", began)
        self.world.keys.keys[key.key_id] = key
        self.world.start()
        self._until_complete()
        assert self.world.clock() - began < OVERLAP, "the overlap is over"

    def _another_secret(self) -> None:
        fresh = base64.b64encode(client_state_secret("another")).decode()
        self.world.declare(self._number, CLIENT_STATE_SECRET=f"{fresh},{self.world.secret}")
        self._until_complete()

    def _another_url(self, query: str) -> None:
        self.world.declare(self._number, NOTIFICATION_URL=f"https://relay.scale.example/api/notifications{query}")
        self._until_complete()

    def _killed(self) -> None:
        """Die in another call each time, the first ones of a batch and some in the middle of it."""
        self.world.declare(self._number, NOTIFICATION_URL="https://relay.scale.example/api/notifications?code=3")
        for calls in range(KILLS):
            self.world.kill_at = self.world.calls + calls * max(self._number // KILLS, 1) // 3 + calls
            try:
                self.world.run()
            except Killed:
                self.world.start()
        self.world.kill_at = None
        self._until_complete()

    def _empty_list(self) -> None:
        before = {subscription.id for subscription in self.world.subscriptions()}
        self.world.faults(listing="empty")
        for _ in range(3):
            self.world.run()
        assert {held.id for held in self.world.subscriptions()} == before, "subscriptions were created or deleted"
        self.world.faults()

    def _dead_endpoint(self) -> None:
        before = {subscription.id for subscription in self.world.subscriptions()}
        current = self.world.settings.notification_url
        self.world.endpoint_answers = 403
        self.world.declare(self._number, NOTIFICATION_URL="https://relay.scale.example/api/mistyped")
        with self.world.measured() as figures:
            self.world.run()
        assert {held.id for held in self.world.subscriptions()} == before, "subscriptions were created or deleted"
        assert figures.calls["POST"] <= 3, f"{figures.calls['POST']} creations were tried"
        self._renewed_while_dead()
        assert {held.id for held in self.world.subscriptions()} == before, "subscriptions have expired"
        self.world.endpoint_answers = 200
        self.world.declare(self._number, NOTIFICATION_URL=current)
        self._until_complete()

    def _renewed_while_dead(self) -> None:
        """Two thirds of a day later, each is due: each is renewed, once."""
        self.world.clock.advance(hours=16)
        expires = {held.id: held.expires for held in self.world.subscriptions()}
        with self.world.measured() as figures:
            self.world.run_until(
                lambda: all(held.expires > expires[held.id] for held in self.world.subscriptions()), most=20
            )
        assert figures.calls["PATCH"] == self._number, f"{figures.calls['PATCH']} renewals of {self._number}"

    def _storm(self) -> None:
        self.world.faults(throttle=1 / 3, retry_after=5)
        self._rekey()
        self.world.faults()
