"""One target under atheris, which steers by what code its inputs reach: `python -m fuzz.guided TARGET [libFuzzer's]`.

It ends the process itself, with 0 if nothing was found.
"""

import importlib
import sys
from typing import Any


def main(name: str, arguments: list[str]) -> None:
    """Fuzz a target. What is instrumented is only what was imported after atheris was told."""
    atheris: Any = importlib.import_module("atheris")
    with atheris.instrument_imports(include=["shared", "notify_http", "jwt"]):
        targets = importlib.import_module("fuzz.targets").TARGETS
    atheris.Setup([name, *arguments], targets[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
