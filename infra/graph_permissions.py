"""Print the Graph application permissions that the declared subscriptions need, one a line: the least set.

    python3 infra/graph_permissions.py subscriptions.json

What each is needed for: `python -m ops permissions subscriptions.json`. Needs nothing but Python itself.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from shared.resources import permissions


@dataclass(frozen=True)
class Declaration:
    """The fields of an entry that decide which permissions it needs."""

    resource: str
    hydrate: bool = False
    consent: str = "tenant"
    sources: tuple[str, ...] = ()


def needed(entries: list[Any]) -> list[str]:
    """Return the names of permissions, sorted.

    Raises ValueError, with every complaint, for entries that are no declarations, and for resources that no
    application can subscribe to.
    """
    declared, complaints = [], []
    for number, entry in enumerate(entries, start=1):
        try:
            declared.append(
                Declaration(
                    entry["resource"].strip(),
                    entry.get("hydrate", False),
                    entry.get("consent", "tenant"),
                    lists(entry.get("forEach", ())),
                )
            )
        except (AttributeError, KeyError, TypeError):
            complaints.append(f"declaration {number}: resource: expected a path such as /chats/getAllMessages")
    if not entries:
        complaints.append("nothing is declared")
    wanted, unsupported = permissions.needs_of_all(declared)
    if complaints or unsupported:
        raise ValueError("\n".join((*complaints, *unsupported)))
    return permissions.least(wanted)


def lists(given: Any) -> tuple[str, ...]:
    """Return the lists that an entry fans out over. Raises TypeError for other values."""
    return (given,) if isinstance(given, str) else tuple(str(role) for role in given)


def main(path: str) -> None:
    """Print the permissions; if there are complaints, end with these instead."""
    try:
        entries = json.loads(Path(path).read_text(encoding="utf-8"))
        names = needed(entries if isinstance(entries, list) else [entries])
    except (OSError, ValueError) as error:
        sys.exit(f"{path}: {error}")
    sys.stdout.writelines(f"{name}\n" for name in names)


if __name__ == "__main__":
    main(sys.argv[1])
