"""What Graph lists compared with what was delivered: at intervals, and at once where a gap is suspected."""

import logging
from collections.abc import Container, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from shared.configuration.declaration import Declaration
from shared.messages.envelope import ReadbackPage, write
from shared.readback.checkpoints import Checkpoint, Checkpoints
from shared.readback.pages import can_read, read_by
from shared.resources.delta_query import delta_path
from shared.storage.queues import Queues

_log = logging.getLogger("graph_relay.sweep")

OVERLAP = timedelta(minutes=15)
"""By which one comparison reaches back into the one before."""

SETTLING = timedelta(minutes=5)
"""The last minutes, left to the next sweep as well: Graph lists some changes late, and a push may be on its way."""

PUSHED_WITHIN = timedelta(hours=4)
"""How long Graph tries to deliver (docs/graph.md, "Retries"): what is older and was not pushed, will not be."""


@dataclass(frozen=True)
class Sweep:
    """Starts comparisons, by enqueueing what is to be read back. `interval` 0: only where a gap is suspected."""

    checkpoints: Checkpoints
    queues: Queues
    interval: timedelta

    def start(self, declarations: Iterable[Declaration], failing: Container[str], now: datetime) -> int:
        """Start what is due and return how many comparisons that was.

        `failing` holds the ids of declarations without a subscription: theirs wait, since the gap still grows.
        Interrupted anywhere, a comparison starts again: what is read twice is delivered once. Raises RetryLater.
        """
        known = self.checkpoints.all()
        started = 0
        for declaration in declarations:
            done = known.get(declaration.id)
            if done is None:
                self._begin(declaration, now)
                self.checkpoints.save(declaration.id, now, now)
            elif declaration.id in failing:
                continue
            elif self._is_due(done, now):
                self._compare(declaration, done, now)
                self.checkpoints.save(declaration.id, now - SETTLING, now)
                started += 1
            elif not self.interval and now - done.until > 2 * PUSHED_WITHIN and not done.due:
                self.checkpoints.save(declaration.id, now - PUSHED_WITHIN, now)
        return started

    def suspect_gap(self, declaration: Declaration, now: datetime) -> None:
        """Have a declaration compared at the next start. Called before anything is done about what is wrong, so that
        a crash in between loses no gap. Raises RetryLater.
        """
        self.checkpoints.suspect_gap(declaration.id, now)

    def _begin(self, declaration: Declaration, now: datetime) -> None:
        """Find where the first delta query will have to go on from: an empty range delivers nothing."""
        if delta_path(declaration.resource) is not None:
            self._enqueue(declaration, now, now, now)

    def _is_due(self, done: Checkpoint, now: datetime) -> bool:
        return done.due or (bool(self.interval) and now - done.until >= self.interval)

    def _compare(self, declaration: Declaration, done: Checkpoint, now: datetime) -> None:
        if not can_read(declaration.resource):
            _log.warning("%s can't be read back; what was missed of it stays missed", declaration.resource)
            return
        until = now if done.due else now - SETTLING
        since = min(done.until, until) - OVERLAP
        self._enqueue(declaration, since, until, now)
        _log.info("%s is compared with Graph from %s on", declaration.resource, since.isoformat(timespec="seconds"))

    def _enqueue(self, declaration: Declaration, since: datetime, until: datetime, now: datetime) -> None:
        self.queues.send(write(ReadbackPage(now, declaration.tenant_id, read_by(declaration), since, until)))
