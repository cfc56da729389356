"""The resources of the app's processes: memory, threads, file descriptors and sockets, from /proc (Linux)."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median

_PROC = Path("/proc")


@dataclass(frozen=True)
class Held:
    """The resources of several processes together. memory: MiB of resident memory."""

    memory: float
    threads: int
    descriptors: int
    sockets: int


ALLOWANCES = {"memory": (1.15, 20.0), "threads": (1.1, 8.0), "descriptors": (1.1, 24.0), "sockets": (1.1, 24.0)}
"""The allowed growth between the settled run and its end, as a factor and an addition. The pools fill up slowly: a
session keeps up to 32 connections to a host, a pool starts a thread for each new task."""


def held_by(roots: Iterable[int]) -> Held:
    """Return the resources of processes and their descendants. Processes that end meanwhile count as nothing."""
    memory = threads = descriptors = sockets = 0
    for pid in _with_descendants(roots):
        with suppress(OSError):
            status = dict(line.split(":", 1) for line in (_PROC / str(pid) / "status").read_text().splitlines())
            links = [_target(link) for link in (_PROC / str(pid) / "fd").iterdir()]
            memory += int(status.get("VmRSS", "0 kB").split()[0])
            threads += int(status["Threads"])
            descriptors += len(links)
            sockets += sum(link.startswith("socket:") for link in links)
    return Held(memory / 1024, threads, descriptors, sockets)


def growth(samples: Sequence[Held]) -> dict[str, tuple[float, float]]:
    """Return the median of each figure over the second quarter of a run, and over the last quarter."""
    quarter = max(1, len(samples) // 4)
    settled, end = samples[quarter : 2 * quarter] or samples[:1], samples[-quarter:]
    return {
        name: (median(getattr(sample, name) for sample in settled), median(getattr(sample, name) for sample in end))
        for name in ALLOWANCES
    }


def leaks(figures: dict[str, tuple[float, float]]) -> list[str]:
    """Return the figures that have grown beyond their allowance."""
    return [
        f"{name} grew from {before:.0f} to {after:.0f}"
        for name, (before, after) in figures.items()
        if after > before * ALLOWANCES[name][0] + ALLOWANCES[name][1]
    ]


def _with_descendants(roots: Iterable[int]) -> set[int]:
    parents = dict(_parents())
    found, fresh = set(roots), set(roots)
    while fresh:
        fresh = {pid for pid, parent in parents.items() if parent in fresh} - found
        found |= fresh
    return found


def _parents() -> Iterator[tuple[int, int]]:
    for directory in _PROC.iterdir():
        if directory.name.isdigit():
            with suppress(OSError):
                text = (directory / "stat").read_text()
                yield int(directory.name), int(text.rpartition(")")[2].split()[1])


def _target(link: Path) -> str:
    with suppress(OSError):
        return str(link.readlink())
    return ""
