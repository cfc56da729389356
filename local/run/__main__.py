"""Run the whole system: `python -m local.run`, or with `--messages N` until all of them have arrived."""

import argparse
import fcntl
import os
import shutil
import socket
import sys
import time
import webbrowser
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx
from rich.console import Console
from rich.live import Live

from local import interruption
from local.child import ChildFailed
from local.feed.signature import Verifier
from local.host.core_tools import NoHost
from local.host.process import ROOT
from local.ports import free_ports
from local.run.comparison import differences
from local.run.faults import MachineFaults
from local.run.figures import Figures
from local.run.system import System, random_base64

PAGE_PORT = 8090
LOOK_EVERY = 1.0  # seconds
LINE_EVERY = 5.0  # seconds, where there is no terminal
PATIENCE = 180.0  # seconds that messages may take to arrive after the last was written
SHOWN = 20  # differences

console = Console(highlight=False)


def main(arguments: Sequence[str], directory: Path) -> int:
    """Run until Ctrl-C, or until all requested messages have arrived; return the exit code."""
    parser = argparse.ArgumentParser(prog="make run ARGS=", description=__doc__)
    parser.add_argument(
        "--messages", type=int, help=("number to write; then wait, compare, and end, with 0 if all arrived")
    )
    parser.add_argument("--rate", type=float, default=2, help="messages a second (2)")
    parser.add_argument("--port", type=int, help=f"port of the page ({PAGE_PORT}, or a free one if that is taken)")
    parser.add_argument(
        "--destination", type=address, help=("deliver to this URL, your own consumer, instead of the page")
    )
    parser.add_argument("--secret", type=secret, help="whsec_… that signs for --destination; without it one is created")
    parser.add_argument("--split", action="store_true", help="each function in a host of its own")
    parser.add_argument("--all-kinds", action="store_true", help="also mail, a calendar, a drive and a list")
    asked = parser.parse_args(arguments)
    if asked.rate <= 0 or (asked.messages is not None and asked.messages <= 0):
        parser.error("--messages and --rate: expected a number greater than 0")
    if asked.secret and not asked.destination:
        parser.error("--secret: expected together with --destination")
    if asked.port and not is_free(asked.port):
        parser.error(f"--port: {asked.port} is taken")
    port = asked.port or (PAGE_PORT if is_free(PAGE_PORT) else free_ports(1)[0])
    interruption.end_waits()
    try:
        with alone_in(directory):
            console.print(f"The page: http://127.0.0.1:{port}   (in a few seconds; Ctrl-C ends everything)")
            chosen = destination_settings(asked)
            with (
                System(directory, chosen, port, split=asked.split, all_kinds=asked.all_kinds) as system,
                ending_undisturbed(),
            ):
                return run(system, asked.rate, asked.messages, own_destination=asked.destination is not None)
    except KeyboardInterrupt:
        return 0 if asked.messages is None else 130
    except NoHost as failure:
        print(failure, file=sys.stderr)
        return 2
    except (ChildFailed, httpx.HTTPError, FileNotFoundError) as failure:
        console.print(f"[bold red]Failed:[/] {type(failure).__name__}")
        print(failure, flush=True)
        return 1
    finally:
        console.print(f"Ended. The logs are in {directory.name}/*.log")


def destination_settings(asked: argparse.Namespace) -> dict[str, str]:
    """Return the app's settings for a consumer of the user's own; print the secret that signs deliveries."""
    if asked.destination is None:
        return {}
    signed_with = asked.secret or f"whsec_{random_base64()}"
    console.print(f"Delivering to {asked.destination} instead of the page", markup=False)
    if asked.secret is None:
        console.print(f"Signed with DESTINATION_SECRET={signed_with}", markup=False, soft_wrap=True)
    return {"DESTINATION_URL": asked.destination, "DESTINATION_SECRET": signed_with}


def address(text: str) -> str:
    """Read a URL of the command line."""
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise argparse.ArgumentTypeError("expected a URL such as http://127.0.0.1:9000/events")
    if parts.scheme == "http" and parts.hostname not in {"127.0.0.1", "localhost", "::1"}:
        raise argparse.ArgumentTypeError("expected https; http is accepted for this machine only")
    return text


def secret(text: str) -> str:
    """Read a Standard Webhooks secret of the command line."""
    try:
        Verifier(text)
    except ValueError:
        raise argparse.ArgumentTypeError("expected whsec_ and base64") from None
    return text


