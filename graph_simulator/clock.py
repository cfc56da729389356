"""Virtual time: it runs as fast as real time and can be advanced, so that hours pass in a test within milliseconds."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta


def real_time() -> datetime:
    """Return the present moment, aware and in UTC."""
    return datetime.now(UTC)


class VirtualClock:
    """A clock that can be advanced, never set back; the simulator schedules everything by it.

    A call returns the present virtual time (aware, UTC). All waiting happens on one event loop.
    """

    def __init__(self, base: Callable[[], datetime] = real_time) -> None:
        self._base = base
        self._ahead = timedelta()
        self._waiters: set[asyncio.Event] = set()

    def __call__(self) -> datetime:
        return self._base() + self._ahead

    def advance(self, by: timedelta) -> None:
        """Advance the clock by `by`, and wake every waiting task.

        Raises:
            ValueError: `by` is negative.
        """
        if by < timedelta():
            raise ValueError("time cannot run backwards")
        self._ahead += by
        for waiter in self._waiters:
            waiter.set()

    async def wait_until(self, moment: datetime) -> None:
        """Return once the clock shows `moment` or later."""
        while self() < moment:
            await self.wait(asyncio.Event(), moment)

    async def wait(self, event: asyncio.Event, until: datetime | None) -> None:
        """Return when `event` is set or at `until`; earlier if the clock is advanced, which sets `event` too."""
        left = None if until is None else max(0.0, (until - self()).total_seconds())
        self._waiters.add(event)
        try:
            async with asyncio.timeout(left):
                await event.wait()
        except TimeoutError:
            return
        finally:
            self._waiters.discard(event)


def milliseconds(moment: datetime) -> int:
    """Return milliseconds since 1970, rounded down."""
    return int((moment - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(milliseconds=1))


def iso(moment: datetime) -> str:
    """Write a time as Graph does: UTC, `Z`, up to seven fraction digits without trailing zeros."""
    text = moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f").rstrip("0").rstrip(".")
    return text + "Z"


def iso_of_milliseconds(value: int) -> str:
    """Write milliseconds since 1970 as Graph writes a time."""
    return iso(datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=value))


def parse_iso(text: str) -> datetime:
    """Read a date-time with `Z` or an offset and up to seven fraction digits; the seventh is dropped.

    Raises:
        ValueError: the text is not a date-time with a zone.
    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None or "T" not in text.upper():
        raise ValueError("expected a date-time with a time zone")
    return moment.astimezone(UTC)
