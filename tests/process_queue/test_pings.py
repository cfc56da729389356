"""Bare notifications of a drive or list start a delta query, about once a minute, and become no event."""

from datetime import timedelta

import pytest

from process_queue.changes import verify_batch
from shared.configuration.declaration import Declaration
from shared.messages.envelope import ReadbackPage, read
from shared.readback.pings import APART, SETTLING_TIME, Pings
from tests.builders import NOW, TENANT, Clock, change, changes, minted
from tests.memory import MemoryAccount
from tests.process_queue.verification import verifier

DRIVE, LIST = "/drives/b1/root", "/sites/h,1,2/lists/l"


def declared(resource: str, *, hydrate: bool = False) -> Declaration:
    return Declaration(resource, ("updated",), tenant_id=TENANT, hydrate=hydrate)


class Noted:
    """Bare notifications, and the pages that they enqueue."""

    def __init__(self) -> None:
        self.clock = Clock(NOW)
        self.account = MemoryAccount(undelayed=True)
        self.pings = Pings(self.account.tables, self.account.queues, self.clock)

    def pages(self) -> list[ReadbackPage]:
        found = [read(text) for text in self.account.queues.texts()]
        return [page for page in found if isinstance(page, ReadbackPage)]


@pytest.mark.parametrize("resource", [DRIVE, "/users/5d/drive/root", "/sites/h,1,2/drives/b1/root", LIST])
@pytest.mark.parametrize("hydrate", [True, False])
def test_a_ping_is_no_event_and_asks_for_the_changes(resource: str, hydrate: bool) -> None:
    declaration = declared(resource, hydrate=hydrate)
    item = change(
        resource.strip("/"),
        changeType="updated",
        clientState=minted(TENANT, resource),
        resourceData={"@odata.type": "#Microsoft.Graph.DriveItem"},
    )
    envelope = changes(item, item)
    outcome = verify_batch(envelope, verifier(declarations=[declaration]).batch(envelope))
    assert (outcome.events, outcome.refused) == ({}, [])
    assert outcome.pinged == {declaration: 2}


def test_the_first_ping_starts_the_query_and_later_pings_wait_for_it() -> None:
    noted = Noted()
    declaration = declared(DRIVE)
    for _ in range(5):
        noted.pings.note(declaration)
    (page,) = noted.pages()
    assert (page.resource, page.declaration) == (DRIVE, declaration.id)
    assert page.since < NOW < page.until
    assert list(noted.account.queues.delays) == [SETTLING_TIME]


def test_a_storm_of_pings_costs_a_query_a_minute() -> None:
    noted = Noted()
    for _ in range(300):
        noted.pings.note(declared(DRIVE))
        noted.clock.advance(seconds=1)
    assert len(noted.pages()) == 1 + timedelta(seconds=300) // APART


def test_a_change_after_the_last_query_is_never_left_out() -> None:
    """After every ping a query still starts, within a minute or so."""
    noted = Noted()
    due = NOW
    for seconds in (0, 4, 1, 30, 31, 59, 61, 200, 3):
        noted.clock.advance(seconds=seconds)
        before = len(noted.account.queues.delays)
        noted.pings.note(declared(DRIVE))
        for delay in list(noted.account.queues.delays)[before:]:
            due = noted.clock() + delay
        assert noted.clock() < due <= noted.clock() + APART + SETTLING_TIME


def test_declarations_do_not_wait_for_each_other() -> None:
    noted = Noted()
    noted.pings.note(declared(DRIVE))
    noted.pings.note(declared(LIST))
    assert [page.resource for page in noted.pages()] == [DRIVE, LIST]
