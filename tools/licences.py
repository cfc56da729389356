"""The licences of the deployed packages; works offline, from the installed packages.

python -m tools.licences
"""

import sys
from collections.abc import Iterator
from importlib import metadata

from license_expression import ExpressionError, get_spdx_licensing  # type: ignore[import-untyped]

from tools.pinned import Pinned, pinned

ALLOWED = frozenset(
    {"0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT", "MIT-0", "MPL-2.0", "PSF-2.0", "Unlicense"}
)
"""SPDX ids. Permissive ones, and MPL-2.0, which has no conditions for unchanged files."""

_CALLED = {
    "MIT License": "MIT",
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD-3-Clause",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
    "ISC License (ISCL)": "ISC",
}
"""Classifiers of PyPI. Its BSD License does not name the variant; all are permissive."""

_spdx = get_spdx_licensing()


def licence(name: str) -> str | None:
    """Return the SPDX expression for an installed package; None if it can't be determined.

    Raises:
        PackageNotFoundError: it is not installed.
    """
    about = metadata.metadata(name)
    classifiers = [
        classifier.rpartition(" :: ")[2]
        for classifier in about.get_all("Classifier", [])
        if classifier.startswith("License")
    ]
    stated = [*about.get_all("License-Expression", []), *about.get_all("License", []), *map(_CALLED.get, classifiers)]
    return next((expression for expression in stated if expression and _is_expression(expression)), None)


def is_allowed(expression: str) -> bool:
    """Return whether an expression is allowed; of an OR, one side suffices."""
    if " AND " not in expression:
        return any(part.strip("() ") in ALLOWED for part in expression.split(" OR "))
    return all(is_allowed(part.strip("() ")) for part in expression.split(" AND "))


def check(packages: list[Pinned]) -> Iterator[str]:
    """Yield a complaint for each package that can't be used, or whose licence can't be determined."""
    for package in packages:
        try:
            expression = licence(package.name)
        except metadata.PackageNotFoundError:
            if package.applies:
                yield f"{package.name}: not installed, so its licence can't be determined"
            continue
        if expression is None or not is_allowed(expression):
            yield f"{package.name}: {expression or 'states no recognised licence'}"


def _is_expression(text: str) -> bool:
    try:
        return len(text) < 100 and not _spdx.unknown_license_keys(text)  # some put the whole text there
    except ExpressionError:
        return False


if __name__ == "__main__":
    deployed = pinned()
    complaints = list(check(deployed))
    print(*complaints or [f"{len(deployed)} packages, all under licences that are allowed"], sep="\n")
    sys.exit(bool(complaints))
