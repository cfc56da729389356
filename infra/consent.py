"""Give an app registration the application permissions of Microsoft Graph that it needs, in the tenant `az` is signed
in to. Run it again at any time: it adds missing permissions and removes none.

    python3 infra/consent.py CLIENT_ID PERMISSION...

infra/deploy.sh runs it for its own tenant. For declarations of another tenant an administrator there runs it.
"""

import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from infra.az import AzError, az, graph, patiently

MICROSOFT_GRAPH_APP = "00000003-0000-0000-c000-000000000000"
CHANGE_TRACKING_APP = "0bf30f3b-4a52-48df-9a82-234910c4a086"
NOT_GRANTED = 3
"""Exit code: the signed-in user may not consent. The program has printed the remaining steps."""


def principal(app_id: str) -> Any:
    """Return the service principal of an app in this tenant; None if there is none. Raises AzError."""
    found = graph("get", f"/servicePrincipals?$filter=appId eq '{app_id}'")["value"]
    return found[0] if found else None


def made_principal(app_id: str) -> Any:
    """Return the service principal of an app, created if necessary. Raises AzError."""
    return principal(app_id) or patiently(lambda: az("ad", "sp", "create", "--id", app_id))


def missing(app: Any, microsoft_graph: Any, permissions: Collection[str]) -> dict[str, str]:
    """Return the permissions that have not been granted, with the ids of their roles.

    Raises ValueError for a name that Microsoft Graph does not know, and AzError.
    """
    ids = {role["value"]: role["id"] for role in microsoft_graph["appRoles"]}
    if unknown := sorted(set(permissions) - ids.keys()):
        raise ValueError(f"Microsoft Graph knows no application permission {unknown[0]}")
    granted = graph("get", f"/servicePrincipals/{app['id']}/appRoleAssignments?$top=999")["value"]
    has = {assignment["appRoleId"] for assignment in granted if assignment["resourceId"] == microsoft_graph["id"]}
    return {name: ids[name] for name in permissions if ids[name] not in has}


def grant(client_id: str, permissions: Collection[str]) -> None:
    """Create the missing service principals and assignments. Raises AzError, ValueError."""
    app = made_principal(client_id)
    # Otherwise, Graph can't get tokens for the app, and sends rich notifications without tokens (docs/graph.md).
    patiently(lambda: az("ad", "sp", "update", "--id", client_id, "--set", "appRoleAssignmentRequired=false"))
    make_change_tracking()
    microsoft_graph = principal(MICROSOFT_GRAPH_APP)
    for name, role in missing(app, microsoft_graph, permissions).items():
        assignment = {"principalId": app["id"], "resourceId": microsoft_graph["id"], "appRoleId": role}
        path = f"/servicePrincipals/{microsoft_graph['id']}/appRoleAssignedTo"
        patiently(lambda path=path, assignment=assignment: graph("post", path, assignment))  # type: ignore[misc]
        print(f"granted: {name}", file=sys.stderr)


def make_change_tracking() -> None:
    """Create the service principal of Microsoft Graph Change Tracking, or print who may."""
    try:
        made_principal(CHANGE_TRACKING_APP)
    except AzError:
        print(
            "Not created: the service principal of Microsoft Graph Change Tracking, without which rich notifications "
            "have no valid tokens and are refused. A Cloud Application Administrator runs: "
            f"az ad sp create --id {CHANGE_TRACKING_APP}",
            file=sys.stderr,
        )


def advice(client_id: str, permissions: Collection[str]) -> str:
    """Return the steps for an administrator, with or without this program."""
    return (
        "Not granted: you may not consent to application permissions. A Privileged Role Administrator either runs, "
        f"signed in to this tenant:\n  python3 infra/consent.py {client_id} {' '.join(permissions)}\n"
        "or, if the registration is this tenant's own, opens https://entra.microsoft.com, App registrations, All "
        f"applications, {client_id}, API permissions, and chooses Grant admin consent."
    )


def main() -> None:
    """Grant the permissions in the arguments."""
    client_id, *permissions = sys.argv[1:]
    try:
        grant(client_id, permissions)
    except AzError as error:
        print(error, file=sys.stderr)
        if error.is_refusal:
            print(advice(client_id, permissions), file=sys.stderr)
            sys.exit(NOT_GRANTED)
        sys.exit(1)
    except ValueError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
