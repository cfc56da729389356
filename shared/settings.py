"""The environment as one frozen, typed object. Every mistake is reported at once, by name, never with the value."""

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TypeVar, cast
from urllib.parse import urlsplit

import msgspec

from shared.schedule import is_schedule

T = TypeVar("T")

GUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
CONNECTION_STRING = "expected the connection string of a storage account"
EVENT_HUB_CONNECTION = "EventHubConnection"
"""The setting, or beginning of settings, by which the Functions host finds the namespace of an event hub."""

_EVENT_HUB = re.compile(
    r"EventHub:https://[a-z0-9-]+\.servicebus\.[a-z.]+/eventhubname/([A-Za-z0-9][A-Za-z0-9._-]{0,255})"
    r"\?tenantId=[A-Za-z0-9.-]+"
)
"""The form of a notification URL that has Graph send to a hub by its role there (Graph contract §10)."""

_RENEW_SCHEDULE = "0 */5 * * * *"

_APP_ROOT = Path(__file__).parent.parent


class SettingsError(Exception):
    """Settings are missing or wrong. Its message lists each by name, with what was expected."""

    def __init__(self, complaints: list[str]) -> None:
        super().__init__("\n".join(complaints))
        self.complaints = complaints


@dataclass(frozen=True)
class Cloud:
    """Where Graph and its login authority live in one of Microsoft's clouds (Graph contract §5 "Clouds")."""

    graph: str
    login: str


CLOUDS = {
    "global": Cloud("https://graph.microsoft.com", "https://login.microsoftonline.com"),
    "usgov": Cloud("https://graph.microsoft.us", "https://login.microsoftonline.us"),
    "usgovdod": Cloud("https://dod-graph.microsoft.us", "https://login.microsoftonline.us"),
    "china": Cloud("https://microsoftgraph.chinacloudapi.cn", "https://login.chinacloudapi.cn"),
}


