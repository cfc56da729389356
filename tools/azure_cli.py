"""Install azure-cli into .azure-cli/, so that tests/infra can ask its parser about every command line of infra/.

    python3 tools/azure_cli.py

It is large (700 MB) and used for nothing else, so it is installed only on request: without it, those tests skip.
"""

import subprocess
import sys
import venv
from pathlib import Path

DIRECTORY = Path(__file__).resolve().parent.parent / ".azure-cli"
PYTHON = DIRECTORY / "bin" / "python"
VERSION = "2.91.0"


def main() -> None:
    """Recreate the virtual environment and install the pinned version."""
    print(f"installing azure-cli {VERSION} into {DIRECTORY.name}")
    venv.create(DIRECTORY, clear=True, with_pip=True)
    (DIRECTORY / ".gitignore").write_text("*\n")
    install = [str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    sys.exit(subprocess.run([*install, f"azure-cli=={VERSION}"], check=False).returncode)


if __name__ == "__main__":
    main()
