"""The command `vectors`: writes a complete set into a directory, or nothing."""

import argparse
import shutil
import sys
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NoReturn

from graph_simulator.vectors.case import Case
from graph_simulator.vectors.catalogue import cases
from graph_simulator.vectors.derivation import MOST
from graph_simulator.vectors.files import Files, files_of
from graph_simulator.vectors.world import World

WRONG_USAGE, NOT_WRITTEN = 2, 1


class _Parser(argparse.ArgumentParser):
    """A parser that reports errors in one line."""

    def error(self, message: str) -> NoReturn:
        """Print the error, and exit."""
        self.exit(WRONG_USAGE, f"{self.prog}: {message}\n")


def main(arguments: Sequence[str]) -> int:
    """Write a set of vectors; return the exit code: 0, 1 if writing failed, 2 for wrong usage."""
    parser = _Parser(
        prog="python -m graph_simulator vectors",
        description="Write test vectors for receivers of Microsoft Graph change notifications.",
        allow_abbrev=False,
    )
    parser.add_argument("directory", type=Path, metavar="DIR", help="where to; must not exist, or be empty")
    parser.add_argument("--seed", type=_seed, default=0, help="the same seed gives the same octets (default: 0)")
    parser.add_argument("--case", action="append", metavar="NAME", help="write this case alone; may be repeated")
    given = parser.parse_args(arguments)
    if complaint := _occupied(given.directory):
        parser.error(complaint)
    world = _world(given.seed)
    known = {case.name: case for case in cases(world)}
    if unknown := sorted(set(given.case or ()) - known.keys()):
        parser.error(f"--case {unknown[0]}: no such case; manifest.json of a whole set lists all {len(known)}")
    chosen: list[Case] = [case for name, case in known.items() if not given.case or name in given.case]
    try:
        write(files_of(world, chosen), given.directory)
    except OSError as error:
        sys.stderr.write(f"{parser.prog}: {given.directory}: {error.strerror or error}; nothing was written\n")
        return NOT_WRITTEN
    sys.stdout.write(f"{len(chosen)} cases in {given.directory}\n")
    return 0


def write(files: Files, directory: Path) -> None:
    """Write files into a directory that is empty or does not exist yet: all files or none.

    Raises OSError.
    """
    directory = directory.absolute()
    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{directory.name}-", dir=directory.parent) as temporary:
        whole = Path(temporary) / "set"
        for path, octets in files.items():
            (whole / path).parent.mkdir(parents=True, exist_ok=True)
            (whole / path).write_bytes(octets)
        if directory.exists():
            directory.rmdir()
        shutil.move(whole, directory)


@cache
def _world(seed: int) -> World:
    return World(seed)  # its keys take seconds: a process that writes several sets derives them once


def _seed(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text[:20]) <= MOST and len(text) <= 20):
        raise argparse.ArgumentTypeError(f"expected a whole number from 0 to {MOST}, not {text[:40]!r}")
    return int(text)


def _occupied(directory: Path) -> str:
    """Return why a directory cannot be written to; "" if it can."""
    try:
        if directory.exists() and not directory.is_dir():
            return f"{directory}: expected a directory, this is a file"
        if directory.exists() and any(directory.iterdir()):
            return f"{directory}: expected an empty directory, this one has files in it"
    except OSError as error:
        return f"{directory}: {error.strerror}"
    return ""
