"""One target under atheris, guided by code coverage: `python -m fuzz.guided TARGET [libFuzzer's]`.

It ends the process itself, with 0 if nothing was found.
"""

import importlib
import sys
from typing import Any


def main(name: str, arguments: list[str]) -> None:
    """Fuzz a target. Only modules imported after atheris is set up are instrumented."""
    atheris: Any = importlib.import_module("atheris")
    with atheris.instrument_imports(include=["shared", "notify_http", "jwt"]):
        targets = importlib.import_module("fuzz.targets").TARGETS
    atheris.Setup([name, *arguments], targets[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
