"""Timer functions: schedules in NCRONTAB or as an interval, one run at a time.

The Functions host runs one timer over all hosts of an app, through the lease of a blob, and stores the last run in
another blob: a start catches up on missed runs. Here that takes AzureFunctionsWebHost__hostid, which identifies the
hosts of one app; without it each host runs the timers for itself.
"""

import asyncio
import json
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from azure.core.exceptions import AzureError, ResourceNotFoundError
from azure.storage.blob import BlobClient, BlobLeaseClient, ContainerClient

from local.host.calls import TimerCall
from local.host.configuration import ConfigurationError, time_span
from local.host.functions import Function
from local.host.log import FunctionFailed, Invocation, InvocationFailed
from local.host.ncrontab import parse
from local.host.storage import Account
from local.host.worker import Worker

log = logging.getLogger("Host.Triggers.Timer")

CONTAINER = "azure-webjobs-hosts"
HOST_ID_SETTING = "AzureFunctionsWebHost__hostid"
LEASE = 15  # seconds, the host's; the shortest that a blob may have
RENEW_AFTER = 5.0
ASK_AGAIN = 1.0  # seconds between attempts of a host without the lease to get it
NEVER = datetime.max.replace(tzinfo=UTC)

Schedule = Callable[[datetime], datetime]


def schedule_of(text: str) -> Schedule:
    """Return a function that gives the first time of a schedule after another; NEVER if there is none.

    Raises:
        ConfigurationError: the schedule is neither NCRONTAB of six fields nor an interval hh:mm:ss.
    """
    if " " in text:
        following = parse(text)
        return lambda after: following(after) or NEVER
    interval = time_span(text)
    if interval <= timedelta(0):
        raise ConfigurationError("expected an interval longer than nothing")
    return lambda after: after + interval


@dataclass(frozen=True)
class Shared:
    """What the hosts of one app share of a timer: a lock and the time of the last run, each in a blob."""

    lock: BlobClient
    status: BlobClient
    account: Account

    @classmethod
    def of(cls, function: str, host_id: str, container: ContainerClient, account: Account) -> "Shared":
        """Return the lock and last run of a function."""
        name = f"Host.Functions.{function}"
        return cls(
            container.get_blob_client(f"locks/{host_id}/{name}.Listener"),
            container.get_blob_client(f"timers/{host_id}/{name}/status"),
            account,
        )

    async def last_run(self) -> datetime | None:
        """Return the time of the last run; None if there was none."""
        try:
            download = await self.account.call(self.status.download_blob)
        except ResourceNotFoundError:
            return None
        return datetime.fromisoformat(json.loads(await self.account.call(download.readall))["Last"])

    async def ran(self, at: datetime) -> None:
        """Store the time of a run."""
        await self.account.call(self.status.upload_blob, json.dumps({"Last": at.isoformat()}), overwrite=True)

    async def acquire(self) -> BlobLeaseClient | None:
        """Return the lock, or None while another host has it."""
        with suppress(AzureError):  # the blob may exist, and be leased
            await self.account.call(self.lock.upload_blob, b"", overwrite=False)
        lease = BlobLeaseClient(self.lock)
        try:
            await self.account.call(lease.acquire, lease_duration=LEASE)
        except AzureError:
            return None
        return lease


class Timer:
    """One timer function and its schedule, settings expanded. `shared`: None for a single host."""

    def __init__(
        self,
        function: Function,
        schedule: Schedule,
        run_on_startup: bool,
        worker: Worker,
        clock: Callable[[], datetime],
        shared: Shared | None = None,
    ) -> None:
        self.function = function
        self._schedule = schedule
        self._worker = worker
        self._clock = clock
        self._shared = shared
        self._due = asyncio.Event()
        self._stopping = asyncio.Event()
        self._last: datetime | None = None
        self._held: BlobLeaseClient | None = None
        if run_on_startup:
            self._due.set()

    def run_now(self) -> None:
        """Run the function at once, or right after the current run."""
        self._due.set()

    def stop(self) -> None:
        """Start no further run."""
        self._stopping.set()
        self._due.set()

    async def run(self) -> None:
        """Run the function whenever it is due, until `stop`."""
        holding = asyncio.create_task(self._hold())
        try:
            await self._keep()
        finally:
            holding.cancel()
            if self._held and self._shared:
                with suppress(AzureError):
                    await self._shared.account.call(self._held.release)

    async def _keep(self) -> None:
        after = await self._resumed()
        while not self._stopping.is_set():
            following = self._schedule(after)
            await self._wait_for(following)
            # The loop may wake slightly early: without the second date the same run would be due again.
            by_hand = self._due.is_set()
            past_due = not by_hand and self._clock() - following > timedelta(seconds=1)
            after = self._clock() if by_hand else max(self._clock(), following)
            self._due.clear()
            if self._stopping.is_set():
                return
            if by_hand or not self._shared or self._held:
                await self._fire(past_due)
            else:
                after = max(after, await self._resumed())  # another host has the lock

    async def _resumed(self) -> datetime:
        """Return the time from which the next run is computed: that of the last run, or now."""
        if not self._shared:
            return self._clock()
        while not self._stopping.is_set() and not self._held:
            await asyncio.sleep(0.05)
        with suppress(AzureError):
            return await self._shared.last_run() or self._clock()
        return self._clock()

    async def _wait_for(self, following: datetime) -> None:
        """Wait until a run is due, by schedule or by request."""
        left = min((following - self._clock()).total_seconds(), timedelta(days=1).total_seconds())
        with suppress(TimeoutError):
            await asyncio.wait_for(self._due.wait(), max(left, 0))

    async def _hold(self) -> None:
        """Hold the lock, as soon as it is free."""
        if not self._shared:
            return
        renewed = 0.0
        while True:
            if self._held is None:
                self._held = await self._shared.acquire()
                renewed = time.monotonic()
            elif time.monotonic() - renewed > RENEW_AFTER:
                try:
                    await self._shared.account.call(self._held.renew)
                    renewed = time.monotonic()
                except AzureError:
                    log.warning("%s: the lock of its timer is lost", self.function.name)
                    self._held = None
            await asyncio.sleep(ASK_AGAIN)

    async def _fire(self, past_due: bool) -> None:
        now = self._clock()
        call = TimerCall(past_due, (self._last or now).isoformat(), self._schedule(now).isoformat())
        self._last = now
        invocation = Invocation(self.function.name, f"Timer fired at {now.isoformat()}")
        invocation.begin()
        try:
            await self._worker.call(self.function.name, call)
            invocation.succeed()
        except (FunctionFailed, InvocationFailed) as error:
            invocation.fail(error)
        if self._shared:
            try:
                await self._shared.ran(now)
            except AzureError:
                log.warning("%s: its last run can't be remembered", self.function.name)
