"""One instance of the app, wired as `shared.clients` does it, but for the clock; and what stands around it."""

import json
import random
import threading
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import requests
from azure.core.exceptions import ResourceNotFoundError
from azure.storage.queue import QueueClient
from standardwebhooks import Webhook

from graph_simulator.authority import write_private
from notify_http.function import handshake
from notify_http.receive import receive
from process_queue.changes import Delivering, relay_changes
from process_queue.hydration import Hydration
from process_queue.lifecycle import LifecycleHandler, Recently, act
from process_queue.readback import Reader, relay_readback
from process_queue.settle import Requeue
from process_queue.verify import Proofs
from renew_timer.run import Run, run
from shared.configuration.settings import Settings
from shared.delivery.destination import Destination
from shared.delivery.ledger import Ledger
from shared.errors import RetryLater
from shared.graph.client import GraphClient
from shared.graph.credential_expiry import CredentialExpiry
from shared.graph.entra import AppCredential, EntraClient
from shared.graph.signing_keys import SigningKeys
from shared.keys.directory import KeyDirectory
from shared.keys.ring import EncryptionKey, KeyRing, new_key, write_pem
from shared.keys.rotation import Rotation
from shared.messages import envelope
from shared.messages.envelope import ChangeBatch, Envelope, LifecycleBatch, ReadbackPage
from shared.messages.ingest import ExpectedRecipient
from shared.messages.retry import LONGEST, WaitBudget
from shared.readback.sweep import Sweep
from shared.storage.queues import ACKNOWLEDGE_LIMITS, BACKGROUND_LIMITS, Storage
from shared.storage.tables import Tables
from shared.subscriptions.endpoint import probe
from shared.subscriptions.plan import DesiredState, Subscriptions
from shared.subscriptions.silence import Silence
from tests.servers import Answer, Asked

DEADLINE_SECONDS = 60.0


def bring(directory: Path, key_id: str, made: datetime, life: timedelta = timedelta(days=730)) -> None:
    """Put a key of a certain age into a directory of keys, as a user may."""
    directory.mkdir(mode=0o700, exist_ok=True)
    write_private(directory / f"{key_id}.pem", write_pem(new_key(key_id, made, life)))