class Declaration(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """One subscription that should exist: an entry of `subscriptions.json`.

    `tenant_id` is "" for the tenant of the app registration.
    """

    resource: str
    change_types: tuple[str, ...]
    include_resource_data: bool = False
    tenant_id: str = ""
    hydrate: bool = False


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
        cloud = read.optional("GRAPH_CLOUD", _cloud, CLOUDS["global"])
        tenant_id = read.required("GRAPH_TENANT_ID", _guid)
        return read.complete(
            lambda: Settings(
                storage=read.storage(),
                tenant_id=tenant_id,
                client_id=read.required("GRAPH_CLIENT_ID", _guid),
                client_secret=read.optional("GRAPH_CLIENT_SECRET", str, None),
                client_certificate=read.optional("GRAPH_CLIENT_CERTIFICATE", _certificate_and_key, None),
                managed_identity=read.optional("AZURE_CLIENT_ID", _guid, None),
                graph_url=read.optional("GRAPH_BASE_URL", _https, cloud.graph),
                login_url=read.optional("LOGIN_BASE_URL", _https, cloud.login),
                notification_url=read.notification_url(),
                client_state_secrets=read.required("CLIENT_STATE_SECRET", _client_state_secrets),
                declarations=read.declarations(tenant_id),
                key_store=read.required("KEY_STORE", _key_store),
                key_rotation=read.optional("KEY_ROTATION_DAYS", _days, timedelta(days=90)),
                key_overlap=read.optional("KEY_OVERLAP_HOURS", _hours, timedelta(hours=72)),
                destination_url=read.required("DESTINATION_URL", _destination_url),
                destination_secrets=read.required("DESTINATION_SECRET", _destination_secrets),
                destination_scope=read.optional("DESTINATION_SCOPE", str, None),
                delivery_horizon=read.optional("DELIVERY_HORIZON_HOURS", _hours, timedelta(hours=72)),
                renew_schedule=read.optional("RENEW_SCHEDULE", _schedule, _RENEW_SCHEDULE),
                sweep_interval=read.optional("SWEEP_INTERVAL_HOURS", _hours_or_never, timedelta(hours=24)),
                ledger_kept=read.optional("LEDGER_DAYS", _days, timedelta(days=60)),
            )
        )


def trigger_settings(environ: Mapping[str, str]) -> TriggerSettings:
    """Return what the triggers are bound to. Never raises."""
    schedule = environ.get("RENEW_SCHEDULE", "").strip()
    return TriggerSettings(
        queue=environ.get("NOTIFICATION_QUEUE") or "notifications",
        renew_schedule=schedule if is_schedule(schedule) else _RENEW_SCHEDULE,
        event_hub=event_hub(environ.get("NOTIFICATION_URL", "").strip()),
    )


def event_hub(notification_url: str) -> str | None:
    """Return the name of the event hub that a notification URL has Graph send to; None if it has it post."""
    named = _EVENT_HUB.fullmatch(notification_url)
    return named[1] if named else None


def storage_settings(environ: Mapping[str, str]) -> StorageSettings:
    """Return how to reach storage alone, for what must work while other settings are wrong.

    Raises SettingsError.
    """
    read = _Reader(environ)
    return read.complete(read.storage)


class _Expected(Exception):
    """What a setting should have been; the text is the complaint."""


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
                raise _Expected(f"missing; {_expected_by(parse)}")
            return parse(text)
        except _Expected as expected:
            self._complaints.append(f"{name}: {expected}")
            return stand_in

    def storage(self) -> StorageSettings:
        queue = self.optional("NOTIFICATION_QUEUE", _queue_name, "notifications")
        name = "AzureWebJobsStorage"
        if self._environ.get(name):
            return StorageSettings(queue, self.required(name, _connection_string))
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
        url = self.required("NOTIFICATION_URL", _notification_url)
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
            declared = _declarations(text)
        except _Expected as expected:
            self._complaints.append(f"SUBSCRIPTIONS: {expected}")
            return ()
        return tuple(
            msgspec.structs.replace(one, tenant_id=(one.tenant_id or tenant_id or "").lower()) for one in declared
        )


def _expected_by(parse: Callable[[str], object]) -> str:
    try:
        parse("")
    except _Expected as expected:
        return str(expected)
    return "expected a value"


def _guid(text: str) -> str:
    if not GUID.fullmatch(text.lower()):
        raise _Expected("expected a GUID such as 00000000-0000-0000-0000-000000000000")
    return text.lower()


def _cloud(text: str) -> Cloud:
    if text not in CLOUDS:
        raise _Expected(f"expected one of {', '.join(CLOUDS)}")
    return CLOUDS[text]


def _url(text: str, *, expected: str, plain_on_loopback: bool) -> str:
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host, parts = None, urlsplit("")
    secure = parts.scheme == "https" or (
        plain_on_loopback and parts.scheme == "http" and host in ("localhost", "127.0.0.1", "::1")
    )
    if not host or not secure or parts.fragment or parts.username is not None:
        raise _Expected(expected)
    return text


def _https(text: str) -> str:
    return _url(text, expected="expected an https:// URL", plain_on_loopback=False).rstrip("/")


def _notification_url(text: str) -> str:
    if event_hub(text):
        return text
    expected = "expected an https:// URL (or, to an event hub, EventHub:https://NAMESPACE.servicebus.windows.net/"
    return _url(text, expected=f"{expected}eventhubname/HUB?tenantId=DOMAIN)", plain_on_loopback=False).rstrip("/")


def _destination_url(text: str) -> str:
    expected = "expected an https:// URL (http:// only to this machine)"
    return _url(text, expected=expected, plain_on_loopback=True)


def _decode(text: str, expected: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise _Expected(expected) from None


def _at_most_two(text: str, expected: str) -> list[str]:
    values = [value.strip() for value in text.split(",")]
    if len(values) > 2 or not all(values):
        raise _Expected(expected)
    return values


def _client_state_secrets(text: str) -> tuple[bytes, ...]:
    expected = "expected base64 of 32 bytes or more; a second one after a comma is being retired"
    secrets = tuple(_decode(value, expected) for value in _at_most_two(text, expected))
    if min(map(len, secrets)) < 32:
        raise _Expected(expected)
    return secrets


def _destination_secrets(text: str) -> tuple[str, ...]:
    expected = "expected whsec_ and base64 of 24 to 64 bytes; a second one after a comma signs too"
    secrets = tuple(_at_most_two(text, expected))
    for secret in secrets:
        if not secret.startswith("whsec_") or not 24 <= len(_decode(secret[6:], expected)) <= 64:
            raise _Expected(expected)
    return secrets


def _queue_name(text: str) -> str:
    if not re.fullmatch(r"(?=.{3,50}$)[a-z0-9]+(-[a-z0-9]+)*", text):
        # 63 is Storage's limit; the dead letters and claims are named after the queue.
        raise _Expected("expected 3 to 50 lower-case letters, digits and single dashes")
    return text


def _connection_string(text: str) -> str:
    parts = {part.partition("=")[0].strip().lower() for part in text.split(";")}
    if not parts & {"accountname", "usedevelopmentstorage", "queueendpoint"}:
        raise _Expected(CONNECTION_STRING)
    return text


def _key_store(text: str) -> str:
    if text.startswith("file:") and len(text) > 5:
        return text
    try:
        return _https(text)
    except _Expected:
        raise _Expected("expected https://NAME.vault.azure.net or file:DIRECTORY") from None


def _certificate_and_key(path: str) -> str:
    expected = "expected the path of a readable PEM file that holds a private key, unencrypted, and its certificate"
    try:
        pem = (_APP_ROOT / path).read_text(encoding="ascii")
    except (OSError, ValueError):
        raise _Expected(expected) from None
    if not re.search("-----BEGIN (RSA )?PRIVATE KEY-----", pem) or "-----BEGIN CERTIFICATE-----" not in pem:
        raise _Expected(expected)
    return pem


def _number(text: str, expected: str) -> float:
    if not re.fullmatch(r"\d{1,6}(\.\d{1,6})?", text):
        raise _Expected(expected)
    return float(text)


def _days(text: str) -> timedelta:
    return timedelta(days=_positive(text))


def _hours(text: str) -> timedelta:
    return timedelta(hours=_positive(text))


def _hours_or_never(text: str) -> timedelta:
    return timedelta(hours=_number(text, "expected a number, 0 or greater"))


def _positive(text: str) -> float:
    expected = "expected a number greater than 0"
    if (number := _number(text, expected)) <= 0:
        raise _Expected(expected)
    return number


def _schedule(text: str) -> str:
    if not is_schedule(text):
        raise _Expected(f"expected NCRONTAB of six fields such as {_RENEW_SCHEDULE}, or an interval hh:mm:ss")
    return text


def _declarations(text: str) -> list[Declaration]:
    if not text.startswith("["):
        try:
            text = (_APP_ROOT / text).read_text(encoding="utf-8")
        except (OSError, ValueError):
            raise _Expected("expected a JSON list, or the path of a readable file that holds one") from None
    try:
        declared = msgspec.json.decode(text, type=list[Declaration])
    except (msgspec.DecodeError, RecursionError) as error:
        # msgspec names the place and the types, not the value; a declaration holds no secret in any case.
        raise _Expected(f"expected a JSON list of declarations: {error}") from None
    for number, one in enumerate(declared, start=1):
        _check_declaration(f"declaration {number}", one)
    if len({(one.tenant_id.lower(), one.resource.strip("/").lower()) for one in declared}) < len(declared):
        raise _Expected("two declarations name the same resource of one tenant; merge their changeTypes")
    return declared


def _check_declaration(name: str, one: Declaration) -> None:
    if not one.resource.strip("/") or not one.resource.isprintable():
        raise _Expected(f"{name}: resource: expected a path such as /chats/getAllMessages")
    if not one.change_types or not set(one.change_types) <= {"created", "updated", "deleted"}:
        raise _Expected(f"{name}: changeTypes: expected some of created, updated, deleted")
    if one.tenant_id and not GUID.fullmatch(one.tenant_id.lower()):
        raise _Expected(f"{name}: tenantId: expected a GUID")
