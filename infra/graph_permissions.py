"""Print the Graph application permissions that the declared subscriptions need, one a line.

    python3 infra/graph_permissions.py subscriptions.json

Which one is enough for subscribing is in docs/graph.md, "Permissions"; for reading back, in "Reading back".
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from shared.permissions import permission

READ_BACK = {
    "teams/getallmessages": "GroupMember.Read.All",  # a tenant-wide resource is read team by team,
    "chats/getallmessages": "User.ReadBasic.All",  # or user by user: these list them
}


def needed(declarations: list[dict[str, Any]]) -> list[str]:
    """Return the names of permissions, sorted.

    Raises ValueError for a resource whose permission is not known here.
    """
    names = set()
    for declaration in declarations:
        resource = str(declaration["resource"])
        name = permission(resource)
        if not re.fullmatch(r"[A-Z]\w+(\.\w+)+", name):
            raise ValueError(f"{resource}: add to shared/permissions.py the permission {name}")
        names.add(name)
        names.update(other for path, other in READ_BACK.items() if resource.strip("/").lower() == path)
    return sorted(names)


if __name__ == "__main__":
    try:
        sys.stdout.writelines(f"{name}\n" for name in needed(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))))
    except ValueError as error:
        sys.exit(str(error))
