"""The destinations: who receives which events, and how. docs/destinations.md explains each field.

DESTINATION_URL and its companions describe the destination named `default`; DESTINATIONS, a JSON list, describes
further ones. A field has the same meaning and the same parser in both.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any

import msgspec

from shared.configuration import values
from shared.configuration.in_blob import BlobAddress, blob_address
from shared.configuration.values import APP_ROOT, KEY_VAULT_REFERENCE, UNRESOLVED, InvalidValue

DEFAULT = "default"
"""The name of the destination that DESTINATION_URL describes. Its ledger rows are those of version 0.1."""

REQUIRED = object()

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
_SETTING = re.compile(r"%([A-Za-z0-9_]+)%")
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_OURS = re.compile(
    r"(?i)webhook-.*|ce-.*|host|connection|content-length|content-encoding|transfer-encoding|te|upgrade|expect"
)
"""Headers that the app or HTTP itself sets."""


class Mode(StrEnum):
    """How events travel in an HTTP request: the content modes of the CloudEvents HTTP binding."""

    BATCH = "batch"
    STRUCTURED = "structured"
    BINARY = "binary"


class Identity(StrEnum):
    """Whose token is requested for DESTINATION_SCOPE: the app registration's, or the managed identity's."""

    APP = "app"
    MANAGED = "managed"


@dataclass(frozen=True)
class EventFilter:
    """The events that a destination receives; an empty field selects all.

    resources: the beginnings of subjects, such as `chats` or `teams/*/channels`; `*` matches one segment. types: types
    of events; `*` matches any characters. tenants: tenant ids, lower case.
    """

    resources: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    tenants: tuple[str, ...] = ()

    def selects(self, subject: str, type_: str, tenant: str) -> bool:
        """Whether the destination receives an event of a tenant."""
        return (
            (not self.tenants or tenant.lower() in self.tenants)
            and (not self.types or any(fnmatchcase(type_, pattern) for pattern in self.types))
            and (not self.resources or any(pattern.match(subject) for pattern in self._patterns))
        )

    @cached_property
    def _patterns(self) -> list[re.Pattern[str]]:
        return [_beginning(resource) for resource in self.resources]


def _beginning(resource: str) -> re.Pattern[str]:
    segments = ("[^/]+" if segment == "*" else re.escape(segment) for segment in resource.split("/"))
    return re.compile(f"(?i){'/'.join(segments)}(/|$)")


@dataclass(frozen=True, kw_only=True)
class DestinationSettings:
    """One destination. docs/destinations.md explains each field.

    max_rate: events a second, per instance; None: no limit. invalid: the complaint about the entry, if any; its events
    are then kept until it is corrected.
    """

    name: str = DEFAULT
    url: str = ""
    secrets: tuple[str, ...] = field(default=(), repr=False)
    scope: str | None = None
    identity: Identity = Identity.APP
    mode: Mode = Mode.BATCH
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    max_events: int = 100
    max_bytes: int = 1_000_000
    max_requests: int = 8
    max_rate: float | None = None
    ca: str | None = None
    client_certificate: str | None = None
    filter: EventFilter = EventFilter()
    invalid: str = ""


@dataclass(frozen=True)
class Field:
    """A field of a destination: its name in DESTINATIONS, the attribute above, and the setting of the default one."""

    name: str
    attribute: str
    setting: str
    parse: Callable[[str], Any]
    default: Any = None


def mode(text: str) -> Mode:
    """One of the content modes."""
    if text not in set(Mode):
        raise InvalidValue(f"expected one of {', '.join(Mode)}")
    return Mode(text)


def identity(text: str) -> Identity:
    """Whose token is sent."""
    if text not in set(Identity):
        raise InvalidValue(f"expected one of {', '.join(Identity)}")
    return Identity(text)


def headers(text: str) -> dict[str, str]:
    """A JSON object of HTTP headers."""
    expected = 'expected a JSON object of HTTP headers, such as {"x-api-key": "…"}'
    try:
        found = msgspec.json.decode(text, type=dict[str, str])
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        raise InvalidValue(expected) from None
    for number, (name, value) in enumerate(found.items(), start=1):
        if not _TOKEN.fullmatch(name) or not value.isascii() or not value.isprintable() or value != value.strip():
            raise InvalidValue(f"header {number}: {expected}, in printable ASCII")
        if _OURS.fullmatch(name):
            raise InvalidValue(f"header {number}: expected a header that the app does not set itself")
    return found


FIELDS = (
    Field("url", "url", "DESTINATION_URL", values.destination_url, REQUIRED),
    Field("secret", "secrets", "DESTINATION_SECRET", values.destination_secrets, ()),
    Field("scope", "scope", "DESTINATION_SCOPE", values.scope),
    Field("identity", "identity", "DESTINATION_IDENTITY", identity, Identity.APP),
    Field("mode", "mode", "DESTINATION_MODE", mode, Mode.BATCH),
    Field("headers", "headers", "DESTINATION_HEADERS", headers, {}),
    Field("maxEvents", "max_events", "DESTINATION_MAX_EVENTS", values.count, 100),
    Field("maxBytes", "max_bytes", "DESTINATION_MAX_BYTES", values.count, 1_000_000),
    Field("maxRequests", "max_requests", "DESTINATION_MAX_REQUESTS", values.count, 8),
    Field("maxRate", "max_rate", "DESTINATION_MAX_RATE", values.positive),
    Field("ca", "ca", "DESTINATION_CA", values.path_of_certificates),
    Field(
        "clientCertificate", "client_certificate", "DESTINATION_CLIENT_CERTIFICATE", values.path_of_certificate_and_key
    ),
)
"""The fields that DESTINATIONS and the settings of the default destination share."""

MISSING_SECRET = f"missing; {values.DESTINATION_SECRETS}, unless a scope or a header proves to it who sends"


def unproven(read: Mapping[str, Any]) -> bool:
    """Whether nothing authenticates the sender to the destination: no secret, no scope, no header."""
    return not read.get("secrets") and not read.get("scope") and not read.get("headers")


def _resources(entries: Iterable[str]) -> tuple[str, ...]:
    found = tuple(entry.strip("/") for entry in entries)
    for entry in found:
        if not entry or "getallmessages" in entry.lower() or "(" in entry:
            raise InvalidValue(
                "resources: expected the beginnings of subjects, such as chats, teams/*/channels or users/ID/messages"
            )
    return found


def _types(entries: Iterable[str]) -> tuple[str, ...]:
    found = tuple(entries)
    if not all(re.fullmatch(r"[A-Za-z0-9.*]+", entry) for entry in found):
        raise InvalidValue("types: expected types of events, such as Microsoft.Graph.ChatMessage*")
    return found


def _tenants(entries: Iterable[str]) -> tuple[str, ...]:
    try:
        return tuple(values.guid(entry) for entry in entries)
    except InvalidValue as error:
        raise InvalidValue(f"tenants: {error}") from None


_FILTERS = {"resources": _resources, "types": _types, "tenants": _tenants}
KNOWN = {"name", *_FILTERS, *(field.name for field in FIELDS)}


@dataclass(frozen=True)
class Destinations:
    """All destinations, by name, in order; and complaints about entries of DESTINATIONS, with their number."""

    by_name: Mapping[str, DestinationSettings]
    complaints: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[DestinationSettings]:
        return iter(self.by_name.values())

    def __len__(self) -> int:
        return len(self.by_name)


_EXPECTED = (
    "expected a JSON list of destinations, the path of a readable file that holds one, or the https:// address of a "
    "blob that does"
)


def read_entries(text: str) -> list[dict[str, Any]] | BlobAddress:
    """Read DESTINATIONS: a JSON list of objects, the path of a file that holds one, or the address of a blob that does.

    Raises InvalidValue.
    """
    if (address := blob_address(text)) is not None:
        return address
    if not text.startswith("["):
        try:
            text = (APP_ROOT / text).read_text(encoding="utf-8")
        except (OSError, ValueError):
            raise InvalidValue(_EXPECTED) from None
    return decode_entries(text)


def decode_entries(text: str) -> list[dict[str, Any]]:
    """Read a JSON list of objects. Raises InvalidValue."""
    try:
        return msgspec.json.decode(text, type=list[dict[str, Any]])
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        raise InvalidValue(f"{_EXPECTED}; each is an object") from None


def with_entries(
    default: DestinationSettings | None, entries: Iterable[Mapping[str, Any]], environ: Mapping[str, str]
) -> Destinations:
    """Return the default destination, if there is one, and those of `entries`.

    An entry whose name is usable but which is invalid otherwise stays in the list, marked, so that its events are kept.
    """
    found = {} if default is None else {default.name: default}
    complaints = []
    for number, entry in enumerate(entries, start=1):
        name = entry.get("name")
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            complaints.append(f"destination {number}: name: expected lower-case letters, digits and dashes, at most 40")
        elif name in found:
            complaints.append(f"destination {number}: name: another destination is called {name}")
        else:
            found[name] = _read_entry(name, entry, environ)
            if found[name].invalid:
                complaints.append(f"destination {number} ({name}): {found[name].invalid}")
    return Destinations(found, tuple(complaints))


def _read_entry(name: str, entry: Mapping[str, Any], environ: Mapping[str, str]) -> DestinationSettings:
    wrong = [f"{key[:40]!r}: no field of a destination" for key in entry if key not in KNOWN]
    read: dict[str, Any] = {}
    for member in FIELDS:
        try:
            read[member.attribute] = _value(member, entry.get(member.name), environ)
        except InvalidValue as error:
            wrong.append(f"{member.name}: {error}")
    if "secrets" in read and unproven(read):
        wrong.append(f"secret: {MISSING_SECRET}")
    selected: dict[str, tuple[str, ...]] = {}
    for key, parse in _FILTERS.items():
        try:
            selected[key] = parse(_strings(key, entry.get(key)))
        except InvalidValue as error:
            wrong.append(str(error))
    whole = len(selected) == len(_FILTERS)  # part of a filter would lose events
    return DestinationSettings(
        name=name, filter=EventFilter(**selected) if whole else EventFilter(), invalid="; ".join(wrong), **read
    )


def _value(member: Field, given: Any, environ: Mapping[str, str]) -> Any:
    """Return a field's value. A text `%NAME%` stands for the setting NAME, in a header's value too."""
    if given is None or given == "":
        if member.default is REQUIRED:
            raise InvalidValue("missing")
        return member.default
    if isinstance(given, Mapping):
        given = {key: _setting(value, environ) if isinstance(value, str) else value for key, value in given.items()}
    elif isinstance(given, str):
        given = _setting(given, environ)
    if isinstance(given, bool):
        raise InvalidValue("true and false are not valid here")
    return member.parse(given if isinstance(given, str) else msgspec.json.encode(given).decode())


def _setting(text: str, environ: Mapping[str, str]) -> str:
    named = _SETTING.fullmatch(text)
    if named is None:
        return text
    value = environ.get(named[1], "").strip()
    if not value:
        raise InvalidValue(f"the setting {named[1]} is missing")
    if value.startswith(KEY_VAULT_REFERENCE):
        raise InvalidValue(f"the setting {named[1]}: {UNRESOLVED}")
    return value


def _strings(key: str, given: Any) -> list[str]:
    if given is None:
        return []
    if not isinstance(given, list) or not all(isinstance(text, str) for text in given):
        raise InvalidValue(f"{key}: expected a list of texts")
    return given
