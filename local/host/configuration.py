"""The configuration of a host: app settings, host.json, and the two notations of Azure Functions that both use."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

REFERENCE = re.compile(r"%([^%]+)%")
TIME_SPAN = re.compile(r"(?:(\d+)\.)?(\d{1,2}):(\d{2})(?::(\d{2}(?:\.\d{1,7})?))?")
OVERRIDE = "AzureFunctionsJobHost__"
"""The beginning of an app setting that overrides a value of host.json; `__` separates the levels."""

LEVELS = {"Trace": 5, "Debug": 10, "Information": 20, "Warning": 30, "Error": 40, "Critical": 50, "None": 100}
"""The log levels of host.json, as numbers of Python's `logging`."""

DEFAULT_TIMEOUT = timedelta(minutes=30)

PYTHON_SETTING = "languageWorkers__python__defaultExecutablePath"
"""Names the Python of the workers. Without it `func` takes the first supported `python3`, `python` … of the PATH,
whatever packages that Python has.
"""


class ConfigurationError(Exception):
    """A setting is missing or wrong; the message names the setting and the expected form, never the value."""


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
class HttpOptions:
    """The `http` extension of host.json. `max_concurrent`, `max_outstanding`: requests; None means no limit."""

    route_prefix: str = "api"
    max_concurrent: int | None = None
    max_outstanding: int | None = None


@dataclass(frozen=True)
class HostOptions:
    """The values of host.json that this stand-in obeys. `log_levels`: by category, which may hold one `*`."""

    http: HttpOptions = HttpOptions()
    queues: QueueOptions = QueueOptions()
    function_timeout: timedelta | None = DEFAULT_TIMEOUT
    log_levels: Mapping[str, int] = field(default_factory=dict)


def host_options(file: Path, settings: Mapping[str, str] | None = None) -> HostOptions:
    """Read host.json, and the settings that override its values; the defaults are the host's.

    Raises:
        ConfigurationError: a value has the wrong type.
    """
    read = json.loads(file.read_text())
    for name, value in (settings or {}).items():
        if name.startswith(OVERRIDE):
            _place(read, name.removeprefix(OVERRIDE).split("__"), value)
    extensions = read.get("extensions", {})
    return HostOptions(
        _http_options(extensions.get("http", {})),
        _queue_options(extensions.get("queues", {})),
        _timeout(read.get("functionTimeout")),
        _log_levels(read.get("logging", {}).get("logLevel", {})),
    )


def _place(read: dict[str, Any], path: list[str], value: str) -> None:
    """Set the value at `path`, ignoring case."""
    for step in path[:-1]:
        read = read.setdefault(next((key for key in read if key.lower() == step.lower()), step), {})
    read[next((key for key in read if key.lower() == path[-1].lower()), path[-1])] = value


def _http_options(http: Mapping[str, Any]) -> HttpOptions:
    return HttpOptions(
        http.get("routePrefix", "api"),
        _limit("maxConcurrentRequests", http),
        _limit("maxOutstandingRequests", http),
    )


def _limit(name: str, http: Mapping[str, Any]) -> int | None:
    limit = _number(name, http.get(name, -1))
    return None if limit == -1 else limit


def _queue_options(queues: Mapping[str, Any]) -> QueueOptions:
    defaults = QueueOptions()
    batch_size = _number("batchSize", queues.get("batchSize", defaults.batch_size))
    return QueueOptions(
        queues.get("messageEncoding", defaults.message_encoding),
        time_span(queues.get("maxPollingInterval", "00:01:00")),
        time_span(queues.get("visibilityTimeout", "00:00:00")),
        batch_size,
        _number("newBatchThreshold", queues.get("newBatchThreshold", batch_size // 2)),
        _number("maxDequeueCount", queues.get("maxDequeueCount", defaults.max_dequeue_count)),
    )


def _number(name: str, value: object) -> int:
    try:
        return int(str(value))
    except ValueError:
        raise ConfigurationError(f"{name} in host.json: expected a number") from None


def _timeout(text: str | None) -> timedelta | None:
    if text is None:
        return DEFAULT_TIMEOUT
    return None if text == "-1" else time_span(text)


def _log_levels(levels: Mapping[str, str]) -> dict[str, int]:
    unknown = set(levels.values()) - set(LEVELS)
    if unknown:
        raise ConfigurationError(f"logLevel in host.json: expected {', '.join(LEVELS)}")
    return {category: LEVELS[level] for category, level in levels.items()}


def is_disabled(function: str, settings: Mapping[str, str]) -> bool:
    """Whether a setting disables the function."""
    return settings.get(f"AzureWebJobs.{function}.Disabled", "").lower() in ("true", "1")


def app_settings(directory: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment over the "Values" of local.settings.json in `directory`, if that file exists.

    Raises:
        ConfigurationError: the file is not a JSON object.
    """
    file = directory / "local.settings.json"
    if not file.exists():
        return dict(environment)
    try:
        values = json.loads(file.read_text()).get("Values", {})
    except json.JSONDecodeError as error:
        raise ConfigurationError(
            f"{file.name}: expected JSON, which line {error.lineno} is not. Correct it; `func` would overwrite the file"
        ) from None
    return {**values, **environment}


def setting(name: str, settings: Mapping[str, str], expected: str) -> str:
    """Return a required setting.

    Raises:
        ConfigurationError: the setting is missing or empty.
    """
    value = settings.get(name, "")
    if not value:
        raise ConfigurationError(f"{name}: expected {expected}")
    return value


def expand(text: str, settings: Mapping[str, str]) -> str:
    """Replace each %NAME% by the setting of that name.

    Raises:
        ConfigurationError: a setting does not exist.
    """
    return REFERENCE.sub(lambda found: setting(found[1], settings, "an app setting, named in a binding"), text)


def time_span(text: str) -> timedelta:
    """Read .NET's TimeSpan notation, [d.]hh:mm[:ss[.fffffff]].

    Raises:
        ConfigurationError: the text is not in that notation.
    """
    found = TIME_SPAN.fullmatch(text)
    if not found:
        raise ConfigurationError("expected a time span written hh:mm:ss")
    days, hours, minutes, seconds = found.groups(default="0")
    return timedelta(days=int(days), hours=int(hours), minutes=int(minutes), seconds=float(seconds))
