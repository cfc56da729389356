"""The environment as one frozen, typed object. Every mistake is reported at once, by name, never with the value."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from datetime import timedelta
from typing import Any

from shared.configuration import values
from shared.configuration.declaration import Declarations, in_tenant, read_declarations
from shared.configuration.triggers import EVENT_HUB_CONNECTION
from shared.configuration.values import CLOUDS, RENEW_SCHEDULE, Cloud, Expected, event_hub

STORAGE = "AzureWebJobsStorage"
"""The setting, or beginning of settings, of the storage account: the Functions host's own name for it."""

_REQUIRED = object()


class SettingsError(Exception):
    """Settings are missing or invalid. Its message lists each by name, with what was expected."""

    def __init__(self, complaints: list[str]) -> None:
        super().__init__("\n".join(complaints))
        self.complaints = complaints


@dataclass(frozen=True)
class StorageSettings:
    """How to reach the storage account: a connection string, or (queue, blob, table) URLs and an identity."""

    queue: str
    connection_string: str = field(default="", repr=False)
    urls: tuple[str, str, str] = ("", "", "")
    identity_client_id: str | None = None


@dataclass(frozen=True)
class Source:
    """Where an attribute of Settings comes from: a setting's name, what reads its text, and what stands for no text."""

    name: str
    parse: Callable[[str], Any]
    default: Any


