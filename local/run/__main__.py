"""Run the whole system: `python -m local.run`, or with `--messages N` until all of them have arrived."""

import argparse
import fcntl
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import httpx
from rich.console import Console
from rich.live import Live

from local.child import ChildFailed
from local.host.process import ROOT
from local.run.comparison import differences
from local.run.figures import Figures
from local.run.system import System

LOOK_EVERY = 1.0  # seconds
LINE_EVERY = 5.0  # seconds, where there is no terminal
PATIENCE = 180.0  # seconds that messages may take to arrive after the last was written
SHOWN = 20  # differences

console = Console(highlight=False)


def main(arguments: Sequence[str], directory: Path) -> int:
    """Run until Ctrl-C, or until what was asked for has happened; return the exit code."""
    parser = argparse.ArgumentParser(prog="make run ARGS=", description=__doc__)
    parser.add_argument("--messages", type=int, help="write so many, wait, compare, and end; 0 if all is right")
    parser.add_argument("--rate", type=float, default=2, help="messages a second (2)")
    asked = parser.parse_args(arguments)
    if asked.rate <= 0 or (asked.messages is not None and asked.messages <= 0):
        parser.error("--messages and --rate: expected a number greater than 0")
    # A shell that starts us in the background has us ignore Ctrl-C.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)
    try:
        with alone_in(directory), System(directory) as system:
            try:
                return run(system, asked.rate, asked.messages)
            finally:
                for number in (signal.SIGINT, signal.SIGTERM):
                    signal.signal(number, signal.SIG_IGN)  # impatience must not leave parts running
    except KeyboardInterrupt:
        return 0 if asked.messages is None else 130
    except (ChildFailed, httpx.HTTPError) as failure:
        console.print(f"[bold red]Failed:[/] {type(failure).__name__}")
        print(failure, flush=True)
        return 1
    finally:
        console.print(f"Ended. What each part said is in {directory.name}/*.log")


def run(system: System, rate: float, messages: int | None) -> int:
    """Let messages flow and show what happens; return the exit code."""
    title = f"Feed: {system.feed_url}   (Ctrl-C ends everything)"
    console.print("All parts are up; renew_timer is making the subscriptions.")
    settings = f"{system.directory.name}/local.settings.json"
    console.print(f"The operator's view, from another terminal: .venv/bin/python -m ops --settings {settings} status")
    system.subscribe()
    system.tell_simulator("generate", rate=rate, messages=messages)
    with shown(title) as show:
        if messages is None:
            while True:
                show(look(system))
        wrong = watch(system, show)
    console.print(Figures.of(system).table("At the end"))
    return verdict(wrong)


def watch(system: System, show: Callable[[Figures], None]) -> list[str]:
    """Show figures until the feed holds what was written, twice in a row, or time is over; return what differs."""
    wrong, right_before, last_written = ["nothing was compared yet"], False, time.monotonic()
    while time.monotonic() - last_written < PATIENCE:
        figures = look(system)
        show(figures)
        if figures.generating:
            last_written = time.monotonic()
        elif figures.pending == 0:
            wrong = compare(system)
            if not wrong and right_before:
                break
            right_before = not wrong
    return wrong


def look(system: System) -> Figures:
    """Wait a moment, make sure that nobody has died, and return the figures.

    Raises:
        ChildFailed: a part has ended.
    """
    time.sleep(LOOK_EVERY)
    for child in system.children:
        if not child.running:
            raise ChildFailed(f"{child.name} has ended\n{child.tail()}")
    return Figures.of(system)


def compare(system: System) -> list[str]:
    """Return what is wrong with the feed's contents."""
    written = system.lines(f"{system.simulator_url}/simulator/messages")
    return differences(written, system.lines(f"{system.feed_url}/api/contents"))


def verdict(wrong: list[str]) -> int:
    """Print whether all is right; return the exit code."""
    if not wrong:
        console.print("[bold green]Every message is there, in its last version, exactly once.[/]")
        return 0
    console.print(f"[bold red]{len(wrong)} messages are not as they were written:[/]")
    for line in sorted(wrong)[:SHOWN]:
        console.print(f"  {line}", markup=False)
    return 1


@contextmanager
def shown(title: str) -> Iterator[Callable[[Figures], None]]:
    """Give a way to show figures: a live table on a terminal, else a line now and then."""
    if not console.is_terminal:
        console.print(title, markup=False)
        printed = [0.0]

        def show_line(figures: Figures) -> None:
            if time.monotonic() - printed[0] >= LINE_EVERY:
                printed[0] = time.monotonic()
                print(figures.line(), flush=True)

        yield show_line
        return
    with Live(console=console, auto_refresh=False, transient=True) as live:
        yield lambda figures: live.update(figures.table(title), refresh=True)


@contextmanager
def alone_in(directory: Path) -> Iterator[None]:
    """Empty the directory for this run, unless another run is using it."""
    directory.mkdir(exist_ok=True)
    with (directory / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.exit(f"Another run is using {directory.name}/; end it first")
        for left_over in directory.iterdir():
            if left_over.is_dir():
                shutil.rmtree(left_over)
            elif left_over.name != "lock":
                left_over.unlink()
        yield


def interrupt(_: int, __: FrameType | None) -> None:
    """End as Ctrl-C does."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], ROOT / ".run"))
