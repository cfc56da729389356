"""The environment as one frozen, typed object. Every mistake is reported at once, by name, never with the value."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from datetime import timedelta
from functools import partial
from typing import Any

from shared.configuration import values
from shared.configuration.declaration import Declarations, decode_declarations, subscriptions, with_tenant
from shared.configuration.destinations import (
    FIELDS,
    MISSING_SECRET,
    REQUIRED,
    Destinations,
    DestinationSettings,
    decode_entries,
    read_entries,
    unproven,
    with_entries,
)
from shared.configuration.in_blob import BlobAddress, InBlob
from shared.configuration.triggers import EVENT_HUB_CONNECTION
from shared.configuration.values import (
    CLOUDS,
    KEY_VAULT_REFERENCE,
    RENEW_SCHEDULE,
    UNRESOLVED,
    Cloud,
    InvalidValue,
    event_hub,
)

STORAGE = "AzureWebJobsStorage"
"""The setting of the storage account, or the prefix of its settings, as the Functions host names it."""


IN_A_BLOB = "DESTINATION_"
"""Prefix of the settings that the blob of DESTINATIONS may refer to."""


class SettingsError(Exception):
    """Settings are missing or invalid. Its message lists each by name, with what was expected."""

    def __init__(self, complaints: list[str]) -> None:
        super().__init__("\n".join(complaints))
        self.complaints = complaints


@dataclass(frozen=True)
class StorageSettings:
    """How to reach the storage account: a connection string, or (queue, blob, table) URLs and an identity.

    managed_identity: the app's own, for blobs in other accounts; None: the system-assigned one.
    """

    queue: str
    connection_string: str = field(default="", repr=False)
    urls: tuple[str, str, str] = ("", "", "")
    identity_client_id: str | None = None
    managed_identity: str | None = None


@dataclass(frozen=True)
class Source:
    """The source of an attribute of Settings: the setting's name, its parser, and the default if it is empty."""

    name: str
    parse: Callable[[str], Any]
    default: Any


