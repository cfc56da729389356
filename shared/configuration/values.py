"""Parsers of setting texts. Each returns the value, or raises InvalidValue."""

import base64
import binascii
import re
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

from shared.configuration.schedule import is_schedule

GUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
CONNECTION_STRING = "expected the connection string of a storage account"
RENEW_SCHEDULE = "0 */5 * * * *"
"""Default schedule of the timer that renews subscriptions."""
APP_ROOT = Path(__file__).parents[2]
"""Paths in settings are relative to this directory."""

KEY_VAULT_REFERENCE = "@Microsoft.KeyVault("
"""The beginning of a setting that Azure should have replaced with a secret of a vault, but has not."""

UNRESOLVED = (
    "Azure has not resolved the Key Vault reference: the app's role on the vault is not effective yet, or the secret "
    "does not exist; see docs/runbook/not-acknowledged.md"
)
DESTINATION_SECRETS = "expected whsec_ and base64 of 24 to 64 bytes; a second one after a comma signs too"

_EVENT_HUB = re.compile(
    r"EventHub:https://[a-z0-9-]+\.servicebus\.[a-z.]+/eventhubname/([A-Za-z0-9][A-Za-z0-9._-]{0,255})"
    r"\?tenantId=[A-Za-z0-9.-]+"
)
"""A notification URL for which Graph sends to an event hub, authorized by a role assignment (docs/graph.md, "Event
Hubs").
"""


class InvalidValue(Exception):
    """A setting has an invalid value. The message says what is expected."""


@dataclass(frozen=True)
class Cloud:
    """The URLs of Graph and its login authority in one of Microsoft's clouds (docs/graph.md, "Clouds")."""

    graph: str
    login: str


CLOUDS = {
    "global": Cloud("https://graph.microsoft.com", "https://login.microsoftonline.com"),
    "usgov": Cloud("https://graph.microsoft.us", "https://login.microsoftonline.us"),
    "usgovdod": Cloud("https://dod-graph.microsoft.us", "https://login.microsoftonline.us"),
    "china": Cloud("https://microsoftgraph.chinacloudapi.cn", "https://login.chinacloudapi.cn"),
}


def event_hub(notification_url: str) -> str | None:
    """Return the name of the event hub in a notification URL; None if Graph posts to the URL."""
    match = _EVENT_HUB.fullmatch(notification_url)
    return match[1] if match else None


def guid(text: str) -> str:
    """A GUID, in lower case."""
    if not GUID.fullmatch(text.lower()):
        raise InvalidValue("expected a GUID such as 00000000-0000-0000-0000-000000000000")
    return text.lower()


def cloud(text: str) -> Cloud:
    """One of Microsoft's clouds, by its name."""
    if text not in CLOUDS:
        raise InvalidValue(f"expected one of {', '.join(CLOUDS)}")
    return CLOUDS[text]


def _url(text: str, *, expected: str, http_on_loopback: bool) -> str:
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host, parts = None, urlsplit("")
    secure = parts.scheme == "https" or (
        http_on_loopback and parts.scheme == "http" and host in ("localhost", "127.0.0.1", "::1")
    )
    if not host or not secure or parts.fragment or parts.username is not None:
        raise InvalidValue(expected)
    return text


def https(text: str) -> str:
    """An https:// URL; a trailing slash is removed."""
    return _url(text, expected="expected an https:// URL", http_on_loopback=False).rstrip("/")


def notification_url(text: str) -> str:
    """Where Graph sends notifications: to this app, or to an event hub (docs/graph.md, "Event Hubs")."""
    if event_hub(text):
        return text
    expected = "expected an https:// URL (or, to an event hub, EventHub:https://NAMESPACE.servicebus.windows.net/"
    return _url(text, expected=f"{expected}eventhubname/HUB?tenantId=DOMAIN)", http_on_loopback=False).rstrip("/")


def destination_url(text: str) -> str:
    """Where events are delivered; http:// only to this machine."""
    expected = "expected an https:// URL (http:// only to this machine)"
    return _url(text, expected=expected, http_on_loopback=True)