def setting(name: str, parse: Callable[[str], Any], default: Any = _REQUIRED, *, secret: bool = False) -> Any:
    """Declare an attribute of Settings. Without a default, the setting must be there; a secret is never shown."""
    return field(repr=not secret, metadata={"source": Source(name, parse, default)})


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything that can be set. docs/configuration.md says what each setting means."""

    tenant_id: str = setting("GRAPH_TENANT_ID", values.guid)
    client_id: str = setting("GRAPH_CLIENT_ID", values.guid)
    client_secret: str | None = setting("GRAPH_CLIENT_SECRET", str, None, secret=True)
    client_certificate: str | None = setting("GRAPH_CLIENT_CERTIFICATE", values.certificate_and_key, None, secret=True)
    managed_identity: str | None = setting("AZURE_CLIENT_ID", values.guid, None)
    cloud: Cloud = setting("GRAPH_CLOUD", values.cloud, CLOUDS["global"])
    graph_base_url: str | None = setting("GRAPH_BASE_URL", values.https, None)
    login_base_url: str | None = setting("LOGIN_BASE_URL", values.https, None)
    notification_url: str = setting("NOTIFICATION_URL", values.notification_url)
    client_state_secrets: tuple[bytes, ...] = setting("CLIENT_STATE_SECRET", values.client_state_secrets, secret=True)
    declarations: Declarations = setting("SUBSCRIPTIONS", read_declarations, "subscriptions.json")
    key_store: str = setting("KEY_STORE", values.key_store)
    key_rotation: timedelta = setting("KEY_ROTATION_DAYS", values.days, timedelta(days=90))
    key_overlap: timedelta = setting("KEY_OVERLAP_HOURS", values.hours, timedelta(hours=72))
    destination_url: str = setting("DESTINATION_URL", values.destination_url)
    destination_secrets: tuple[str, ...] = setting("DESTINATION_SECRET", values.destination_secrets, secret=True)
    destination_scope: str | None = setting("DESTINATION_SCOPE", str, None)
    delivery_horizon: timedelta = setting("DELIVERY_HORIZON_HOURS", values.hours, timedelta(hours=72))
    sweep_interval: timedelta = setting("SWEEP_INTERVAL_HOURS", values.hours_or_never, timedelta(hours=24))
    ledger_kept: timedelta = setting("LEDGER_DAYS", values.days, timedelta(days=60))

    notification_paths: bool = setting("NOTIFICATION_PATHS", values.switch, default=True)

    @property
    def graph_url(self) -> str:
        """The address of Microsoft Graph, without a path."""
        return self.graph_base_url or self.cloud.graph

    @property
    def login_url(self) -> str:
        """The address of the login authority, without a path."""
        return self.login_base_url or self.cloud.login

    @staticmethod
    def from_environment(environ: Mapping[str, str]) -> "Settings":
        """Raises SettingsError listing every setting that is missing or invalid, those of storage and timer too."""
        read = _Reader(environ)
        found = {attribute.name: read.value(attribute.metadata["source"]) for attribute in fields(Settings)}
        found["declarations"] = read.placed(found["declarations"], found["tenant_id"])
        read.event_hub_connection(found["notification_url"])
        read.storage()
        read.value(Source("RENEW_SCHEDULE", values.schedule, RENEW_SCHEDULE))
        read.value(Source("APPLICATIONINSIGHTS_CONNECTION_STRING", values.insights, None))
        read.complain()
        return Settings(**found)


def storage_settings(environ: Mapping[str, str]) -> StorageSettings:
    """Return how to reach storage alone, for what must work while other settings are invalid.

    Raises SettingsError.
    """
    read = _Reader(environ)
    settings = read.storage()
    read.complain()
    return settings


KEY_VAULT_REFERENCE = "@Microsoft.KeyVault("
"""What a setting begins with that Azure was to replace by a secret of a vault, and has not."""

UNRESOLVED = (
    "Azure has not replaced the Key Vault reference by the secret: its role on the vault is not effective yet, or the "
    "secret is not there; see docs/runbook/not-acknowledged.md"
)


class _Reader:
    """Reads settings by name and collects the complaints. An invalid value reads as None, which nobody uses:
    `complain` raises before anything is returned.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._complaints: list[str] = []

    def value(self, source: Source) -> Any:
        text = self._text(source.name)
        try:
            if text.startswith(KEY_VAULT_REFERENCE):
                raise Expected(UNRESOLVED)
            if not text and source.default is _REQUIRED:
                raise Expected(f"missing; {_expected_by(source.parse)}")
            if not text and not isinstance(source.default, str):
                return source.default
            return source.parse(text or source.default)
        except Expected as expected:
            self._complaints.append(f"{source.name}: {expected}")
            return None

    def complain(self) -> None:
        if self._complaints:
            raise SettingsError(self._complaints)

    def placed(self, declared: Any, tenant_id: str | None) -> Declarations:
        try:
            return in_tenant(declared or (), tenant_id or "")
        except Expected as expected:
            self._complaints.append(f"SUBSCRIPTIONS: {expected}")
            return Declarations(())

    def event_hub_connection(self, notification_url: str | None) -> None:
        connections = (EVENT_HUB_CONNECTION, f"{EVENT_HUB_CONNECTION}__fullyQualifiedNamespace")
        if notification_url and event_hub(notification_url) and not any(map(self._text, connections)):
            self._complaints.append(
                f"{connections[1]}: missing; expected NAMESPACE.servicebus.windows.net, the namespace of the event "
                f"hub in NOTIFICATION_URL (or a connection string as {connections[0]})"
            )

    def storage(self) -> StorageSettings:
        queue = self.value(Source("NOTIFICATION_QUEUE", values.queue_name, "notifications"))
        if self._text(STORAGE):
            return StorageSettings(queue, self.value(Source(STORAGE, values.connection_string, _REQUIRED)))
        account = self._text(f"{STORAGE}__accountName")
        urls = [
            self._text(f"{STORAGE}__{service}ServiceUri")
            or (f"https://{account}.{service}.core.windows.net" if account else "")
            for service in ("queue", "blob", "table")
        ]
        if not all(urls):
            self._complaints.append(
                f"{STORAGE}: missing; expected a connection string, or {STORAGE}__accountName, or "
                f"{STORAGE}__queueServiceUri with {STORAGE}__blobServiceUri and {STORAGE}__tableServiceUri"
            )
        return StorageSettings(
            queue, urls=(urls[0], urls[1], urls[2]), identity_client_id=self._text(f"{STORAGE}__clientId") or None
        )

    def _text(self, name: str) -> str:
        return self._environ.get(name, "").strip()


def _expected_by(parse: Callable[[str], object]) -> str:
    try:
        parse("")
    except Expected as expected:
        return str(expected)
    return "expected a value"
