"""The query options that reads of messages accept (docs/graph.md, "Reading back")."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from graph_simulator.clock import milliseconds, parse_iso
from graph_simulator.conversation import Entry, Message
from graph_simulator.refusal import bad_request

_BOUND = re.compile(r"(lastModifiedDateTime|createdDateTime)\s+(gt|lt)\s+(\S+?)(?=[\s)]|$)", re.IGNORECASE)
_SENDER = re.compile(r"from/(user/id|user/userIdentityType|application/applicationIdentityType)\s+eq\s+'([^']*)'")
_GLUE = re.compile(r"\b(and|or)\b|[()\s]", re.IGNORECASE)


@dataclass(frozen=True)
class Filter:
    """A range of time, both bounds exclusive and in milliseconds since 1970, and senders, any of whom matches."""

    property: str | None = None
    after: int | None = None
    before: int | None = None
    senders: tuple[tuple[str, str], ...] = ()

    def admits(self, entry: Entry) -> bool:
        """Whether a message passes."""
        moment = int(entry.message["id"]) if self.property == "createddatetime" else entry.changed
        return (
            (self.after is None or moment > self.after)
            and (self.before is None or moment < self.before)
            and (not self.senders or any(_is_from(entry.message, *sender) for sender in self.senders))
        )


def parse_filter(text: str, operators: Collection[str] = ("gt", "lt"), senders: bool = True) -> Filter:
    """Parse a `$filter`.

    Raises:
        Refusal: 400, this read does not accept a part of it.
    """
    bounds, from_whom = _BOUND.findall(text), _SENDER.findall(text)
    rest = _GLUE.sub("", _SENDER.sub("", _BOUND.sub("", text)))
    properties = {name.lower() for name, _, _ in bounds}
    if rest or len(properties) > 1 or (from_whom and not senders):
        raise bad_request("Invalid filter clause.", "BadRequest")
    limits: dict[str, int] = {}
    for _, operator, moment in bounds:
        if operator.lower() not in operators or operator.lower() in limits:
            raise bad_request(f"The operator '{operator}' is not supported here.", "BadRequest")
        try:
            limits[operator.lower()] = milliseconds(parse_iso(moment))
        except (ValueError, OverflowError) as error:
            raise bad_request(f"Invalid date-time in filter: {moment}", "BadRequest") from error
    return Filter(next(iter(properties), None), limits.get("gt"), limits.get("lt"), tuple(from_whom))


def page_size(options: Mapping[str, str], default: int, most: int) -> int:
    """Parse `$top`.

    Raises:
        Refusal: 400, it is not a number from 1 to `most`.
    """
    text = options.get("$top")
    if text is None:
        return default
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= most:
        raise bad_request(
            f"The limit of '{most}' for Top query has been exceeded or is invalid: '{text}'.", "BadRequest"
        )
    return int(text)


def only(options: Mapping[str, str], *allowed: str) -> None:
    """Refuse (400) every query option that a call does not accept."""
    for name in options:
        if name.startswith("$") and name not in allowed:
            raise bad_request(f"Query option '{name}' is not allowed.", "BadRequest")


def _is_from(message: Message, what: str, value: str) -> bool:
    sender = message["from"] or {}
    user, application = sender.get("user") or {}, sender.get("application") or {}
    found = {
        "user/id": user.get("id"),
        "user/userIdentityType": user.get("userIdentityType"),
        "application/applicationIdentityType": application.get("applicationIdentityType"),
    }
    return bool(found[what] == value)
