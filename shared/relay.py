"""The composition root: creates every object that lives as long as the process, once."""

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random, SystemRandom

import requests

from shared import http_client
from shared.configuration.destinations import DestinationSettings
from shared.configuration.schedule import longest_pause, shortest_pause
from shared.configuration.settings import Settings, storage_settings
from shared.delivery.acceptance import Acceptance
from shared.delivery.destination import Destination, authorization
from shared.delivery.ledger import Ledger
from shared.delivery.request import RequestFormat
from shared.graph.client import GraphClient
from shared.graph.credential_expiry import CredentialExpiry
from shared.graph.entra import AppCredential, EntraClient, ManagedIdentity
from shared.graph.rate_limits import ReadRateLimiter
from shared.graph.resolver import Resolver
from shared.graph.signing_keys import SigningKeys
from shared.in_force import InForce, StoredCopies
from shared.keys.directory import KeyDirectory
from shared.keys.key import EncryptionKey
from shared.keys.ring import KeyRing
from shared.keys.rotation import Rotation
from shared.keys.store import DeferredKeyStore, KeyStore
from shared.messages.account import Account
from shared.messages.activity import QueueActivity
from shared.messages.admission import Admission
from shared.messages.authentication import EnvelopeKeys, SigningSender
from shared.messages.dead_letters import DeadLetters
from shared.messages.group_commit import GroupCommit
from shared.messages.ingest import ExpectedRecipient
from shared.messages.retry import MAX_DELAY
from shared.outboxes_in_force import OutboxesInForce
from shared.paths import Paths
from shared.readback.checkpoints import Checkpoints
from shared.readback.directory_states import DirectoryStates
from shared.readback.first_links import FirstLinks
from shared.readback.hydration_failures import HydrationFailures
from shared.readback.pings import Pings
from shared.readback.recovered_changes import RecoveredChanges
from shared.readback.sweep import Sweep
from shared.readback.undeclared import UndeclaredCleanup
from shared.storage.clients import StorageClients
from shared.subscriptions.client import SubscriptionsClient
from shared.subscriptions.declared import DeclarationsInForce
from shared.subscriptions.failed_creations import FailedCreations
from shared.subscriptions.former_tenants import FormerTenants
from shared.subscriptions.known import KnownSubscriptions
from shared.subscriptions.members import Members
from shared.subscriptions.membership import Membership
from shared.subscriptions.reconcile import Reconciler
from shared.subscriptions.silence import LastSeen
from shared.subscriptions.single_flight import SingleFlight
from shared.subscriptions.subscription import DesiredState
from shared.threads import ContextThreadPool

Clock = Callable[[], datetime]

_READERS = 32
"""Threads that wait for Graph, for all invocations together."""


def utc_now() -> datetime:
    """Return the time, UTC."""
    return datetime.now(UTC)


