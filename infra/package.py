"""Build the package that runs in Azure: a zip of the files that .funcignore leaves.

    python3 infra/package.py graph-relay.zip

Equal files give an equal zip, byte for byte. Needs git, which knows the syntax of .funcignore, and nothing else.
"""

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
_BEGINNING_OF_TIME = (1980, 1, 1, 0, 0, 0)  # of zip files


def files() -> list[str]:
    """Return the paths of the package's files, relative to the repository, sorted."""
    with tempfile.TemporaryDirectory() as empty:
        # An empty repository of its own: to it every file is new, so that the exclusions hold for all of them.
        git = ["git", "--git-dir", empty, "--work-tree", str(ROOT)]
        subprocess.run([*git, "init", "--quiet"], check=True)  # noqa: S603 - words of our own
        listing = [*git, "ls-files", "-z", "--others", "--exclude-from", str(ROOT / ".funcignore")]
        found = subprocess.run(listing, cwd=ROOT, check=True, capture_output=True, text=True).stdout  # noqa: S603
    return sorted(filter(None, found.split("\0")))


def build(target: Path) -> None:
    """Write the package to `target`."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(target, "w") as package:
        for name in files():
            entry = zipfile.ZipInfo(name, _BEGINNING_OF_TIME)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            package.writestr(entry, (ROOT / name).read_bytes())


if __name__ == "__main__":
    build(Path(sys.argv[1]))
