"""Build the package that runs in Azure: the files that .funcignore leaves, as a zip or as a directory.

    python3 infra/package.py graph-relay.zip
    python3 infra/package.py dist/app

Its requirements.txt is infra/requirements.txt, resolved for the one Python that is deployed: a remote build with
another Python must fail, not succeed with other packages (Azure/azure-dev#8538).

Equal files give an equal zip, byte for byte. Needs git, which knows the syntax of .funcignore, and nothing else.
"""

import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
_BEGINNING_OF_TIME = (1980, 1, 1, 0, 0, 0)  # of zip files


def files(root: Path = ROOT) -> list[str]:
    """Return the paths of the package's files, relative to the repository at `root`, sorted."""
    with tempfile.TemporaryDirectory() as empty:
        # An empty repository of its own: to it every file is new, so that the exclusions hold for all of them.
        git = ["git", "--git-dir", empty, "--work-tree", str(root)]
        subprocess.run([*git, "init", "--quiet"], check=True)  # noqa: S603 - words of our own
        listing = [*git, "ls-files", "-z", "--others", "--exclude-from", str(root / ".funcignore")]
        found = subprocess.run(listing, cwd=root, check=True, capture_output=True, text=True).stdout  # noqa: S603
    return sorted(filter(None, found.split("\0")))


def content(name: str) -> bytes:
    """Return the content of the package's file with that name."""
    source = ROOT / "infra" / name if name == "requirements.txt" else ROOT / name
    return source.read_bytes()


def build(target: Path) -> None:
    """Write the package to `target`: a zip if its name ends so, else a directory, whose content is replaced."""
    if target.suffix == ".zip":
        _build_zip(target)
    else:
        _build_directory(target)


def _build_zip(target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(target, "w") as package:
        for name in files():
            entry = zipfile.ZipInfo(name, _BEGINNING_OF_TIME)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            package.writestr(entry, content(name))


def _build_directory(target: Path) -> None:
    if target.exists():
        if target.is_symlink() or not (target / "host.json").exists():
            sys.exit(f"{target}: there, and no package: it is not replaced")
        shutil.rmtree(target)
    for name in files():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (target / name).write_bytes(content(name))


if __name__ == "__main__":
    build(Path(sys.argv[1]))
