"""What the text of a setting may be. Each function returns the value it stands for, or raises Expected."""

import base64
import binascii
import re
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

from shared.configuration.schedule import is_schedule

GUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
CONNECTION_STRING = "expected the connection string of a storage account"
RENEW_SCHEDULE = "0 */5 * * * *"
"""How often subscriptions are looked after unless told."""
APP_ROOT = Path(__file__).parents[2]
"""What paths in settings are relative to."""

_EVENT_HUB = re.compile(
    r"EventHub:https://[a-z0-9-]+\.servicebus\.[a-z.]+/eventhubname/([A-Za-z0-9][A-Za-z0-9._-]{0,255})"
    r"\?tenantId=[A-Za-z0-9.-]+"
)
"""The form of a notification URL that has Graph send to a hub by its role there (docs/graph.md, "Event Hubs")."""


class Expected(Exception):
    """What a setting should have been; the text is the complaint."""


@dataclass(frozen=True)
class Cloud:
    """Where Graph and its login authority live in one of Microsoft's clouds (docs/graph.md, "Clouds")."""

    graph: str
    login: str


CLOUDS = {
    "global": Cloud("https://graph.microsoft.com", "https://login.microsoftonline.com"),
    "usgov": Cloud("https://graph.microsoft.us", "https://login.microsoftonline.us"),
    "usgovdod": Cloud("https://dod-graph.microsoft.us", "https://login.microsoftonline.us"),
    "china": Cloud("https://microsoftgraph.chinacloudapi.cn", "https://login.chinacloudapi.cn"),
}


def event_hub(notification_url: str) -> str | None:
    """Return the name of the event hub that a notification URL has Graph send to; None if it has it post."""
    named = _EVENT_HUB.fullmatch(notification_url)
    return named[1] if named else None


def guid(text: str) -> str:
    """A GUID, in lower case."""
    if not GUID.fullmatch(text.lower()):
        raise Expected("expected a GUID such as 00000000-0000-0000-0000-000000000000")
    return text.lower()


def cloud(text: str) -> Cloud:
    """One of Microsoft's clouds, by its name."""
    if text not in CLOUDS:
        raise Expected(f"expected one of {', '.join(CLOUDS)}")
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
        raise Expected(expected)
    return text


def https(text: str) -> str:
    """An https:// URL without a slash at its end."""
    return _url(text, expected="expected an https:// URL", plain_on_loopback=False).rstrip("/")


def notification_url(text: str) -> str:
    """Where Graph sends notifications: to us, or to an event hub (docs/graph.md, "Event Hubs")."""
    if event_hub(text):
        return text
    expected = "expected an https:// URL (or, to an event hub, EventHub:https://NAMESPACE.servicebus.windows.net/"
    return _url(text, expected=f"{expected}eventhubname/HUB?tenantId=DOMAIN)", plain_on_loopback=False).rstrip("/")


def destination_url(text: str) -> str:
    """Where events are delivered; in the clear only within this machine."""
    expected = "expected an https:// URL (http:// only to this machine)"
    return _url(text, expected=expected, plain_on_loopback=True)


def _decode(text: str, expected: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Expected(expected) from None


def _at_most_two(text: str, expected: str) -> list[str]:
    values = [value.strip() for value in text.split(",")]
    if len(values) > 2 or not all(values):
        raise Expected(expected)
    return values


def client_state_secrets(text: str) -> tuple[bytes, ...]:
    """The secret that mints clientStates, and the one that is being retired."""
    expected = "expected base64 of 32 bytes or more; a second one after a comma is being retired"
    secrets = tuple(_decode(value, expected) for value in _at_most_two(text, expected))
    if min(map(len, secrets)) < 32:
        raise Expected(expected)
    return secrets


def destination_secrets(text: str) -> tuple[str, ...]:
    """The secrets that sign deliveries (Standard Webhooks, "Signature scheme")."""
    expected = "expected whsec_ and base64 of 24 to 64 bytes; a second one after a comma signs too"
    secrets = tuple(_at_most_two(text, expected))
    for secret in secrets:
        if not secret.startswith("whsec_") or not 24 <= len(_decode(secret[6:], expected)) <= 64:
            raise Expected(expected)
    return secrets


def queue_name(text: str) -> str:
    """The name of a queue from which others can be derived."""
    if not re.fullmatch(r"(?=.{3,50}$)[a-z0-9]+(-[a-z0-9]+)*", text):
        # 63 is Storage's limit; the dead letters and claims are named after the queue.
        raise Expected("expected 3 to 50 lower-case letters, digits and single dashes")
    return text


def connection_string(text: str) -> str:
    """The connection string of a storage account."""
    parts = {part.partition("=")[0].strip().lower() for part in text.split(";")}
    if not parts & {"accountname", "usedevelopmentstorage", "queueendpoint"}:
        raise Expected(CONNECTION_STRING)
    return text.rstrip("; ")  # the SDK's client of tables alone refuses `UseDevelopmentStorage=true;`


def insights(text: str) -> str:
    """The connection string of Application Insights. With another text the Functions host does not start at all."""
    parts = dict(part.strip().partition("=")[::2] for part in text.split(";") if part.strip())
    keys = [value for name, value in parts.items() if name.lower() == "instrumentationkey"]
    if "" in parts.values() or not keys or not GUID.fullmatch(keys[0].lower()):
        raise Expected("expected the connection string of an Application Insights resource, InstrumentationKey=GUID;…")
    return text


def key_store(text: str) -> str:
    """A vault or a directory."""
    if text.startswith("file:") and len(text) > 5:
        return text
    try:
        return https(text)
    except Expected:
        raise Expected("expected https://NAME.vault.azure.net or file:DIRECTORY") from None


def certificate_and_key(path: str) -> str:
    """The text of a PEM file, named relative to the app."""
    expected = "expected the path of a readable PEM file that holds a private key, unencrypted, and its certificate"
    try:
        pem = (APP_ROOT / path).read_text(encoding="ascii")
    except (OSError, ValueError):
        raise Expected(expected) from None
    if not re.search("-----BEGIN (RSA )?PRIVATE KEY-----", pem) or "-----BEGIN CERTIFICATE-----" not in pem:
        raise Expected(expected)
    return pem


def _number(text: str, expected: str) -> float:
    if not re.fullmatch(r"\d{1,6}(\.\d{1,6})?", text):
        raise Expected(expected)
    return float(text)


def days(text: str) -> timedelta:
    """A time of some days."""
    return timedelta(days=_positive(text))


def hours(text: str) -> timedelta:
    """A time of some hours."""
    return timedelta(hours=_positive(text))


def hours_or_never(text: str) -> timedelta:
    """A time of some hours; 0 for never."""
    return timedelta(hours=_number(text, "expected a number, 0 or greater"))


def _positive(text: str) -> float:
    expected = "expected a number greater than 0"
    if (number := _number(text, expected)) <= 0:
        raise Expected(expected)
    return number


def switch(text: str) -> bool:
    """Something that is on or off."""
    if text not in ("on", "off"):
        raise Expected("expected on or off")
    return text == "on"


def schedule(text: str) -> str:
    """When a timer is due, as the Functions host understands it."""
    if not is_schedule(text):
        raise Expected(f"expected NCRONTAB of six fields such as {RENEW_SCHEDULE}, or an interval hh:mm:ss")
    return text