class Relay:
    """An instance. Those with equal settings share a storage account and keys, as instances in Azure do."""

    def __init__(
        self,
        environ: Mapping[str, str],
        session: requests.Session,
        clock: Callable[[], datetime],
        store: type[KeyDirectory] = KeyDirectory,
    ) -> None:
        self.limits = timedelta(0)
        self.sleep: Callable[[timedelta], object] = lambda _: None
        self.settings = Settings.from_environment(environ)
        self.clock = clock
        self._session = session
        chosen = self.settings
        identity = EntraClient(chosen.login_url, chosen.client_id, AppCredential(secret=chosen.client_secret))
        self.graph = GraphClient(chosen.graph_url, identity, session, clock)
        self.keys = store(Path(chosen.key_store.removeprefix("file:")))
        self.ring = KeyRing(self.keys, clock)
        self.subscriptions = Subscriptions(self.graph, clock, random.SystemRandom().randbytes)
        self.tables = Tables(chosen.storage)
        self.storage = Storage(chosen.storage, BACKGROUND_LIMITS)
        self._prompt = Storage(chosen.storage, ACKNOWLEDGE_LIMITS)
        self._ledger = Ledger(self.tables)
        self._silence = Silence(self.tables)
        self._sweep = Sweep(self.tables, self.storage, chosen.sweep_interval)
        self._signing_keys = SigningKeys(chosen.login_url, session, clock)
        self._destination = Destination(chosen.destination_url, chosen.destination_secrets, session, clock, None)
        self._recently = Recently()
        self._expiry = CredentialExpiry(self.graph, chosen.tenant_id, chosen.client_id)

    def desired(self) -> DesiredState:
        return self._ours(self.ring.current_if_any())

    def _ours(self, key: EncryptionKey | None) -> DesiredState:
        return DesiredState(self.settings.notification_url, self.settings.client_state_secrets[0], key)

    def tick(self) -> None:
        """Do what `renew_timer` does when its time has come."""
        chosen = self.settings
        horizon = chosen.delivery_horizon + LONGEST
        run(
            Run(
                tenant_id=chosen.tenant_id,
                declarations=chosen.declarations,
                desired=self._ours,
                subscriptions=self.subscriptions,
                rotation=Rotation(self.ring, self.tables, chosen.key_rotation, chosen.key_overlap, horizon),
                sweep=self._sweep,
                silence=self._silence,
                ledger=self._ledger,
                storage=self.storage,
                credential_expiry=self._expiry,
                probe=lambda: probe(chosen.notification_url, self._session),
                clock=self.clock,
                wait_budget=WaitBudget(self.limits, self.sleep),
            )
        )

    def answer(self, asked: Asked) -> Answer:
        """Do what `notify_http` does with a request."""
        query = parse_qs(urlsplit(asked.path).query, keep_blank_values=True)
        if "validationToken" in query:
            echo = handshake(query["validationToken"][0])
            return Answer(echo.status_code, echo.get_body(), {"Content-Type": "text/plain"})
        recipient = ExpectedRecipient(self.settings.tenant_id, self.settings.client_state_secrets)
        return Answer(receive(asked.body, recipient, self._prompt, self.clock()).status)

    def work(self) -> int:
        """Do what `process_queue` does with all messages that are on the queue now; return how many there were."""
        done = 0
        with self.queue() as queue:
            try:
                for message in queue.receive_messages(messages_per_page=32, visibility_timeout=60):
                    claimed = self.storage.fetch(str(message.content))
                    self._process(envelope.read(claimed.text))
                    self.storage.discard(claimed)
                    queue.delete_message(message)
                    done += 1
            except ResourceNotFoundError:
                return 0
        return done

    def work_until(self, condition: Callable[[], object]) -> None:
        """Work until something has come true; fail after a generous time."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not condition():
            assert time.monotonic() < deadline, "it never came to that"
            if not self.work():
                time.sleep(0.02)

    def queue(self, suffix: str = "") -> QueueClient:
        storage = self.settings.storage
        return QueueClient.from_connection_string(storage.connection_string, storage.queue + suffix)

    def dead_letters(self) -> int:
        """How many messages were given up."""
        with self.queue("-dead-letters") as queue:
            try:
                return queue.get_queue_properties().approximate_message_count or 0
            except ResourceNotFoundError:
                return 0

    def _process(self, content: Envelope) -> None:
        requeue = Requeue(self.storage, self.settings.delivery_horizon, self.clock, random.random)
        delivering = Delivering(self._destination, self._ledger, self._silence, self.clock)
        try:
            match content:
                case ChangeBatch():
                    relay_changes(content, self._proofs(), delivering, requeue)
                case LifecycleBatch():
                    act(content, self._keeper())
                case ReadbackPage():
                    relay_readback(content, Reader(self.graph, self.tables, self.storage), delivering, requeue)
        except RetryLater as retry_later:
            requeue.postpone(content, retry_later)

    def _proofs(self) -> Proofs:
        chosen = self.settings
        bare = Hydration(chosen.declarations, self.graph).event
        return Proofs(chosen.tenant_id, chosen.client_id, self._signing_keys.find, self.ring.find, bare)

    def _keeper(self) -> LifecycleHandler:
        chosen = self.settings
        return LifecycleHandler(
            chosen.tenant_id,
            chosen.declarations,
            self.subscriptions,
            self._sweep,
            self.desired,
            self.clock,
            self._recently,
        )


class Inbox:
    """A destination: takes what is signed with its secret, and keeps the greatest version of each message."""

    def __init__(self, secret: str) -> None:
        self.secret = secret
        self.events: list[dict[str, Any]] = []
        self.unsigned = 0
        self._lock = threading.Lock()

    def answer(self, asked: Asked) -> Answer:
        if not self._is_signed(asked):
            self.unsigned += 1
            return Answer(401)
        with self._lock:
            self.events += json.loads(asked.body)
        return Answer(204)

    def messages(self) -> dict[str, dict[str, Any]]:
        """Return the events that came last in the order of their versions, by subject."""
        with self._lock:
            ordered = sorted(self.events, key=lambda event: str(event["version"]))
        return {event["source"] + event["subject"]: event for event in ordered}

    def _is_signed(self, asked: Asked) -> bool:
        """One of the signatures is ours; the time is not judged, for it is virtual."""
        message_id, at = asked.headers["webhook-id"], asked.headers["webhook-timestamp"]
        moment = datetime.fromtimestamp(int(at)).astimezone()
        expected = Webhook(self.secret).sign(message_id, moment, asked.body.decode())
        return expected in asked.headers["webhook-signature"].split(" ")
