"""The table: for each row what is done, what the Functions host was seen to do, and how to see what a host does."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from local.conformance.trial import Trial

HOST_VERSION = "4.1037.0"
"""Of the Functions host that was seen, with the Python worker 4.34.0, the queue extension 5.3.10 and Azurite."""


class NotTried(Exception):
    """A row can't be tried on this host; the message says why."""


class Verdict(StrEnum):
    """What came of a row."""

    AGREES = "agrees"
    DIFFERS = "DIFFERS"
    MEASURED = "measured"
    NOT_TRIED = "not tried"


@dataclass(frozen=True)
class Row:
    """One thing that a host does.

    finding: where it was first written down. seen: what the host did, in words that `probe` gives back if another does
    the same. long: it waits for the ten-minute lease. measured: a figure to compare, which no host can fail.
    unlike: how the stand-in differs from the host, on purpose.
    """

    name: str
    finding: str
    done: str
    seen: str
    probe: "Callable[[Trial], str]"
    long: bool = False
    measured: bool = False
    unlike: str = ""


@dataclass(frozen=True)
class Result:
    """What came of a row: what this host did, or why that is not known."""

    row: Row
    found: str
    verdict: Verdict


def verdict(row: Row, found: str) -> Verdict:
    """Compare what a host did with what the Functions host was seen to do."""
    if row.measured:
        return Verdict.MEASURED
    return Verdict.AGREES if found == row.seen else Verdict.DIFFERS


def chosen(rows: Sequence[Row], names: Sequence[str], *, long: bool) -> list[Row]:
    """Return the rows that are named, or all; of all, those that wait for the lease only if `long`.

    Raises:
        KeyError: a name is no row's; with all such names.
    """
    by_name = {row.name: row for row in rows}
    unknown = [name for name in names if name not in by_name]
    if unknown:
        raise KeyError(*unknown)
    return [by_name[name] for name in names] if names else [row for row in rows if long or not row.long]


def markdown(rows: Iterable[Row]) -> str:
    """Return the table as docs/host.md has it."""
    lines = [f"| row | from | what is done | host {HOST_VERSION} | the stand-in |", "|---|---|---|---|---|"]
    lines += [f"| `{row.name}` | {row.finding} | {row.done} | {row.seen} | {_stand_in(row)} |" for row in rows]
    return "\n".join(lines)


def _stand_in(row: Row) -> str:
    return row.unlike or ("a figure, not a rule" if row.measured else "the same")
