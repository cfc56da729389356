"""The outboxes while a blob changes the destinations: no event that waits for one of them is lost."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeVar

import pytest

from shared.configuration.destinations import Destinations, DestinationSettings
from shared.configuration.in_blob import InBlob
from shared.delivery.destination import Destination
from shared.delivery.ledger import Ledger
from shared.errors import NotAttempted
from shared.in_force import READ_AGAIN_AFTER, InForce, StoredCopies
from shared.outboxes_in_force import OutboxesInForce
from tests.builders import Clock, client_state_secret, destination_secret
from tests.in_process import InProcess
from tests.memory import MemoryAccount
from tests.servers import ScriptedResponse
from tests.shared.delivery.test_destination import some

BLOB = "https://config.blob.core.windows.net/relay/destinations.json"
HOST = "https://destination.example/"

T = TypeVar("T", bound=InForce[Destinations])


def named(text: str) -> Destinations:
    return Destinations({name: DestinationSettings(name=name, url=HOST + name) for name in text.split()})


@dataclass
class Instances:
    """Instances of the app on one storage account, the blob that names their destinations, and the destinations."""

    clock: Clock = field(default_factory=Clock)
    account: MemoryAccount = field(init=False)

    def __post_init__(self) -> None:
        self.account = MemoryAccount(self.clock)
        self.server = InProcess(lambda _: ScriptedResponse(204), self.clock)
        self.documents, self.tables = self.account.documents, self.account.tables

    def in_force(self, kind: type[T]) -> T:
        copies = StoredCopies(self.tables, [client_state_secret()])
        return kind(InBlob("DESTINATIONS", BLOB, named), self.documents, copies, self.clock)

    def start(self, in_force: InForce[Destinations] | None = None) -> OutboxesInForce:
        return OutboxesInForce(
            in_force or self.in_force(InForce[Destinations]),
            lambda settings: Destination(settings.url, [destination_secret()], self.server.mounted(HOST), self.clock),
            lambda name: Ledger(self.tables, timedelta(days=36_500), name),
            self.clock,
        )

    def write(self, names: str) -> None:
        """Write the blob; instances that have read it before may read it again."""
        self.clock.advance(seconds=READ_AGAIN_AFTER.total_seconds())
        self.documents.put(BLOB, names)


@pytest.fixture
def instances() -> Instances:
    return Instances()


def test_what_is_being_delivered_to_a_destination_that_is_taken_out_still_gets_there(instances: Instances) -> None:
    instances.write("a x")
    outboxes = instances.start()
    outboxes["x"].check()
    instances.write("a")
    events = some(2)
    received, delivery = outboxes.deliver(events, only="x")["x"]
    assert (received, delivery.delivered) == (events, tuple(events))
    assert [request.path for request in instances.server.asked] == ["/x"]
    assert outboxes.deliver(events).keys() == {"a"}


def test_a_destination_that_is_taken_out_as_soon_as_it_is_known_leads_somewhere(instances: Instances) -> None:
    instances.write("a")
    outboxes = instances.start()
    assert outboxes.knows("a")
    instances.documents.put(BLOB, "a x")
    assert outboxes.knows("x")
    instances.write("a")
    outboxes["x"].check()


def test_a_thread_that_waits_for_another_puts_no_older_settings_in_force(instances: Instances) -> None:
    """It has looked at the settings; before it builds what leads to them, the other looks, and builds."""

    class Interrupted(InForce[Destinations]):
        meanwhile: Callable[[], object] | None = None

        def get(self) -> Destinations:
            value, meanwhile = super().get(), self.meanwhile
            self.meanwhile = None
            if meanwhile is not None:
                meanwhile()
            return value

    in_force = instances.in_force(Interrupted)
    instances.write("a")
    outboxes, newer = instances.start(in_force), list[Destination]()

    def other() -> None:
        instances.write("a b")
        newer.append(outboxes.destinations["b"])

    in_force.meanwhile = other
    assert outboxes.by_name().keys() == {"a", "b"}
    assert [outboxes.destinations["b"]] == newer  # with its breaker


def test_a_destination_is_denied_only_by_who_could_read_the_blob_or_its_copy(instances: Instances) -> None:
    instances.write("a")
    outboxes = instances.start()
    assert not outboxes.knows("x")
    instances.documents.available = False
    assert not outboxes.knows("x")  # no instance has put a newer blob in force than the copy
    instances.tables.available = False
    with pytest.raises(NotAttempted) as waits:
        outboxes.knows("x")
    assert waits.value.retry_after is not None
    assert outboxes.knows("a")
    instances.documents.available = True
    instances.write("a x")
    with pytest.raises(NotAttempted, match="a copy is stored"):
        outboxes.knows("x")
    instances.tables.available = True
    assert outboxes.knows("x")


def test_a_destination_is_denied_without_a_look_only_if_the_last_look_came_after_who_knew_it(
    instances: Instances,
) -> None:
    instances.write("a")
    outboxes = instances.start()
    assert not outboxes.knows("x")
    instances.documents.put(BLOB, "a x")
    assert not outboxes.knows("x", instances.clock() - timedelta(minutes=1))
    assert outboxes.knows("x", instances.clock())
