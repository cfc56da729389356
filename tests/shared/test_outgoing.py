"""What leads to the destinations while a blob changes them: nothing that waits for one of them is lost."""

from dataclasses import dataclass, field
from datetime import timedelta

import pytest

from shared.configuration.destinations import Destinations, DestinationSettings
from shared.configuration.in_blob import InBlob
from shared.delivery.destination import Destination
from shared.delivery.ledger import Ledger
from shared.in_force import READ_AGAIN_AFTER, Copies, InForce
from shared.outgoing import Outgoing
from tests.builders import Clock, client_state_secret, destination_secret
from tests.in_process import InProcess
from tests.memory import MemoryAccount
from tests.servers import ScriptedResponse
from tests.shared.delivery.test_destination import some

BLOB = "https://config.blob.core.windows.net/relay/destinations.json"
HOST = "https://destination.example/"


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

    def start(self) -> Outgoing:
        copies = Copies(self.tables, [client_state_secret()])
        return Outgoing(
            InForce(InBlob("DESTINATIONS", BLOB, named), self.documents, copies, self.clock),
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
    outgoing = instances.start()
    outgoing["x"].check()
    instances.write("a")
    events = some(2)
    received, delivery = outgoing.deliver(events, only="x")["x"]
    assert (received, delivery.delivered) == (events, tuple(events))
    assert [request.path for request in instances.server.asked] == ["/x"]
    assert outgoing.deliver(events).keys() == {"a"}


def test_a_destination_that_is_taken_out_as_soon_as_it_is_known_leads_somewhere(instances: Instances) -> None:
    instances.write("a")
    outgoing = instances.start()
    assert "a" in outgoing
    instances.documents.put(BLOB, "a x")
    assert "x" in outgoing
    instances.write("a")
    outgoing["x"].check()
