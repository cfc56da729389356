"""Reads of resources: single, by time, by delta query (docs/graph.md, "Reading back", "Delta queries")."""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any

import msgspec

from graph_simulator.clock import parse_iso
from graph_simulator.paging import Pager
from graph_simulator.query import only, page_size
from graph_simulator.refusal import Refusal, bad_request, not_found
from graph_simulator.resource_store import Fields, ResourceStore, StoredResource, selected

Options = Mapping[str, str]

_RANGE = re.compile(r"lastModifiedDateTime\s+(ge|le|gt|lt)\s+(\S+?)(?=[\s)]|$)", re.IGNORECASE)
_EQUALS = re.compile(r"\(?(\w+) eq (?:'([^']*)'|(true|false))\)?", re.IGNORECASE)
_LARGEST_PAGE = 1_000


class ResourceReads:
    """The reads of one tenant's resources. lag: the age of a change when every replica has it; draws: chance of a
    lagging replica. immutable: whether the caller asked for immutable ids. short_lists: whether the first round of a
    delta query leaves out every second entry.
    """

    def __init__(
        self, resource_store: ResourceStore, pager: Pager, clock: Callable[[], datetime], lag: timedelta,
        draws: Callable[[], bool], *, immutable: bool, short_lists: bool = False,
    ) -> None:  # fmt: skip
        self._holdings = resource_store
        self._pager = pager
        self._clock = clock
        self._lag = lag
        self._draws = draws
        self._immutable = immutable
        self._short_lists = short_lists

    def has(self, type_name: str, owner: str, shown_id: str) -> bool:
        """Whether there is, or was, such a resource."""
        return self._holdings.find(type_name, owner, shown_id) is not None

    def one(self, type_name: str, owner: str, shown_id: str, options: Options, container: str | None = None) -> Fields:
        """Return one resource, in the state of a replica.

        Raises:
            Refusal: 404.
        """
        only(options, "$select", "$expand")
        found = self._holdings.find(type_name, owner, shown_id)
        if found is not None and self._clock() - found.at < self._lag and self._draws():
            found = self._holdings.before(found)
        if found is None or found.fields is None or container not in (None, found.container):
            raise not_found("The specified object was not found in the store.")
        return self._shown(found, options)

    def by_time(self, type_name: str, owner: str, container: str | None, options: Options, link: str) -> Fields:
        """Return the content of a list, filtered by its last change and by members."""
        if "$skiptoken" in options:
            return self._pager.next_page(options["$skiptoken"])
        only(options, "$top", "$filter", "$select", "$orderby")
        admits = _condition(options.get("$filter", ""))
        found = [
            self._shown(stored, options)
            for stored in self._holdings.among(type_name, owner, container)
            if stored.fields is not None and admits(stored.fields)
        ]
        return self._pager.page(link, found, page_size(options, 10, _LARGEST_PAGE))

    def delta(
        self, type_name: str, owner: str, container: str | None, options: Options, link: str, latest: str = ""
    ) -> Fields:
        """Return the changes since the last round. latest: the option to start from now, "" if there is none."""
        if "$skiptoken" in options:
            return self._pager.next_page(options["$skiptoken"])
        token = options.get("$deltatoken") or options.get("token")
        if token == "latest":  # noqa: S105 - Graph's word, no secret
            if not options.keys() & {latest}:
                raise bad_request("The token 'latest' is not supported here.", "BadRequest")
            return self._pager.page(link, [], 1, self._holdings.sequence, dict(options))
        start = self._pager.delta_start(token) if token else None
        first = {**(start.options if start else options)}
        only(first, "$select", "$top", "$deltatoken")
        since = start.since or 0 if start else 0
        changed = [
            self._shown(stored, first)
            for stored in self._holdings.among(type_name, owner, container, since)
            if start or stored.fields is not None
        ]
        if self._short_lists and not start:
            changed = changed[::2]
        return self._pager.page(link, changed, page_size(first, 200, _LARGEST_PAGE), self._holdings.sequence, first)

    def calendar_view_delta(
        self, owner: str, calendar: str, options: Options, link: str, *, tells_of_others: bool
    ) -> Fields:
        """Return the changed events of a range of dates since the last round.

        tells_of_others: events outside the range that were changed or deleted come as removed (/graph/api/event-delta,
        "Response": "may").

        Raises:
            Refusal: 400, the range is missing, or there is an OData option.
        """
        if "$skiptoken" in options:
            return self._pager.next_page(options["$skiptoken"])
        start = self._pager.delta_start(options["$deltatoken"]) if "$deltatoken" in options else None
        first = {name.lower(): value for name, value in (start.options if start else options).items()}
        only(first)
        begins, ends = (_date_time(first, name) for name in ("startdatetime", "enddatetime"))
        entries = []
        for event in self._holdings.among("event", owner, calendar, (start.since or 0) if start else 0):
            if event.fields is not None and begins <= _start_of(event.fields) < ends:
                entries.append(self._shown(event, {}))
            elif start and (tells_of_others or self._was_within(event, begins, ends)):
                entries.append(self._shown(replace(event, fields=None), {}))
        return self._pager.page(link, entries, 50, self._holdings.sequence, first)

    def _was_within(self, event: StoredResource, begins: datetime, ends: datetime) -> bool:
        before = self._holdings.before(event)
        return before is not None and before.fields is not None and begins <= _start_of(before.fields) < ends

    def _shown(self, stored: StoredResource, options: Options) -> dict[str, Any]:
        text = selected(stored.shown(immutable=self._immutable), options.get("$select"))
        return msgspec.json.decode(text, type=dict[str, Any])


def _date_time(options: Options, name: str) -> datetime:
    try:
        return _in_utc(options[name])
    except (KeyError, ValueError):
        message = f"This request requires a time window specified by the query string parameter {name}."
        raise bad_request(message, "ErrorInvalidParameter") from None


def _start_of(event: Fields) -> datetime:
    """Return when an event begins; without a date, the time of its creation."""
    return _in_utc(str((event.get("start") or {}).get("dateTime") or event["createdDateTime"]))


def _in_utc(text: str) -> datetime:
    """Parse a date-time of a calendar; without a time zone it is in UTC."""
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _condition(text: str) -> Callable[[Fields], bool]:
    """Parse a `$filter`: a range of the last change, and members that equal values, joined by `and`.

    Raises:
        Refusal: 400, the filter holds anything else.
    """
    bounds, equal = _RANGE.findall(text), _EQUALS.findall(_RANGE.sub("", text))
    rest = re.sub(r"\band\b|[()\s]", "", _EQUALS.sub("", _RANGE.sub("", text)))
    if rest:
        raise Refusal(HTTPStatus.BAD_REQUEST, "ErrorInvalidUrlQueryFilter", f"The query filter is invalid: {rest}.")

    def admits(fields: Fields) -> bool:
        changed = parse_iso(str(fields["lastModifiedDateTime"]))
        compare = {"ge": changed.__ge__, "le": changed.__le__, "gt": changed.__gt__, "lt": changed.__lt__}
        return all(compare[operator.lower()](parse_iso(moment)) for operator, moment in bounds) and all(
            fields.get(name) == (value if not word else word.lower() == "true") for name, value, word in equal
        )

    return admits
