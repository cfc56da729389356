"""Known vulnerabilities of the deployed packages, from the database of osv.dev.

    python -m tools.vulnerabilities

Without access to the database, it reports that nothing was checked.
"""

import sys

import requests

from tools.pinned import Pinned, pinned

DATABASE = "https://api.osv.dev/v1/querybatch"
_TIME_LIMIT = (5, 30)


class Unreachable(Exception):
    """The database does not answer; the message says how."""


def known(packages: list[Pinned], database: str = DATABASE) -> list[str]:
    """Return a line for each vulnerable package: its name, version, and the ids.

    Raises:
        Unreachable: nothing could be checked.
    """
    asked = [
        {"package": {"ecosystem": "PyPI", "name": package.name}, "version": package.version} for package in packages
    ]
    try:
        answer = requests.post(database, json={"queries": asked}, timeout=_TIME_LIMIT)
        answer.raise_for_status()
        results = answer.json()["results"]
    except (requests.RequestException, ValueError, KeyError, TypeError) as error:
        raise Unreachable(f"the database of vulnerabilities does not answer ({type(error).__name__})") from None
    return [
        f"{package.name} {package.version}: {', '.join(found['id'] for found in result['vulns'])}"
        for package, result in zip(packages, results, strict=True)
        if result.get("vulns")
    ]


if __name__ == "__main__":
    try:
        lines = known(pinned())
    except Unreachable as unreachable:
        print(f"SKIPPED: {unreachable}")
        sys.exit(0)
    print(*lines or ["Nothing is known against what is deployed"], sep="\n")
    sys.exit(bool(lines))
