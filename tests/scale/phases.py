"""Phases of the life of many subscriptions: the cost of each, and the promises that must hold in it."""

import base64
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta

from shared.configuration.declaration import Declaration
from shared.graph.rate_limits import LISTS, WRITES
from tests.builders import OTHER_TENANT, TENANT, client_state_secret
from tests.scale.graph import ENDPOINT, LIST, MEMBERS, Killed
from tests.scale.world import GROUP, TICK, Figures, Scale, everybody_in, mailboxes, user

OVERLAP = timedelta(hours=24)
"""KEY_OVERLAP_HOURS, the default: a new key must be in use everywhere within this time."""

ALL_ARE_DUE = timedelta(hours=16)
"""After this time without a run, as after an outage of the host, every subscription to mail is due and still alive."""

HOUR = timedelta(hours=1)

KILLS = 12
"""Deaths of the process per run, distributed over its calls to Graph."""

ROOMS = 20
"""One member in this number has no mailbox."""

LONGER_THAN_A_RUN = timedelta(minutes=4, seconds=30)
"""Duration of reading the slow list."""


@dataclass(frozen=True)
class Phase:
    """The result of a phase. broken: the broken promises, in words."""

    name: str
    figures: Figures
    broken: tuple[str, ...] = ()


class Course(ABC):
    """A world that passes through phases, one after the other. quiet_calls: those of a run without work."""

    quiet_calls = frozenset({LIST})

    def __init__(self, world: Scale) -> None:
        self.world = world
        self.graph = world.graph

    def phases(self) -> Iterator[Phase]:
        """Yield the result of each phase."""
        for name, do in self._plan():
            yield self._phase(name, do)

    @abstractmethod
    def _plan(self) -> Sequence[tuple[str, Callable[[], object]]]:
        """Return the phases in order, by name."""

    def _phase(self, name: str, do: Callable[[], object]) -> Phase:
        self.graph.unserved.clear()
        broken = []
        with self.world.measured() as figures:
            try:
                do()
            except AssertionError as error:
                broken.append(str(error).partition("\n")[0])
        unserved = {each.resource for each in self.world.relay.declarations} & set(self.graph.unserved)
        if unserved:
            broken.append(f"{len(unserved)} were deleted before a successor lived")
        for what, most, limit in (
            ("writes in a tenant", figures.most_writes, WRITES.in_tenant * 0.8),
            ("writes in all tenants", figures.most_over_all, WRITES.over_all * 0.8),
            ("list calls in a tenant", figures.most_lists, LISTS.in_tenant),
        ):
            if most > limit:
                broken.append(f"{most} {what} within 20 s")
        return Phase(name, figures, tuple(broken))

    def _until_complete(self) -> None:
        self.world.run_until(self.world.is_complete)

    def _quiet_hour(self) -> None:
        before = self.world.ids()
        with self.world.measured() as figures:
            for _ in range(HOUR // TICK):
                self.world.run()
        assert set(figures.calls) <= self.quiet_calls, f"more was asked for: {figures.calls}"
        assert self.world.ids() == before, "subscriptions were created or deleted"

    def _rekey(self) -> None:
        began = self.world.clock()
        self.world.rotate()
        self._until_complete()
        assert self.world.clock() - began < OVERLAP, "the overlap is over"

    def _all_are_renewed(self) -> None:
        """After a long time without a run, all subscriptions are due: each is renewed once, and none expires."""
        self.world.clock.now += ALL_ARE_DUE
        expires = {held.id: held.expires for held in self.world.subscriptions()}
        with self.world.measured() as figures:
            self.world.run_until(
                lambda: all(
                    held.expires > expires[held.id] for held in self.world.subscriptions() if held.id in expires
                ),
                most=40,
            )
        assert expires.keys() <= self.world.ids(), "some were lost"
        assert figures.calls["PATCH"] == len(expires), f"{figures.calls['PATCH']} renewals of {len(expires)}"


class Cared(Course):
    """Mailboxes that are declared separately: their subscriptions survive every failure of Graph."""

    def __init__(self, number: int) -> None:
        super().__init__(Scale(mailboxes(number)))
        self._number = number

    def _plan(self) -> Sequence[tuple[str, Callable[[], object]]]:
        return (
            ("creation", self._until_complete),
            ("a quiet hour", self._quiet_hour),
            ("renewal, all due", self._all_are_renewed),
            ("a new key", self._rekey),
            ("an empty list", self._empty_list),
            ("a stale list", self._stale_list),
            ("a list that takes longer than a run", self._slow_list),
            ("a dead endpoint", self._dead_endpoint),
            ("a new key in an hour of 429", self._storm),
        )

    def _empty_list(self) -> None:
        before = self.world.ids()
        self.graph.fails(listing="empty")
        for _ in range(3):
            self.world.run()
        self._all_are_renewed()
        assert self.world.ids() == before, "subscriptions were created or deleted"
        self.graph.fails()

    def _stale_list(self) -> None:
        """A stale list omits the subscriptions that are created meanwhile."""
        self.world.run()
        self.graph.fails(listing="stale")
        self.world.declare(mailboxes(self._number + self._number // 10))
        self._until_complete()
        before = self.world.ids()
        for _ in range(3):
            self.world.run()
        assert self.world.ids() == before, "subscriptions were created or deleted"
        self.graph.fails()
        self.world.declare(mailboxes(self._number))
        self._until_complete()

    def _slow_list(self) -> None:
        """Listing takes longer than a run; all subscriptions are due, and one is missing."""
        simulator = self.graph.simulator
        usual, simulator.subscriptions_at_once = simulator.subscriptions_at_once, min(self._number // 10, 100)
        pages = self._number / simulator.subscriptions_at_once
        self.graph.page_seconds, before = LONGER_THAN_A_RUN.total_seconds() / pages, self.graph.page_seconds
        self.world.declare(mailboxes(self._number + 1))
        self._all_are_renewed()
        self._until_complete()
        simulator.subscriptions_at_once, self.graph.page_seconds = usual, before
        self.world.declare(mailboxes(self._number))
        self._until_complete()

    def _dead_endpoint(self) -> None:
        before, current = self.world.ids(), self.world.present_url
        self.graph.endpoint_answers = 403
        self.world.declare(NOTIFICATION_URL=f"{ENDPOINT}/api/mistyped")
        with self.world.measured() as figures:
            self.world.run()
        assert self.world.ids() == before, "subscriptions were created or deleted"
        assert figures.calls["POST"] <= 3, f"{figures.calls['POST']} creations were tried"
        self._all_are_renewed()
        assert self.world.ids() == before, "subscriptions were created or deleted"
        self.graph.endpoint_answers = 200
        self.world.declare(NOTIFICATION_URL=current)
        self._until_complete()

    def _storm(self) -> None:
        """For an hour, a third of all calls is answered 429."""
        began = self.world.clock()
        self.world.rotate()
        self.graph.fails(throttle=1 / 3, retry_after=5)
        while self.world.clock() - began < HOUR:
            self.world.run()
        self.graph.fails()
        self._until_complete()
        assert self.world.clock() - began < OVERLAP, "the overlap is over"


class Replaced(Course):
    """Mailboxes that are declared separately, whose subscriptions are replaced: no PATCH can change them."""

    def __init__(self, number: int) -> None:
        super().__init__(Scale(mailboxes(number)))
        self._number = number

    def _plan(self) -> Sequence[tuple[str, Callable[[], object]]]:
        return (
            ("creation, for the next three", self._until_complete),
            ("another secret", self._another_secret),
            ("another URL", self._another_url),
            (f"another URL, and the process dies {KILLS} times", self._killed),
        )

    def _another_secret(self) -> None:
        fresh = base64.b64encode(client_state_secret("another")).decode()
        self.world.declare(CLIENT_STATE_SECRET=f"{fresh},{self.world.secret}")
        self._until_complete()

    def _another_url(self) -> None:
        self.world.declare(NOTIFICATION_URL=f"{ENDPOINT}/api/notifications?code=2")
        self._until_complete()

    def _killed(self) -> None:
        """Die in another call each time: in the first ones of a run, and in some later ones."""
        self.world.declare(NOTIFICATION_URL=f"{ENDPOINT}/api/notifications?code=3")
        for kill in range(KILLS):
            self.graph.kill_at = self.graph.calls + kill * max(self._number // KILLS, 1) // 3 + kill
            self.graph.kill_after = kill % 2 == 1
            try:
                self.world.run()
            except Killed:
                self.world.start()
        self.graph.kill_at = None
        self._until_complete()


class Members(Course):
    """Mailboxes of all members of a list, some without a mailbox. The list changes, and is wrong at times."""

    quiet_calls = frozenset({LIST, MEMBERS, "POST"})  # Graph's refusals are retried

    def __init__(self, number: int, source: str = f"/groups/{GROUP}/members") -> None:
        super().__init__(Scale([everybody_in(source)]))
        self._number = number
        self._some = max(number // 10, 2)
        self.graph.simulator.tenant(TENANT).world.people.clear()
        self.world.employ(range(number))
        self.graph.without_mailbox = {user(room) for room in range(0, number, ROOMS)}

    def _plan(self) -> Sequence[tuple[str, Callable[[], object]]]:
        return (
            ("creation for each member, 5 % without a mailbox", self._create),
            ("a quiet hour with members", self._quiet_hour),
            ("a tenth joins, a tenth leaves", self._come_and_go),
            ("a tenth vanishes, and returns in time", self._vanish),
            ("the list is empty for an hour", self._nobody),
        )

    def _create(self) -> None:
        self.world.run()
        self._until_served()

    def _until_served(self) -> None:
        """Run until exactly the current members with a mailbox have subscriptions."""
        people = self.graph.simulator.tenant(TENANT).world.people
        wanted = {person.id for person in people} - self.graph.without_mailbox
        self.world.run_until(lambda: {resource.split("/")[2] for resource in self.world.resources()} == wanted)
        assert self.world.is_complete(), "a subscription is not as it should be"

    def _come_and_go(self) -> None:
        self.world.employ(range(self._number, self._number + self._some))
        self.world.leave(range(self._some))
        self._until_served()

    def _vanish(self) -> None:
        """Graph omits some members, and lists them again before they count as having left."""
        before, who = self.world.ids(), range(self._some, self._some * 2)
        self.world.leave(who)
        self.world.run()
        self.world.employ(who)
        self._nothing_changes(before)

    def _nobody(self) -> None:
        """One member leaves; the list, which is read because of that, is empty."""
        before, there = self.world.ids(), self.graph.simulator.tenant(TENANT)
        self.world.leave([self._number])
        there.groups.lists_nobody, listed = True, list(there.world.people)
        there.world.people.clear()
        self._nothing_changes(before)
        there.groups.lists_nobody = False
        there.world.people.extend(listed)
        self._until_served()

    def _nothing_changes(self, before: set[str]) -> None:
        for _ in range(HOUR // TICK):
            self.world.run()
        assert self.world.ids() == before, "subscriptions were created or deleted"


class TwoTenants(Course):
    """A large tenant and a small one: neither delays the other."""

    def __init__(self, number: int) -> None:
        self._small: list[Declaration] = mailboxes(max(number // 100, 2), OTHER_TENANT)
        super().__init__(Scale([*mailboxes(number), *self._small]))

    def _plan(self) -> Sequence[tuple[str, Callable[[], object]]]:
        return (
            ("creation in a large tenant and a small one", self._create),
            ("a new key in both", self._rekey),
        )

    def _create(self) -> None:
        self.world.run_until(lambda: len(self.world.resources(OTHER_TENANT)) == len(self._small), most=2)
        self._until_complete()


COURSES: tuple[Callable[[int], Course], ...] = (Cared, Replaced, Members, TwoTenants)
"""Takes the number of subscriptions."""