def is_free(port: int) -> bool:
    """Return whether a server can listen on a port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError):
            return False
    return True


def run(system: System, rate: float, messages: int | None, *, own_destination: bool = False) -> int:
    """Generate messages and show the figures; return the exit code."""
    console.print("Everything runs; renew_timer creates the subscriptions.")
    settings = f"{system.directory.name}/local.settings.json"
    console.print("The operator's view, from another terminal:")
    console.print(f"    .venv/bin/python -m ops --settings {settings} status", soft_wrap=True)
    open_browser(system.feed_url)
    system.subscribe()
    system.tell_simulator("generate", rate=rate, messages=messages)
    faults = MachineFaults(system)
    try:
        with shown(f"The page: {system.feed_url}   (Ctrl-C ends everything)") as show:
            if messages is None:
                while True:
                    faults.apply()
                    show(look(system))
            wrong = watch(system, show, compare_with=None if own_destination else compare)
    except KeyboardInterrupt:
        console.print(Figures.of(system).table("At the end"))
        raise
    console.print(Figures.of(system).table("At the end"))
    return verdict(wrong, own_destination=own_destination)


def open_browser(url: str) -> None:
    """Open the page in a browser, if this is a terminal on a machine with a screen."""
    has_screen = sys.platform == "darwin" or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")))
    if console.is_terminal and has_screen:
        webbrowser.open(url)


def watch(
    system: System, show: Callable[[Figures], None], compare_with: Callable[[System], list[str]] | None
) -> list[str]:
    """Show figures until the feed matches the written messages twice in a row, or the time is over; return the
    differences.

    Without a comparison (the user's own destination has the messages): until nothing waits any more.
    """
    wrong, right_before, last_written = ["nothing was compared yet"], False, time.monotonic()
    while time.monotonic() - last_written < PATIENCE:
        figures = look(system)
        show(figures)
        if figures.generating:
            last_written = time.monotonic()
        elif figures.pending == 0:
            wrong = compare_with(system) if compare_with else still_waiting(figures)
            if not wrong and right_before:
                break
            right_before = not wrong
    return wrong


def look(system: System) -> Figures:
    """Wait briefly, check that all parts run, and return the figures.

    Raises:
        ChildFailed: a part has ended.
        KeyboardInterrupt: the user ends the run.
    """
    interruption.pause(LOOK_EVERY)
    system.change_other_kinds()
    if system.revive():
        console.print("A functions host has ended, as it does without storage, and is started again.")
    for child in system.children:
        if not child.running:
            raise ChildFailed(f"{child.name} has ended\n{child.tail()}")
    return Figures.of(system)


def compare(system: System) -> list[str]:
    """Return what is wrong with the feed's contents."""
    written = [
        line for name in ("messages", "resources") for line in system.lines(f"{system.simulator_url}/simulator/{name}")
    ]
    return differences(written, system.lines(f"{system.feed_url}/api/contents"))


def still_waiting(figures: Figures) -> list[str]:
    """Return why a run with the user's own destination is not finished."""
    waiting = [] if figures.queued == 0 else [f"{figures.queued} queue messages wait"]
    return waiting + [f"{count} dead letters: {reason}" for reason, count in figures.dead_lettered.items()]


def verdict(wrong: list[str], *, own_destination: bool = False) -> int:
    """Print whether all is right; return the exit code."""
    if not wrong and own_destination:
        console.print("[bold green]Everything was delivered; your destination answered 2xx to all of it.[/]")
        return 0
    if own_destination:
        console.print("[bold red]Not everything was delivered:[/]")
    if not wrong:
        console.print("[bold green]Every message is there, in its last version, exactly once.[/]")
        return 0
    if not own_destination:
        console.print(f"[bold red]{len(wrong)} messages differ from what was written:[/]")
    for line in sorted(wrong)[:SHOWN]:
        console.print(f"  {line}", markup=False)
    return 1


@contextmanager
def shown(title: str) -> Iterator[Callable[[Figures], None]]:
    """Yield a function that shows figures: a live table on a terminal, otherwise occasional lines."""
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
    directory.mkdir(mode=0o700, exist_ok=True)
    directory.chmod(0o700)  # it holds secrets and people's messages
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


@contextmanager
def ending_undisturbed() -> Iterator[None]:
    """Ignore a second Ctrl-C after the block: it must not leave parts running."""
    try:
        yield
    finally:
        interruption.ignore()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], ROOT / ".run"))
