"""The pins of requirements.txt: each package with its version, hashes, and the packages that require it."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
RUNTIME = ROOT / "requirements.txt"
WANTED = ROOT / "requirements.in"

_ENTRY = re.compile(r"^(?P<line>\S(?:.*\\\n)*.*)\n(?P<why>(?:    #.*\n?)*)", re.MULTILINE)
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")


@dataclass(frozen=True)
class Pinned:
    """A package of one version. `via`: the packages that need it; `direct`: the app itself does.

    `applies`: whether it is for this Python on this system.
    """

    name: str
    version: str
    hashes: tuple[str, ...]
    via: tuple[str, ...]
    direct: bool
    applies: bool


def pinned(file: Path = RUNTIME) -> list[Pinned]:
    """Read a file that `uv pip compile --generate-hashes` has written.

    Raises:
        ValueError: a package is not pinned to one version.
    """
    return [_read(entry["line"], entry["why"]) for entry in _ENTRY.finditer(file.read_text())]


def wanted(file: Path = WANTED) -> Iterator[str]:
    """Yield the names of the packages that the app itself requires."""
    for line in file.read_text().splitlines():
        if text := line.partition("#")[0].strip():
            yield canonicalize_name(Requirement(text).name)


def _read(line: str, why: str) -> Pinned:
    requirement = Requirement(line.partition("--hash")[0].replace("\\\n", " ").strip().rstrip("\\"))
    versions = [specifier.version for specifier in requirement.specifier if specifier.operator == "=="]
    if len(versions) != 1 or len(requirement.specifier) != 1:
        raise ValueError(f"{requirement.name} is not pinned to one version")
    reasons = [part.strip() for part in why.replace("# via", "#").replace("\n", "#").split("#") if part.strip()]
    return Pinned(
        canonicalize_name(requirement.name),
        versions[0],
        tuple(_HASH.findall(line)),
        tuple(canonicalize_name(reason) for reason in reasons if not reason.startswith("-r ")),
        direct=any(reason.startswith("-r ") for reason in reasons),
        applies=requirement.marker is None or requirement.marker.evaluate(),
    )