class Relay:
    """One instance of the app. Objects connect on first use; every object serves all threads."""

    def __init__(
        self,
        settings: Settings,
        storage: StorageClients,
        *,
        clock: Clock = utc_now,
        session: requests.Session | None = None,
        random: Random | None = None,
        key_store: KeyStore | None = None,
        observes: bool = False,
    ) -> None:
        """Arguments left out are the real ones; `key_store` defaults to the one in the settings.

        observes: whether this process only observes the app: its values of settings in blobs are not the app's values
        in force.
        """
        self.settings = settings
        self.storage = storage
        self.clock = clock
        self.session = session or http_client.session()
        self.random = random or SystemRandom()
        self.copies = StoredCopies(storage.tables, settings.client_state_secrets, keeps=not observes)
        self.declarations_in_force = InForce(settings.declarations, storage.documents, self.copies, clock)
        self.destinations_in_force = InForce(settings.destinations, storage.documents, self.copies, clock)
        self.recipient = ExpectedRecipient(settings.tenant_id, settings.client_state_secrets)

        envelope_keys = EnvelopeKeys(settings.client_state_secrets)
        self.queues = SigningSender(storage.queues, envelope_keys)
        self.acknowledging = SigningSender(GroupCommit(storage.acknowledging), envelope_keys)
        longest_queued = settings.delivery_horizon + MAX_DELAY

        credential = AppCredential(settings.client_certificate, settings.client_secret, settings.managed_identity)
        self.entra = EntraClient(settings.login_url, settings.client_id, credential, self.session, clock)
        self.graph = GraphClient(settings.graph_url, self.entra, self.session, clock)
        self.confirmations = ReadRateLimiter(clock)
        self.signing_keys = SigningKeys(settings.login_url, self.session, clock)
        self.credential_expiry = CredentialExpiry(self.graph, settings.tenant_id, settings.client_id)

        self.keys = KeyRing(key_store or _key_store(settings), clock)
        self.rotation = Rotation(self.keys, storage.tables, settings.key_rotation, settings.key_overlap, longest_queued)

        self.managed_identity = ManagedIdentity(settings.managed_identity)
        self.outboxes = OutboxesInForce(self.destinations_in_force, self._destination, self._ledger, clock)

        self.path_log = Paths(storage.tables, clock, self.random.random, settings.tenant_id)
        self.paths = self.path_log if settings.notification_paths else None

        self.checkpoints = Checkpoints(storage.tables)
        self.directory_states = DirectoryStates(storage.tables)
        self.sweep = Sweep(self.checkpoints, self.queues, settings.sweep_interval)
        self.readers = ContextThreadPool(_READERS, thread_name_prefix="graph")
        members = Members(storage.tables, settings.client_state_secrets)
        self.membership = Membership(
            self.graph, storage.tables, members, self.readers, clock, longest_queued, self.sweep.begin
        )
        self.declarations = DeclarationsInForce(self.declarations_in_force, members, self.membership, clock)
        self.admission = Admission(envelope_keys, self.recipient, self.declarations, longest_queued, clock)
        self.recovered_changes = RecoveredChanges(storage.tables)
        self.undeclared = UndeclaredCleanup(storage.tables, clock)
        self.pings = Pings(storage.tables, self.queues, clock)
        self.resolver = Resolver(self.graph, clock)
        self.hydration_failures = HydrationFailures(storage.tables)
        self.last_seen = LastSeen(storage.tables)
        self.tenants = FormerTenants(storage.tables)
        first_links = FirstLinks(self.graph, self.checkpoints, clock)
        self.subscriptions = SubscriptionsClient(self.graph, clock, self.random.randbytes, first_links.obtain)
        self.known_subscriptions = KnownSubscriptions(storage.tables, clock)
        self.refusals = FailedCreations(storage.tables)
        self.reconciler = Reconciler(
            settings.tenant_id,
            self.declarations,
            self.subscriptions,
            self.tenants,
            self.known_subscriptions,
            self.refusals,
            clock,
        )
        self.lifecycle_actions = SingleFlight(clock)
        self.account = Account(storage.tables, clock, self.random.randbytes)
        self.activity = QueueActivity(storage.tables, clock)

    def _destination(self, destination: DestinationSettings) -> Destination:
        """Return a destination; one with its own certificates has its own session."""
        certificates = (destination.ca, destination.client_certificate)
        session = http_client.session(*certificates) if any(certificates) else self.session
        return Destination(
            destination.url,
            destination.secrets,
            session,
            self.clock,
            authorization(destination, self.entra, self.managed_identity, self.settings.tenant_id),
            request_format=RequestFormat(
                destination.mode, destination.max_events, destination.max_bytes, destination.headers
            ),
            acceptance=Acceptance(self.clock, self.storage.tables, destination.name),
        )

    def _ledger(self, destination: str) -> Ledger:
        return Ledger(self.storage.tables, self.settings.ledger_retention, destination, self.clock)

    @property
    def destinations(self) -> Mapping[str, Destination]:
        """The destinations with valid settings, by name. Raises RetryLater while these can't be read at all."""
        return self.outboxes.destinations

    @property
    def ledgers(self) -> Sequence[Ledger]:
        """The ledger of each destination. Raises RetryLater while the settings can't be read at all."""
        return self.outboxes.ledgers

    def read_blobs(self) -> None:
        """Read the settings in blobs again. Raises RetryLater while they can't be read at all."""
        self.declarations_in_force.refresh()
        self.destinations_in_force.refresh()

    def desired_state(self, key: EncryptionKey | None) -> DesiredState:
        """Return the desired state of all subscriptions; `key` is None while the key store is unavailable."""
        current, *former = self.settings.client_state_secrets
        return DesiredState(
            self.settings.notification_url,
            current,
            key,
            pause=self.renewal_pause(),
            former_secrets=tuple(former),
            may_belong=self.declarations.may_belong,
        )

    def renewal_pause(self) -> timedelta:
        """Return the longest time between two runs of the timer."""
        return longest_pause(self.settings.renew_schedule, self.clock().date())

    def shortest_pause(self) -> timedelta:
        """Return the shortest time between two runs of the timer."""
        return shortest_pause(self.settings.renew_schedule, self.clock().date())

    def dead_letters(self) -> DeadLetters:
        """Return the dead letters, for one listing: the object holds the received messages."""
        return DeadLetters(self.storage.queues, self.storage.claims)


def _key_store(settings: Settings) -> KeyStore:
    if settings.key_store.startswith("file:"):
        return KeyDirectory(Path(settings.key_store.removeprefix("file:")))
    return DeferredKeyStore(lambda: _key_vault(settings))


def _key_vault(settings: Settings) -> KeyStore:
    from shared.keys import key_vault  # noqa: PLC0415 - 0.3 s, see DeferredKeyStore

    return key_vault.KeyVault(settings.key_store, key_vault.credential(settings.managed_identity))


class _Process:
    """The objects of this process, created under a lock: concurrent threads get the same objects."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._storage: StorageClients | None = None
        self._relay: Relay | None = None
        self._observes = False

    def observe(self) -> None:
        self._observes = True

    def storage(self) -> StorageClients:
        with self._lock:
            return self._get_storage()

    def relay(self) -> Relay:
        with self._lock:
            if self._relay is None:
                settings = Settings.from_environment(os.environ)
                self._relay = Relay(settings, self._get_storage(), observes=self._observes)
            return self._relay

    def forget(self) -> None:
        with self._lock:
            self._storage = self._relay = None
            self._observes = False

    def _get_storage(self) -> StorageClients:
        if self._storage is None:
            self._storage = StorageClients.of(storage_settings(os.environ))
        return self._storage


_process = _Process()


def relay() -> Relay:
    """Return the app of this process. Raises SettingsError until the settings are fixed."""
    return _process.relay()


def storage() -> StorageClients:
    """Return the storage clients of this process; they need only the storage settings. Raises SettingsError."""
    return _process.storage()


def observe() -> None:
    """Declare that this process only observes the app. Call it before `relay`."""
    _process.observe()


def forget() -> None:
    """Create all objects again at the next call, for a process that changes its environment."""
    _process.forget()
