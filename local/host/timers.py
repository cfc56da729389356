"""Timer functions: schedules in NCRONTAB or as an interval, one run at a time.

The host in Azure keeps one timer over all instances through a blob lease and remembers the last run; there is one
process here and nothing to catch up with.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta

from azure.functions.timer import TimerRequest
from croniter import croniter

from local.host.configuration import ConfigurationError, time_span
from local.host.functions import Function
from local.host.worker import Worker, report_failure


def next_run(schedule: str, after: datetime) -> datetime:
    """Return the first time of `schedule` later than `after`.

    Raises:
        ConfigurationError: it is neither NCRONTAB of six fields nor an interval hh:mm:ss.
    """
    if croniter.is_valid(schedule, second_at_beginning=True) and len(schedule.split()) == 6:
        following: datetime = croniter(schedule, after, second_at_beginning=True).get_next(datetime)
        return following
    interval = time_span(schedule)
    if interval <= timedelta(0):
        raise ConfigurationError("expected an interval longer than nothing")
    return after + interval


class Timer:
    """One timer function and its schedule, settings filled in."""

    def __init__(
        self, function: Function, schedule: str, run_on_startup: bool, worker: Worker, clock: Callable[[], datetime]
    ) -> None:
        self.function = function
        self._schedule = schedule
        self._worker = worker
        self._clock = clock
        self._due = asyncio.Event()
        self._stopping = asyncio.Event()
        self._last: datetime | None = None
        if run_on_startup:
            self._due.set()

    def run_now(self) -> None:
        """Have it run at once, or right after the run that is under way."""
        self._due.set()

    def stop(self) -> None:
        """Begin no further run."""
        self._stopping.set()
        self._due.set()

    async def run(self) -> None:
        """Run it whenever it is due, until `stop`."""
        after = self._clock()
        while not self._stopping.is_set():
            following = next_run(self._schedule, after)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._due.wait(), (following - self._clock()).total_seconds())
            # The loop may wake a moment early: without the second date the same run would be due again.
            after = self._clock() if self._due.is_set() else max(self._clock(), following)
            self._due.clear()
            if not self._stopping.is_set():
                await self._fire()

    async def _fire(self) -> None:
        now = self._clock()
        status = {
            "Last": (self._last or now).isoformat(),
            "Next": next_run(self._schedule, now).isoformat(),
            "LastUpdated": now.isoformat(),
        }
        request = TimerRequest(past_due=False, schedule_status=status, schedule={"AdjustForDST": True})
        self._last = now
        try:
            await self._worker.call(self.function, request)
        except Exception as error:  # the host outlives whatever a function raises
            report_failure(self.function, error)