def _decode(text: str, expected: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidValue(expected) from None


def _at_most_two(text: str, expected: str) -> list[str]:
    values = [value.strip() for value in text.split(",")]
    if len(values) > 2 or not all(values):
        raise InvalidValue(expected)
    return values


def client_state_secrets(text: str) -> tuple[bytes, ...]:
    """The secret that mints clientStates, and one that is being retired, if any."""
    expected = "expected base64 of 32 bytes or more; a second one after a comma is being retired"
    secrets = tuple(_decode(value, expected) for value in _at_most_two(text, expected))
    if min(map(len, secrets)) < 32:
        raise InvalidValue(expected)
    return secrets


def destination_secrets(text: str) -> tuple[str, ...]:
    """The secrets that sign deliveries (Standard Webhooks, "Signature scheme")."""
    secrets = tuple(_at_most_two(text, DESTINATION_SECRETS))
    for secret in secrets:
        if not secret.startswith("whsec_") or not 24 <= len(_decode(secret[6:], DESTINATION_SECRETS)) <= 64:
            raise InvalidValue(DESTINATION_SECRETS)
    return secrets


def scope(text: str) -> str:
    """The scope of an access token for an application: always `RESOURCE/.default`."""
    if not re.fullmatch(r"[!-~]+/\.default", text):
        raise InvalidValue("expected a scope that ends in /.default, such as https://eventgrid.azure.net/.default")
    return text


def queue_name(text: str) -> str:
    """The name of the queue; other names are derived from it."""
    if not re.fullmatch(r"(?=.{3,50}$)[a-z0-9]+(-[a-z0-9]+)*", text):
        # Storage's limit is 63; the other queues and the container append to this name.
        raise InvalidValue("expected 3 to 50 lower-case letters, digits and single dashes")
    return text


def connection_string(text: str) -> str:
    """The connection string of a storage account."""
    parts = {part.partition("=")[0].strip().lower() for part in text.split(";")}
    if not parts & {"accountname", "usedevelopmentstorage", "queueendpoint"}:
        raise InvalidValue(CONNECTION_STRING)
    return text.rstrip("; ")  # the SDK's client of tables alone refuses `UseDevelopmentStorage=true;`


def insights(text: str) -> str:
    """The connection string of Application Insights. With an invalid one the Functions host does not start."""
    parts = dict(part.strip().partition("=")[::2] for part in text.split(";") if part.strip())
    keys = [value for name, value in parts.items() if name.lower() == "instrumentationkey"]
    if "" in parts.values() or not keys or not GUID.fullmatch(keys[0].lower()):
        raise InvalidValue(
            "expected the connection string of an Application Insights resource, InstrumentationKey=GUID;…"
        )
    return text


def key_store(text: str) -> str:
    """A key vault or a directory."""
    if text.startswith("file:") and len(text) > 5:
        return text
    try:
        return https(text)
    except InvalidValue:
        raise InvalidValue("expected https://NAME.vault.azure.net or file:DIRECTORY") from None


def certificate_and_key(path: str) -> str:
    """The text of a PEM file, named relative to the app; the key and certificate must match."""
    expected = "expected the path of a readable PEM file that holds a private key, unencrypted, and its certificate"
    return _pem(path, expected, lambda context, file: context.load_cert_chain(file, password=_no_password))


def path_of_certificate_and_key(path: str) -> str:
    """The path of a PEM file, named relative to the app."""
    certificate_and_key(path)
    return str(APP_ROOT / path)


def path_of_certificates(path: str) -> str:
    """The path of a PEM file with certificates, named relative to the app."""
    expected = "expected the path of a readable PEM file that holds certificates"
    _pem(path, expected, lambda context, file: context.load_verify_locations(file))
    return str(APP_ROOT / path)


def _pem(path: str, expected: str, load: Callable[[ssl.SSLContext, Path], None]) -> str:
    """Return the text of a PEM file that TLS can `load`: otherwise the first connection would fail."""
    try:
        text = (APP_ROOT / path).read_text(encoding="ascii")
        load(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), APP_ROOT / path)
    except (OSError, ValueError):  # ssl's errors are OSErrors
        raise InvalidValue(expected) from None
    return text


def _no_password() -> str:
    """The password callback: without it, OpenSSL would ask on the terminal."""
    raise ValueError("the key is encrypted")


def _number(text: str, expected: str) -> float:
    if not re.fullmatch(r"\d{1,6}(\.\d{1,6})?", text):
        raise InvalidValue(expected)
    return float(text)


def days(text: str) -> timedelta:
    """A number of days."""
    return timedelta(days=_positive(text))


def hours(text: str) -> timedelta:
    """A number of hours."""
    return timedelta(hours=_positive(text))


def hours_or_never(text: str) -> timedelta:
    """A number of hours; 0 for never."""
    return timedelta(hours=_number(text, "expected a number, 0 or greater"))


def _positive(text: str) -> float:
    expected = "expected a number greater than 0"
    if (number := _number(text, expected)) <= 0:
        raise InvalidValue(expected)
    return number


def positive(text: str) -> float:
    """A number greater than 0."""
    return _positive(text)


def count(text: str) -> int:
    """A whole number greater than 0."""
    if not re.fullmatch(r"[1-9]\d{0,8}", text):
        raise InvalidValue("expected a whole number greater than 0")
    return int(text)


def switch(text: str) -> bool:
    """A switch: on or off."""
    if text not in ("on", "off"):
        raise InvalidValue("expected on or off")
    return text == "on"


def schedule(text: str) -> str:
    """The schedule of a timer, in the syntax of the Functions host."""
    if not is_schedule(text):
        raise InvalidValue(f"expected NCRONTAB of six fields such as {RENEW_SCHEDULE}, or an interval hh:mm:ss")
    return text
