"""Starts comparisons of Graph's lists with the delivered events: at intervals, and at once if a gap is suspected."""

import logging
from collections.abc import Container, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from shared import deadline
from shared.configuration.declaration import Declaration
from shared.log_lines import log_first
from shared.messages.envelope import write
from shared.readback.checkpoints import Checkpoint, Checkpoints
from shared.readback.declared import is_pinged
from shared.readback.delta import OVERLAP
from shared.readback.pages import page_of, unreadable
from shared.resources.delta_query import keeps_link
from shared.storage.queues import Sender

_log = logging.getLogger("graph_relay.sweep")

SETTLING_TIME = timedelta(minutes=5)
"""The last minutes are left to the next sweep: Graph lists some changes late, and a notification may be in transit."""

LINK_REFRESH = timedelta(days=1)
"""An unused delta link expires: those of the directory after 7 days (docs/graph.md, "Delta queries")."""

HURRY_INTERVAL = timedelta(minutes=10)
"""Minimum time between two comparisons of a declaration because of suspected gaps: only a clientState proves such a
notification, and a comparison may take a request for each user of the tenant."""

PUSHED_WITHIN = timedelta(hours=4)
"""How long Graph tries to deliver (docs/graph.md, "Retries"): older changes will not be pushed any more."""


_SAVED_TOGETHER = 100
"""Checkpoints of one table transaction."""


@dataclass(frozen=True)
class Sweep:
    """Starts comparisons by enqueueing pages to read back. interval: 0 means only if a gap is suspected."""

    checkpoints: Checkpoints
    queues: Sender
    interval: timedelta

    def start(self, declarations: Iterable[Declaration], failing: Container[str], now: datetime) -> int:
        """Start the comparisons that are due and return their number.

        Suspected gaps come first, then the longest uncompared declarations. If the time of the invocation is over, the
        rest waits for the next one.

        failing: the ids of declarations without a subscription; they are skipped while the gap still grows. An
        interrupted comparison starts again: events read twice are delivered once. Declarations that can't be read back
        are never compared, and have no checkpoint. Raises RetryLater.
        """
        checkpoints, started, moved = self.checkpoints.all(), 0, dict[str, Checkpoint]()
        readable = [declaration for declaration in declarations if not unreadable(declaration)]
        for declaration in sorted(readable, key=lambda declaration: _urgency(checkpoints.get(declaration.id), now)):
            checkpoint = checkpoints.get(declaration.id)
            if checkpoint is None:
                self._begin(declaration, now)
                moved[declaration.id] = Checkpoint(now)
            elif declaration.id in failing:
                continue
            elif self._is_due(declaration, checkpoint, now):
                self._compare(declaration, checkpoint, now)
                moved[declaration.id] = Checkpoint(
                    now - SETTLING_TIME, hurried=now if checkpoint.due else checkpoint.hurried
                )
                started += 1
            elif not self.interval and now - checkpoint.until > 2 * PUSHED_WITHIN and not checkpoint.due:
                moved[declaration.id] = Checkpoint(now - PUSHED_WITHIN)
            if len(moved) == _SAVED_TOGETHER:
                self.checkpoints.save_all(moved, now)
                moved.clear()
                if deadline.left() <= timedelta(0):
                    _log.warning("This run is out of time; the next one starts the remaining comparisons")
                    break
        if moved:
            self.checkpoints.save_all(moved, now)
        return started

    def begin(self, declarations: Iterable[Declaration], now: datetime) -> None:
        """Compare changes from now on, regardless of earlier comparisons: there is no subscription yet. Raises
        RetryLater.
        """
        readable = [declaration for declaration in declarations if not unreadable(declaration)]
        for declaration in readable:
            self._begin(declaration, now)
        self.checkpoints.save_all({declaration.id: Checkpoint(now) for declaration in readable}, now)

    def suspect_gap(self, declaration: Declaration, now: datetime) -> None:
        """Mark a declaration for comparison at the next start. See `suspect_gaps`."""
        self.suspect_gaps([declaration], now)

    def suspect_gaps(self, declarations: Iterable[Declaration], now: datetime) -> None:
        """Mark declarations for comparison at the next start. Call it before the repair, so that a crash in between
        loses no gap. Raises RetryLater.
        """
        readable, others = [], list[tuple[object, ...]]()
        for declaration in declarations:
            if complaint := unreadable(declaration):
                others.append((declaration.resource, complaint))
            else:
                readable.append(declaration.id)
        log_first(_log, logging.WARNING, "%s can't be read back: %s. Missed changes stay missed", others)
        if readable:
            self.checkpoints.suspect_gaps(readable, now)

    def _begin(self, declaration: Declaration, now: datetime) -> None:
        """Enqueue the first delta query. The subscription may be a moment older: what changed since then is included,
        as in the first comparison of what has no delta query.

        Drives and lists have a link before they have a subscription (`FirstLinks`). Without it, their first query lists
        what changed: a link obtained now would omit what earlier notifications were about.
        """
        if keeps_link(declaration.resource) and not is_pinged(declaration):
            self._enqueue(declaration, now - OVERLAP, now - OVERLAP, now)

    def _is_due(self, declaration: Declaration, checkpoint: Checkpoint, now: datetime) -> bool:
        if checkpoint.due and (checkpoint.hurried is None or now - checkpoint.hurried >= HURRY_INTERVAL):
            return True
        interval = self.interval
        if keeps_link(declaration.resource):
            interval = min(interval or LINK_REFRESH, LINK_REFRESH)
        return bool(interval) and now - checkpoint.until >= interval

    def _compare(self, declaration: Declaration, checkpoint: Checkpoint, now: datetime) -> None:
        until = now if checkpoint.due else now - SETTLING_TIME
        since = min(checkpoint.until, until) - OVERLAP
        self._enqueue(declaration, since, until, now)
        _log.info("%s is compared with Graph from %s on", declaration.resource, since.isoformat(timespec="seconds"))

    def _enqueue(self, declaration: Declaration, since: datetime, until: datetime, now: datetime) -> None:
        self.queues.send(write(page_of(declaration, since, until, now)))


def _urgency(checkpoint: Checkpoint | None, now: datetime) -> tuple[bool, datetime]:
    return (checkpoint is None or not checkpoint.due), checkpoint.until if checkpoint else now
