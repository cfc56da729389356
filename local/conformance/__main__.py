"""`make conformance`: runs the rows of the conformance table. `ARGS="ROW …"` selects rows.

HOST=func tries `func start` (found by FUNC, or on the PATH); HOST_KEY is its master key, if it needs one.
"""

import argparse
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path

import httpx
from azure.core.exceptions import AzureError
from rich.console import Console
from rich.table import Table

from local.azurite import Azurite
from local.child import ChildFailed
from local.conformance.rows import ROWS
from local.conformance.table import NotTried, Result, Row, Verdict, chosen, markdown, verdict
from local.conformance.trial import RowFailed, Surroundings, Trial
from local.host.core_tools import CoreTools, NoHost, host_class

HASTE = 10.0
"""The factor that shortens the stand-in's own waits, unless the long rows run."""

AT_ONCE = 4

console = Console(highlight=False, width=None if sys.stdout.isatty() else 180)


def main(arguments: Sequence[str]) -> int:
    """Try the rows. Return 0 if the host behaves in each row as the Functions host does."""
    parser = argparse.ArgumentParser(prog="make conformance ARGS=", description=__doc__)
    parser.add_argument("row", nargs="*", help="the rows to try (all)")
    parser.add_argument("--long", action="store_true", help="also those that wait for the ten-minute lease; real waits")
    parser.add_argument("--list", action="store_true", help="print the table as docs/host.md has it, and end")
    parser.add_argument("--at-once", type=positive, help=f"rows tried at once ({AT_ONCE}; 1 with HOST=func)")
    asked = parser.parse_args(arguments)
    if asked.list:
        print(markdown(ROWS))
        return 0
    try:
        rows, kind = chosen(ROWS, asked.row, long=asked.long), host_class(os.environ)
    except KeyError as unknown:
        print(f"Unknown: {', '.join(unknown.args)}. There are: {', '.join(row.name for row in ROWS)}", file=sys.stderr)
        return 2
    except NoHost as error:
        print(error, file=sys.stderr)
        return 2
    is_func = issubclass(kind, CoreTools)
    at_once = asked.at_once or (1 if is_func else AT_ONCE)
    haste = 1.0 if is_func or asked.long else HASTE
    results = []
    with (
        tempfile.TemporaryDirectory() as name,
        ended_by_a_signal(Path(name)),
        Azurite(Path(name) / "storage", in_memory=True) as azurite,
    ):
        try:
            for result in conduct(rows, Surroundings(kind, Path(name), azurite, haste), at_once):
                results.append(result)
                say(result)
        except ChildFailed as failure:
            print(f"The host does not come up: {failure}", file=sys.stderr)
            return 1
    return report(results, rows)


def report(results: Sequence[Result], rows: Sequence[Row]) -> int:
    """Print every result, and which rows differ; return the exit code."""
    console.print(table(results, rows))
    differing = [result.row.name for result in results if result.verdict is Verdict.DIFFERS]
    if differing:
        print(f"These rows differ: {', '.join(differing)}", file=sys.stderr)
    return int(bool(differing))


@contextmanager
def ended_by_a_signal(directory: Path) -> Iterator[None]:
    """End this process at once on Ctrl-C and SIGTERM, whatever a row waits for; its hosts end with it."""

    def end(*_: object) -> None:
        print("Ended before all rows were tried", file=sys.stderr, flush=True)
        shutil.rmtree(directory, ignore_errors=True)
        os._exit(130)

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def positive(text: str) -> int:
    """Parse a positive number of the command line."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError("expected a whole number greater than 0")
    return int(text)


def conduct(rows: Iterable[Row], around: Surroundings, at_once: int) -> Iterator[Result]:
    """Try rows, several at a time, and yield their results. First check that a host starts at all.

    Raises:
        ChildFailed: no host starts.
    """
    with Trial(around) as trial:
        with trial.shared("plain"):
            pass
        with ThreadPoolExecutor(at_once) as pool:
            waiting = [pool.submit(tried, row, trial) for row in rows]
            try:
                for done in as_completed(waiting):
                    yield done.result()
            finally:
                pool.shutdown(cancel_futures=True)


def tried(row: Row, trial: Trial) -> Result:
    """Try one row."""
    try:
        found = row.probe(trial)
    except NotTried as reason:
        return Result(row, str(reason), Verdict.NOT_TRIED)
    except (RowFailed, ChildFailed, AzureError, httpx.HTTPError, OSError) as error:
        return Result(row, f"{type(error).__name__}: {error}", Verdict.DIFFERS)
    return Result(row, found, verdict(row, found))


def say(result: Result) -> None:
    """Print one result."""
    line = f"{result.verdict:10} {result.row.name}: {result.found}"
    if result.verdict is Verdict.DIFFERS:
        line += f" (the Functions host: {result.row.seen})"
    console.print(line, markup=False, soft_wrap=True)


def table(results: Sequence[Result], rows: Sequence[Row]) -> Table:
    """Return the results in the order of the rows."""
    made = Table("row", "from", "what is done", "the Functions host", "this host", "")
    for result in sorted(results, key=lambda result: rows.index(result.row)):
        row = result.row
        made.add_row(row.name, row.finding, row.done, row.seen, result.found[:300], result.verdict)
    return made


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
