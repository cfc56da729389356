"""Times and spans as typed: `2026-11-23T10:00Z`, `2026-11-23`, or `36h` for a time that long ago."""

import re
from datetime import UTC, datetime, timedelta

import click

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


class Span(click.ParamType[timedelta]):
    """A span of time: a whole number and s, m, h, d or w."""

    name = "span"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        """Read a span; a usage error for anything else."""
        span = _span(str(value))
        if span is None:
            self.fail("expected a duration such as 90s, 30m, 12h, 2d or 1w", param, ctx)
        return span


class Moment(click.ParamType[datetime]):
    """A time, UTC without an offset, or a span before now."""

    name = "time"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Read a time; a usage error for anything else."""
        if isinstance(value, datetime):
            return value
        span = _span(str(value))
        try:
            if span is not None:
                return datetime.now(UTC) - span
            moment = datetime.fromisoformat(str(value))
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
        except (ValueError, OverflowError):
            self.fail("expected a time such as 2026-11-23T10:00Z, or a duration before now such as 36h", param, ctx)


def _span(text: str) -> timedelta | None:
    found = re.fullmatch(r"([0-9]{1,6})([smhdw])", text)
    return timedelta(**{_UNITS[found[2]]: int(found[1])}) if found else None