def setting(name: str, parse: Callable[[str], Any], default: Any = REQUIRED, *, secret: bool = False) -> Any:
    """Declare an attribute of Settings. Without a default, the setting is required; a secret is left out of `repr`."""
    return field(repr=not secret, metadata={"source": Source(name, parse, default)})


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All settings. docs/configuration.md explains each."""

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
    declarations: Declarations | InBlob[Declarations] = setting("SUBSCRIPTIONS", subscriptions, "subscriptions.json")
    key_store: str = setting("KEY_STORE", values.key_store)
    key_rotation: timedelta = setting("KEY_ROTATION_DAYS", values.days, timedelta(days=90))
    key_overlap: timedelta = setting("KEY_OVERLAP_HOURS", values.hours, timedelta(hours=72))
    delivery_horizon: timedelta = setting("DELIVERY_HORIZON_HOURS", values.hours, timedelta(hours=72))
    sweep_interval: timedelta = setting("SWEEP_INTERVAL_HOURS", values.hours_or_never, timedelta(hours=24))
    renew_schedule: str = setting("RENEW_SCHEDULE", values.schedule, RENEW_SCHEDULE)
    ledger_retention: timedelta = setting("LEDGER_DAYS", values.days, timedelta(days=60))

    notification_paths: bool = setting("NOTIFICATION_PATHS", values.switch, default=True)

    destinations: Destinations | InBlob[Destinations]

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
        """Raises SettingsError listing every missing or invalid setting, including those of storage."""
        reader = _Reader(environ)
        values_by_name = {
            attribute.name: reader.value(attribute.metadata["source"])
            for attribute in fields(Settings)
            if "source" in attribute.metadata
        }
        values_by_name["destinations"] = reader.destinations()
        values_by_name["declarations"] = reader.declarations(
            values_by_name["declarations"], values_by_name["tenant_id"]
        )
        reader.event_hub_connection(values_by_name["notification_url"])
        reader.storage()
        reader.value(Source("APPLICATIONINSIGHTS_CONNECTION_STRING", values.insights, None))
        reader.raise_if_invalid()
        return Settings(**values_by_name)


def storage_settings(environ: Mapping[str, str]) -> StorageSettings:
    """Return how to reach storage; reads no other settings, so it works while those are invalid.

    Raises SettingsError.
    """
    reader = _Reader(environ)
    settings = reader.storage()
    reader.raise_if_invalid()
    return settings


class _Reader:
    """Reads settings by name and collects the complaints. An invalid value reads as None, which never leaves this
    module: `raise_if_invalid` raises first.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._complaints: list[str] = []

    def value(self, source: Source) -> Any:
        text = self._text(source.name)
        try:
            if text.startswith(KEY_VAULT_REFERENCE):
                raise InvalidValue(UNRESOLVED)
            if not text and source.default is REQUIRED:
                raise InvalidValue(f"missing; {_expected_by(source.parse)}")
            if not text and not isinstance(source.default, str):
                return source.default
            return source.parse(text or source.default)
        except InvalidValue as error:
            self._complaints.append(f"{source.name}: {error}")
            return None

    def raise_if_invalid(self) -> None:
        if self._complaints:
            raise SettingsError(self._complaints)

    def declarations(self, entries: Any, tenant_id: str | None) -> Declarations | InBlob[Declarations]:
        home = tenant_id or ""
        if isinstance(entries, BlobAddress):
            return InBlob("SUBSCRIPTIONS", entries.url, lambda text: with_tenant(decode_declarations(text), home))
        try:
            return with_tenant(entries or (), home)
        except InvalidValue as error:
            self._complaints.append(f"SUBSCRIPTIONS: {error}")
            return Declarations(())

    def destinations(self) -> Destinations | InBlob[Destinations]:
        """Read the default destination and those of DESTINATIONS. At least one must be usable."""
        entries = self.value(Source("DESTINATIONS", read_entries, ()))
        without_default = bool(entries) and not self._text("DESTINATION_URL")
        default = None if without_default else self._default_destination()
        if isinstance(entries, BlobAddress):
            return InBlob("DESTINATIONS", entries.url, partial(_further_destinations, default, self._environ))
        return self._usable(with_entries(default, entries or (), self._environ))

    def _default_destination(self) -> DestinationSettings:
        read = {
            setting.attribute: self.value(Source(setting.setting, setting.parse, setting.default)) for setting in FIELDS
        }
        if read["secrets"] == () and unproven(read):
            self._complaints.append(f"DESTINATION_SECRET: {MISSING_SECRET}")
        return DestinationSettings(**read)

    def _usable(self, destinations: Destinations) -> Destinations:
        if all(destination.invalid for destination in destinations):
            self._complaints += [f"DESTINATIONS: {complaint}" for complaint in destinations.complaints]
        return destinations

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
            connection = self.value(Source(STORAGE, values.connection_string, REQUIRED))
            return StorageSettings(queue, connection, managed_identity=self._text("AZURE_CLIENT_ID") or None)
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
            queue,
            urls=(urls[0], urls[1], urls[2]),
            identity_client_id=self._text(f"{STORAGE}__clientId") or None,
            managed_identity=self._text("AZURE_CLIENT_ID") or None,
        )

    def _text(self, name: str) -> str:
        return self._environ.get(name, "").strip()


def _further_destinations(default: DestinationSettings | None, environ: Mapping[str, str], text: str) -> Destinations:
    """Return all destinations, including those in the text of a blob. Raises InvalidValue if one is invalid.

    Write access to the blob must not disclose other settings, which could be referred to in the headers of a
    destination.
    """
    entries = decode_entries(text)
    for name in re.findall(r"%([A-Za-z0-9_]+)%", text):
        if not name.startswith(IN_A_BLOB):
            raise InvalidValue(f"%{name[:60]}%: a blob can name only settings that begin with {IN_A_BLOB}")
    destinations = with_entries(default, entries, {k: v for k, v in environ.items() if k.startswith(IN_A_BLOB)})
    if destinations.complaints:
        raise InvalidValue("; ".join(destinations.complaints))
    if not len(destinations):
        raise InvalidValue("expected at least one destination, since DESTINATION_URL is empty")
    return destinations


def _expected_by(parse: Callable[[str], object]) -> str:
    try:
        parse("")
    except InvalidValue as error:
        return str(error)
    return "expected a value"
