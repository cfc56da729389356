"""Look at the app registration that the resource group's tag names, before anything is consented to.

    python3 infra/registration.py CLIENT_ID --name NAME [--name NAME] --credential NAME [--only-name]

With write access to the group's tags, an attacker could name another app there, and an administrator's next run would
grant it the permissions of this one. So the registration must have the expected name, and no secret or federated
credential that infra/deploy.sh did not create. Owners, who could create one, and certificates are listed for a person
to judge. Changes nothing. Ends with 1 if the registration is foreign, with 4 if a person has to judge.
"""

import argparse
import sys
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from infra import consent
from infra.az import AzError, az, graph

FOREIGN = 1
A_PERSON_JUDGES = 4


@dataclass(frozen=True)
class Doubt:
    """A doubt about a registration, and whether a person may accept it."""

    text: str
    may_pass: bool = False


def doubts(client_id: str, names: Collection[str], credential: str, *, only_name: bool = False) -> Iterator[Doubt]:
    """Yield the doubts whether only this deployment controls a registration. Raises AzError."""
    app = az("ad", "app", "show", "--id", client_id)
    if app["displayName"] not in names:
        yield Doubt(
            f"it is called {app['displayName']}, not {next(iter(names))}. "
            "If you know that it belongs to this deployment, give it that name; otherwise remove the tag"
        )
    if only_name:
        return
    principal = consent.principal(client_id) or {}
    for holder in (app, principal):
        for secret in holder.get("passwordCredentials") or []:
            yield Doubt(f"it has a client secret, {_named(secret)}, which this script does not create: remove it")
    for federated in az("ad", "app", "federated-credential", "list", "--id", client_id) or []:
        if federated["name"] != credential:
            yield Doubt(
                f"it has the federated credential {federated['name']} of {federated.get('issuer')}, which this script "
                "does not create: remove it"
            )
    for holder in (app, principal):
        for certificate in holder.get("keyCredentials") or []:
            yield Doubt(f"somebody has its certificate {_named(certificate)}", may_pass=True)
    yield from _other_owners(client_id, principal)


def _other_owners(client_id: str, principal: Any) -> Iterator[Doubt]:
    """An owner can give it a secret at any time."""
    owners = list(az("ad", "app", "owner", "list", "--id", client_id) or [])
    if principal:
        owners += graph("get", f"/servicePrincipals/{principal['id']}/owners")["value"]
    me = _me()
    others = {
        owner["id"]: owner.get("userPrincipalName") or owner.get("displayName") for owner in owners if owner["id"] != me
    }
    for name in others.values():
        yield Doubt(f"{name} is an owner, and can add a secret at any time", may_pass=True)


def _me() -> str:
    """Return the id of the signed-in user; "" for a service principal, which has no user."""
    try:
        return str(az("ad", "signed-in-user", "show")["id"])
    except AzError:
        return ""


def _named(credential: Any) -> str:
    return str(credential.get("displayName") or credential.get("keyId"))


def main() -> None:
    """Check the registration, and print the doubts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("client_id")
    parser.add_argument("--name", action="append", required=True)
    parser.add_argument("--credential", required=True)
    parser.add_argument("--only-name", action="store_true")
    given = parser.parse_args()
    try:
        found = list(doubts(given.client_id, given.name, given.credential, only_name=given.only_name))
    except (AzError, KeyError, TypeError) as error:
        sys.exit(f"The app registration {given.client_id} could not be checked: {error}")
    for doubt in found:
        print(f"The app registration {given.client_id} that the resource group names: {doubt.text}.", file=sys.stderr)
    if any(not doubt.may_pass for doubt in found):
        sys.exit(FOREIGN)
    if found:
        sys.exit(A_PERSON_JUDGES)


if __name__ == "__main__":
    main()
