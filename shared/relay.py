"""The composition root: creates every object that lives as long as the process, once."""

import logging
import os
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random, SystemRandom

import requests

from shared import http_client
from shared.configuration.destinations import DestinationSettings
from shared.configuration.schedule import longest_pause
from shared.configuration.settings import Settings, storage_settings
from shared.delivery.destination import Destination, authorization
from shared.delivery.lane import Lane, Limits
from shared.delivery.ledger import Ledger
from shared.delivery.outbox import Misconfigured, Outbox, Outboxes
from shared.delivery.request import RequestFormat
from shared.graph.client import GraphClient
from shared.graph.credential_expiry import CredentialExpiry
from shared.graph.entra import AppCredential, EntraClient, ManagedIdentity
from shared.graph.pace import Pace
from shared.graph.resolver import Resolver
from shared.graph.signing_keys import SigningKeys
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
from shared.paths import Paths
from shared.readback.checkpoints import Checkpoints
from shared.readback.pings import Pings
from shared.readback.sweep import Sweep
from shared.readback.unread import Unread
from shared.storage.clients import StorageClients
from shared.subscriptions.client import SubscriptionsClient
from shared.subscriptions.known import KnownSubscriptions
from shared.subscriptions.once import Once
from shared.subscriptions.reconcile import Reconciler
from shared.subscriptions.silence import LastSeen
from shared.subscriptions.subscription import DesiredState
from shared.subscriptions.tenants import Tenants
from shared.threads import ContextThreadPool

_log = logging.getLogger("graph_relay.relay")

INVOCATIONS = 24
"""Invocations of process_queue at once: batchSize and newBatchThreshold of host.json."""

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
    ) -> None:
        """Whatever is left out is the real one; `key_store` is the one that the settings name."""
        self.settings = settings
        self.storage = storage
        self.clock = clock
        self.session = session or http_client.session()
        self.random = random or SystemRandom()
        self.declarations = settings.declarations
        self.recipient = ExpectedRecipient(settings.tenant_id, settings.client_state_secrets)

        envelope_keys = EnvelopeKeys(settings.client_state_secrets)
        self.queues = SigningSender(storage.queues, envelope_keys)
        self.acknowledging = SigningSender(GroupCommit(storage.acknowledging), envelope_keys)
        longest_queued = settings.delivery_horizon + MAX_DELAY
        self.admission = Admission(envelope_keys, self.recipient, self.declarations, longest_queued, clock)

        credential = AppCredential(settings.client_certificate, settings.client_secret, settings.managed_identity)
        self.entra = EntraClient(settings.login_url, settings.client_id, credential, self.session, clock)
        self.graph = GraphClient(settings.graph_url, self.entra, self.session, clock)
        self.confirmations = Pace(clock)
        self.signing_keys = SigningKeys(settings.login_url, self.session, clock)
        self.credential_expiry = CredentialExpiry(self.graph, settings.tenant_id, settings.client_id)

        self.keys = KeyRing(key_store or _key_store(settings), clock)
        self.rotation = Rotation(self.keys, storage.tables, settings.key_rotation, settings.key_overlap, longest_queued)

        self.managed_identity = ManagedIdentity(settings.managed_identity)
        self.destinations = {one.name: self._destination(one) for one in settings.destinations if not one.invalid}
        self.outboxes = Outboxes(self._outbox(one) for one in settings.destinations)
        self.ledgers = [self.outboxes[one.name].ledger for one in settings.destinations]
        for complaint in settings.destinations.complaints:
            _log.error("DESTINATIONS: %s. The other destinations work", complaint)

        self.path_log = Paths(storage.tables, clock, self.random.random, settings.tenant_id)
        self.paths = self.path_log if settings.notification_paths else None

        self.checkpoints = Checkpoints(storage.tables)
        self.sweep = Sweep(self.checkpoints, self.queues, settings.sweep_interval)
        self.pings = Pings(storage.tables, self.queues, clock)
        self.resolver = Resolver(self.graph, clock)
        self.unread = Unread(storage.tables)
        self.last_seen = LastSeen(storage.tables)
        self.tenants = Tenants(storage.tables)
        self.subscriptions = SubscriptionsClient(self.graph, clock, self.random.randbytes)
        self.known_subscriptions = KnownSubscriptions(storage.tables, clock)
        self.reconciler = Reconciler(
            settings.tenant_id, self.declarations, self.subscriptions, self.tenants, self.known_subscriptions, clock
        )
        self.lifecycle_actions = Once(clock)
        self.account = Account(storage.tables, clock, self.random.randbytes)
        self.activity = QueueActivity(storage.tables, clock)
        self.readers = ContextThreadPool(_READERS, thread_name_prefix="graph")

    def _destination(self, destination: DestinationSettings) -> Destination:
        """Return a destination; one with certificates of its own has a session of its own."""
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
        )

    def _outbox(self, destination: DestinationSettings) -> Outbox:
        """Return the outbox of a destination; with several, none may take more than its share of the invocations."""
        ledger = Ledger(self.storage.tables, self.settings.ledger_retention, destination.name)
        if destination.invalid:
            return Outbox(Misconfigured(destination.invalid), ledger, destination.filter)
        several = len(self.destinations) > 1
        limits = Limits(
            max(INVOCATIONS // len(self.destinations), 2) if several else INVOCATIONS * 2,
            destination.max_requests,
            destination.max_rate,
            destination.max_events,
        )
        lane = Lane(self.destinations[destination.name], limits, self.clock)
        return Outbox(lane, ledger, destination.filter)

    def desired_state(self, key: EncryptionKey | None) -> DesiredState:
        """Return the desired state of all subscriptions; `key` is None while the key store is unavailable."""
        return DesiredState(
            self.settings.notification_url, self.settings.client_state_secrets[0], key, pause=self.renewal_pause()
        )

    def renewal_pause(self) -> timedelta:
        """Return the longest time between two runs of the timer."""
        return longest_pause(self.settings.renew_schedule, self.clock().date())

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

    def storage(self) -> StorageClients:
        with self._lock:
            return self._get_storage()

    def relay(self) -> Relay:
        with self._lock:
            if self._relay is None:
                settings = Settings.from_environment(os.environ)
                self._relay = Relay(settings, self._get_storage())
            return self._relay

    def forget(self) -> None:
        with self._lock:
            self._storage = self._relay = None

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


def forget() -> None:
    """Create all objects again at the next call, from the environment: for a process that changes its settings."""
    _process.forget()
