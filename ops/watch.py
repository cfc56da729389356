"""`watch`: the status, live."""

import signal
import time
from contextlib import suppress
from datetime import timedelta

import click
from rich.console import Group
from rich.live import Live

from ops.report import as_json, console, rendered, show
from ops.status import Status, StatusFilter, filtered, read_status, wanted
from ops.subscription_state import Listed, listed
from shared.relay import utc_now

GRAPH_EVERY = timedelta(minutes=1)
"""Graph limits how often subscriptions may be listed, and the app lists them too."""

_SHARE = 10
"""Share of the time that listing may take."""


class StatusWatcher:
    """Reads the state repeatedly, from Graph less often."""

    def __init__(self, choice: StatusFilter) -> None:
        self._choice = choice
        self._known: Listed | None = None
        self._next = utc_now()

    def read_status(self) -> Status:
        """Return the current state. Raises SettingsError."""
        now = utc_now()
        if self._known is None or now >= self._next:
            self._known = listed()
            self._next = utc_now() + max(GRAPH_EVERY, _SHARE * (utc_now() - now))
        return read_status(self._known, self._choice)


@click.command()
@click.option(
    "--every", default=2.0, type=click.FloatRange(min=0.5), help="Seconds between refreshes.", show_default=True
)
@filtered
@as_json
def watch(every: float, resource: str, states: tuple[str, ...], *, show_all: bool, as_json: bool) -> None:
    """Show the status live, until Ctrl-C. With --json: a line each time."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have disabled it
    watching, out = StatusWatcher(wanted(resource, states, show_all=show_all)), console()
    with suppress(KeyboardInterrupt):
        if as_json or not out.is_terminal:
            while True:
                show(watching.read_status(), as_json=as_json)
                time.sleep(every)
        with Live(console=out, auto_refresh=False, screen=True) as live:
            while True:
                live.update(Group(*rendered(watching.read_status())), refresh=True)
                time.sleep(every)
