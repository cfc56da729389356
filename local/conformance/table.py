"""The table: for each row an action, the observed behaviour of the Functions host, and a probe of a host."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from local.conformance.trial import Trial

HOST_VERSION = "4.1037.0"
"""The Functions host that was observed, with the Python worker 4.34.0, the queue extension 5.3.10 and Azurite."""


class NotTried(Exception):
    """A row cannot be tried on this host; the message says why."""


class Verdict(StrEnum):
    """The result of a row."""

    AGREES = "agrees"
    DIFFERS = "DIFFERS"
    MEASURED = "measured"
    NOT_TRIED = "not tried"


@dataclass(frozen=True)
class Row:
    """One behaviour of a host.

    finding: the note that first recorded it. seen: the behaviour, in words that `probe` returns if another host
    behaves alike. long: the row waits for the ten-minute lease. measured: a figure for comparison, which no host fails.
    unlike: a deliberate difference of the stand-in.
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
    """The result of a row: what this host did, or why the row was not tried."""

    row: Row
    found: str
    verdict: Verdict


def verdict(row: Row, found: str) -> Verdict:
    """Compare the behaviour of a host with the recorded behaviour of the Functions host."""
    if row.measured:
        return Verdict.MEASURED
    return Verdict.AGREES if found == row.seen else Verdict.DIFFERS


def chosen(rows: Sequence[Row], names: Sequence[str], *, long: bool) -> list[Row]:
    """Return the named rows, or all rows; without names, rows that wait for the lease only if `long`.

    Raises:
        KeyError: names that no row has.
    """
    by_name = {row.name: row for row in rows}
    unknown = [name for name in names if name not in by_name]
    if unknown:
        raise KeyError(*unknown)
    return [by_name[name] for name in names] if names else [row for row in rows if long or not row.long]


def markdown(rows: Iterable[Row]) -> str:
    """Return the table in the form of docs/host.md."""
    lines = [f"| row | from | what is done | host {HOST_VERSION} | the stand-in |", "|---|---|---|---|---|"]
    lines += [f"| `{row.name}` | {row.finding} | {row.done} | {row.seen} | {_stand_in(row)} |" for row in rows]
    return "\n".join(lines)


def _stand_in(row: Row) -> str:
    return row.unlike or ("a figure, not a rule" if row.measured else "the same")
