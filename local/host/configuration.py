"""What configures a host: app settings, host.json, and the two notations of Azure Functions found in them."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

REFERENCE = re.compile(r"%([^%]+)%")
TIME_SPAN = re.compile(r"(?:(\d+)\.)?(\d{1,2}):(\d{2})(?::(\d{2}(?:\.\d{1,7})?))?")


class ConfigurationError(Exception):
    """A setting is missing or wrong; the message names it and what was expected, never what it holds."""


@dataclass(frozen=True)
class QueueOptions:
    """The `queues` extension of host.json; the defaults are the Functions host's."""

    message_encoding: str = "base64"
    max_polling_interval: timedelta = timedelta(minutes=1)
    visibility_timeout: timedelta = timedelta(0)
    batch_size: int = 16
    new_batch_threshold: int = 8
    max_dequeue_count: int = 5


@dataclass(frozen=True)
class HostOptions:
    """What this stand-in obeys of host.json."""

    route_prefix: str
    queues: QueueOptions


def host_options(file: Path) -> HostOptions:
    """Read host.json; what it leaves out has the Functions host's defaults."""
    extensions = json.loads(file.read_text()).get("extensions", {})
    queues = extensions.get("queues", {})
    defaults = QueueOptions()
    batch_size = queues.get("batchSize", defaults.batch_size)
    return HostOptions(
        extensions.get("http", {}).get("routePrefix", "api"),
        QueueOptions(
            queues.get("messageEncoding", defaults.message_encoding),
            time_span(queues.get("maxPollingInterval", "00:01:00")),
            time_span(queues.get("visibilityTimeout", "00:00:00")),
            batch_size,
            queues.get("newBatchThreshold", batch_size // 2),
            queues.get("maxDequeueCount", defaults.max_dequeue_count),
        ),
    )


def app_settings(directory: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment over the "Values" of local.settings.json in `directory`, should that exist."""
    file = directory / "local.settings.json"
    values = json.loads(file.read_text()).get("Values", {}) if file.exists() else {}
    return {**values, **environment}


def setting(name: str, settings: Mapping[str, str], expected: str) -> str:
    """Return a setting that must be there.

    Raises:
        ConfigurationError: it is missing or empty.
    """
    value = settings.get(name, "")
    if not value:
        raise ConfigurationError(f"{name}: expected {expected}")
    return value


def expand(text: str, settings: Mapping[str, str]) -> str:
    """Replace each %NAME% by the setting of that name.

    Raises:
        ConfigurationError: there is no such setting.
    """
    return REFERENCE.sub(lambda found: setting(found[1], settings, "an app setting, named in a binding"), text)


def time_span(text: str) -> timedelta:
    """Read .NET's TimeSpan notation, [d.]hh:mm[:ss[.fffffff]].

    Raises:
        ConfigurationError: it is not written so.
    """
    found = TIME_SPAN.fullmatch(text)
    if not found:
        raise ConfigurationError("expected a time span written hh:mm:ss")
    days, hours, minutes, seconds = found.groups(default="0")
    return timedelta(days=int(days), hours=int(hours), minutes=int(minutes), seconds=float(seconds))
