"""The environment as one frozen, typed object. Every mistake is reported at once, by name, never with the value."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeVar, cast

from shared.configuration import values
from shared.configuration.declaration import Declaration, read_declarations
from shared.configuration.schedule import is_schedule
from shared.configuration.values import CLOUDS, RENEW_SCHEDULE, Expected, event_hub

T = TypeVar("T")

EVENT_HUB_CONNECTION = "EventHubConnection"
"""The setting, or beginning of settings, by which the Functions host finds the namespace of an event hub."""


class SettingsError(Exception):
    """Settings are missing or wrong. Its message lists each by name, with what was expected."""

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
class TriggerSettings:
    """What the trigger decorators need; with defaults, so that functions index whatever else is wrong.

    `event_hub` is the name of the hub that Graph sends to, None if it posts to us.
    """

    queue: str
    renew_schedule: str
    event_hub: str | None


@dataclass(frozen=True)
class Settings:
    """Everything that can be set. See docs/configuration.md for the words behind the names."""

    storage: StorageSettings
    tenant_id: str
    client_id: str
    client_secret: str | None = field(repr=False)
    client_certificate: str | None = field(repr=False)
    managed_identity: str | None
    graph_url: str
    login_url: str
    notification_url: str
    client_state_secrets: tuple[bytes, ...] = field(repr=False)
    declarations: tuple[Declaration, ...]
    key_store: str
    key_rotation: timedelta
    key_overlap: timedelta
    destination_url: str
    destination_secrets: tuple[str, ...] = field(repr=False)
    destination_scope: str | None
    delivery_horizon: timedelta
    renew_schedule: str
    sweep_interval: timedelta
    ledger_kept: timedelta

    @staticmethod
    def from_environment(environ: Mapping[str, str]) -> "Settings":
        """Raises SettingsError listing every setting that is missing or wrong."""
        read = _Reader(environ)
        cloud = read.optional("GRAPH_CLOUD", values.cloud, CLOUDS["global"])
        tenant_id = read.required("GRAPH_TENANT_ID", values.guid)
        return read.complete(
            lambda: Settings(
                storage=read.storage(),
                tenant_id=tenant_id,
                client_id=read.required("GRAPH_CLIENT_ID", values.guid),
                client_secret=read.optional("GRAPH_CLIENT_SECRET", str, None),
                client_certificate=read.optional("GRAPH_CLIENT_CERTIFICATE", values.certificate_and_key, None),
                managed_identity=read.optional("AZURE_CLIENT_ID", values.guid, None),
                graph_url=read.optional("GRAPH_BASE_URL", values.https, cloud.graph),
                login_url=read.optional("LOGIN_BASE_URL", values.https, cloud.login),
                notification_url=read.notification_url(),
                client_state_secrets=read.required("CLIENT_STATE_SECRET", values.client_state_secrets),
                declarations=read.declarations(tenant_id),
                key_store=read.required("KEY_STORE", values.key_store),
                key_rotation=read.optional("KEY_ROTATION_DAYS", values.days, timedelta(days=90)),
                key_overlap=read.optional("KEY_OVERLAP_HOURS", values.hours, timedelta(hours=72)),
                destination_url=read.required("DESTINATION_URL", values.destination_url),
                destination_secrets=read.required("DESTINATION_SECRET", values.destination_secrets),
                destination_scope=read.optional("DESTINATION_SCOPE", str, None),
                delivery_horizon=read.optional("DELIVERY_HORIZON_HOURS", values.hours, timedelta(hours=72)),
                renew_schedule=read.optional("RENEW_SCHEDULE", values.schedule, RENEW_SCHEDULE),
                sweep_interval=read.optional("SWEEP_INTERVAL_HOURS", values.hours_or_never, timedelta(hours=24)),
                ledger_kept=read.optional("LEDGER_DAYS", values.days, timedelta(days=60)),
            )
        )


def trigger_settings(environ: Mapping[str, str]) -> TriggerSettings:
    """Return what the triggers are bound to. Never raises."""
    schedule = environ.get("RENEW_SCHEDULE", "").strip()
    return TriggerSettings(
        queue=environ.get("NOTIFICATION_QUEUE", "").strip() or "notifications",
        renew_schedule=schedule if is_schedule(schedule) else RENEW_SCHEDULE,
        event_hub=event_hub(environ.get("NOTIFICATION_URL", "").strip()),
    )


def storage_settings(environ: Mapping[str, str]) -> StorageSettings:
    """Return how to reach storage alone, for what must work while other settings are wrong.

    Raises SettingsError.
    """
    read = _Reader(environ)
    return read.complete(read.storage)


class _Reader:
    """Reads settings by name and gathers the complaints. A value that was wrong reads as a stand-in that is
    never used, since `complete` raises before anything is returned.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._complaints: list[str] = []

    def required(self, name: str, parse: Callable[[str], T]) -> T:
        # The stand-in has no use but to let the reading go on to further complaints.
        return self._parse(name, self._environ.get(name, "").strip(), parse, cast("T", None))

    def optional(self, name: str, parse: Callable[[str], T], default: T) -> T:
        text = self._environ.get(name, "").strip()
        return self._parse(name, text, parse, default) if text else default

    def complete(self, build: Callable[[], T]) -> T:
        built = build()
        if self._complaints:
            raise SettingsError(self._complaints)
        return built

    def _parse(self, name: str, text: str, parse: Callable[[str], T], stand_in: T) -> T:
        try:
            if not text:
                raise Expected(f"missing; {_expected_by(parse)}")
            return parse(text)
        except Expected as expected:
            self._complaints.append(f"{name}: {expected}")
            return stand_in

    def storage(self) -> StorageSettings:
        queue = self.optional("NOTIFICATION_QUEUE", values.queue_name, "notifications")
        name = "AzureWebJobsStorage"
        if self._environ.get(name):
            return StorageSettings(queue, self.required(name, values.connection_string))
        client_id = self._environ.get(f"{name}__clientId") or None
        account = self._environ.get(f"{name}__accountName", "")
        urls = [
            self._environ.get(f"{name}__{service}ServiceUri")
            or (f"https://{account}.{service}.core.windows.net" if account else "")
            for service in ("queue", "blob", "table")
        ]
        if not all(urls):
            self._complaints.append(
                f"{name}: missing; expected a connection string, or {name}__accountName, or "
                f"{name}__queueServiceUri with {name}__blobServiceUri and {name}__tableServiceUri"
            )
        return StorageSettings(queue, urls=(urls[0], urls[1], urls[2]), identity_client_id=client_id)

    def notification_url(self) -> str:
        url = self.required("NOTIFICATION_URL", values.notification_url)
        connections = (EVENT_HUB_CONNECTION, f"{EVENT_HUB_CONNECTION}__fullyQualifiedNamespace")
        if url and event_hub(url) and not any(self._environ.get(name) for name in connections):
            self._complaints.append(
                f"{connections[1]}: missing; expected NAMESPACE.servicebus.windows.net, the namespace of the event "
                f"hub in NOTIFICATION_URL (or a connection string as {connections[0]})"
            )
        return url

    def declarations(self, tenant_id: str) -> tuple[Declaration, ...]:
        text = self._environ.get("SUBSCRIPTIONS", "").strip() or "subscriptions.json"
        try:
            return tuple(read_declarations(text, tenant_id or ""))
        except Expected as expected:
            self._complaints.append(f"SUBSCRIPTIONS: {expected}")
            return ()


def _expected_by(parse: Callable[[str], object]) -> str:
    try:
        parse("")
    except Expected as expected:
        return str(expected)
    return "expected a value"
