"""The clients of this process: each made once, on first use, from the settings. The one place that does so."""

import os
import random
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import requests

from shared import http_client
from shared.configuration.settings import Settings, storage_settings
from shared.delivery.destination import Destination, authorization
from shared.delivery.ledger import Ledger
from shared.graph.client import GraphClient
from shared.graph.credential_expiry import CredentialExpiry
from shared.graph.entra import AppCredential, EntraClient
from shared.graph.signing_keys import SigningKeys
from shared.keys.directory import KeyDirectory
from shared.keys.ring import EncryptionKey, KeyRing, KeyStore
from shared.keys.rotation import Rotation
from shared.messages.retry import LONGEST as LONGEST_DELAY
from shared.readback.sweep import Sweep
from shared.storage.queues import ACKNOWLEDGE_LIMITS, BACKGROUND_LIMITS, Storage
from shared.storage.tables import Tables
from shared.subscriptions.plan import DesiredState, Subscriptions
from shared.subscriptions.silence import Silence


def now() -> datetime:
    """Return the time, UTC."""
    return datetime.now(UTC)


@cache
def settings() -> Settings:
    """Return the settings. Raises SettingsError, each time anew until they are mended."""
    return Settings.from_environment(os.environ)


@cache
def prompt_storage() -> Storage:
    """Return the storage client for the path of the 202. Raises SettingsError."""
    return Storage(storage_settings(os.environ), ACKNOWLEDGE_LIMITS)


@cache
def patient_storage() -> Storage:
    """Return the storage client for everything behind the queue. Raises SettingsError."""
    return Storage(storage_settings(os.environ), BACKGROUND_LIMITS)


@cache
def session() -> requests.Session:
    """Return the HTTP session that all clients share."""
    return http_client.session()


@cache
def identity() -> EntraClient:
    """Return who we are to Entra ID."""
    chosen = settings()
    proof = AppCredential(chosen.client_certificate, chosen.client_secret, chosen.managed_identity)
    return EntraClient(chosen.login_url, chosen.client_id, proof)


@cache
def graph() -> GraphClient:
    """Return the client of Microsoft Graph."""
    return GraphClient(settings().graph_url, identity(), session(), now)


@cache
def signing_keys() -> SigningKeys:
    """Return the authority's keys."""
    return SigningKeys(settings().login_url, session(), now)


@cache
def key_ring() -> KeyRing:
    """Return our encryption keys."""
    return KeyRing(_key_store(settings().key_store), now)


@cache
def destination() -> Destination:
    """Return where events go."""
    chosen = settings()
    scope = chosen.destination_scope
    token = authorization(identity(), chosen.tenant_id, scope) if scope else None
    return Destination(chosen.destination_url, chosen.destination_secrets, session(), now, token)


@cache
def subscriptions() -> Subscriptions:
    """Return our subscriptions at Graph."""
    return Subscriptions(graph(), now, random.SystemRandom().randbytes)


def _key_store(address: str) -> KeyStore:
    if address.startswith("file:"):
        return KeyDirectory(Path(address.removeprefix("file:")))
    from shared.keys import key_vault  # noqa: PLC0415 - imports that a directory of keys does without

    return key_vault.KeyVault(address, key_vault.identity(settings().managed_identity))


@cache
def tables() -> Tables:
    """Return what is remembered between runs."""
    return Tables(storage_settings(os.environ))


@cache
def ledger() -> Ledger:
    """Return the delivered events."""
    return Ledger(tables(), settings().ledger_kept)


@cache
def silence() -> Silence:
    """Return what notes when subscriptions were heard of."""
    return Silence(tables())


@cache
def credential_expiry() -> CredentialExpiry:
    """Return what warns of the end of the app's secret."""
    return CredentialExpiry(graph(), settings().tenant_id, settings().client_id)


@cache
def sweep() -> Sweep:
    """Return what starts comparisons with Graph."""
    return Sweep(tables(), patient_storage(), settings().sweep_interval)


@cache
def rotation() -> Rotation:
    """Return when keys come and go."""
    chosen = settings()
    return Rotation(
        key_ring(), tables(), chosen.key_rotation, chosen.key_overlap, chosen.delivery_horizon + LONGEST_DELAY
    )


def desired(key: EncryptionKey | None) -> DesiredState:
    """Return what every subscription of ours carries at present; `key` is None while the key store is away."""
    chosen = settings()
    return DesiredState(chosen.notification_url, chosen.client_state_secrets[0], key)
