"""Write the parameters of infra/main.bicep: those of the user's file, and those that infra/deploy.sh knows.

    python3 infra/parameters.py --file infra/parameters.json --subscriptions subscriptions.json --profile middle \
        --client-id ID [--budget-start DATE] [--storage-sku SKU] [--to FILE]

Without --client-id nothing is written, and only the user's part is checked. None of the values is a secret.
"""

import argparse
import ipaddress
import json
import re
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from shared.configuration import values as settings

TEMPLATE = Path(__file__).with_name("main.bicep")
SCHEMA = "https://schema.management.azure.com/schemas/2019-04-01/deploymentParameters.json#"
PROFILES = ("cheap", "middle", "gateway", "dedicated")
SET_BY_SCRIPT = {"clientId", "subscriptions", "budgetStart"}
EXAMPLES = [
    ipaddress.ip_network(network) for network in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32")
]
"""Addresses for documentation (RFC 5737, RFC 3849): the example file contains some, and nobody sends from them."""

OF_THE_HOST = {
    "RENEW_SCHEDULE": settings.schedule,
    "APPLICATIONINSIGHTS_CONNECTION_STRING": settings.insights,
}
"""Settings that the Functions host reads itself: with an invalid one, it does not start, or never runs the timer, and
the app can't report that."""

MOST_ADDRESSES = 500
"""App Service allows 512 rules in all."""


class Wrong(Exception):
    """An invalid parameter. The message names it, and states the expected value."""


def read(file: Path) -> dict[str, Any]:
    """Return the values of a parameter file by name. Raises Wrong."""
    try:
        given = json.loads(file.read_text(encoding="utf-8"))["parameters"]
        return {name: parameter["value"] for name, parameter in given.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise Wrong(f"expected a file such as infra/parameters.example.json ({error})") from None


def check(values: dict[str, Any], profile: str) -> dict[str, Any]:
    """Return the user's values as the template expects them. Raises Wrong."""
    if profile not in PROFILES:
        raise Wrong(f"profile: expected one of {', '.join(PROFILES)}")
    known = set(re.findall(r"^param (\w+)", TEMPLATE.read_text(encoding="utf-8"), re.MULTILINE))
    if unknown := sorted(set(values) - known):
        raise Wrong(f"{unknown[0]}: unknown; infra/main.bicep has {', '.join(sorted(known - SET_BY_SCRIPT))}")
    if taken := sorted(set(values) & SET_BY_SCRIPT):
        raise Wrong(f"{taken[0]}: leave it out, infra/deploy.sh sets it")
    for name, text in texts(values):
        # Nested deployments may take such a text for an expression (Azure/bicep#2431), azd replaces ${…}.
        if text.startswith("[") or "${" in text:
            raise Wrong(f"{name}: expected a text that does not begin with [ and holds no ${{")
    for name, parse in OF_THE_HOST.items():
        if text := values.get("settings", {}).get(name):
            try:
                parse(text)
            except settings.InvalidValue as invalid:
                raise Wrong(f"settings.{name}: {invalid}") from None
    if profile == "gateway" and not values.get("hostName"):
        raise Wrong("hostName: the gateway needs the name that its certificate was issued for")
    return {"name": "graphrelay", **values, "profile": profile, **addresses(values, profile)}


def texts(values: dict[str, Any]) -> list[tuple[str, str]]:
    """Return every text in the values, with the name of its parameter."""
    flat = [(name, value) for name, value in values.items() if isinstance(value, str)]
    nested = [(f"{name}.{key}", text) for name, value in values.items() if isinstance(value, dict)
              for key, text in value.items()]  # fmt: skip
    if wrong := [name for name, text in nested if not isinstance(text, str)]:
        raise Wrong(f"{wrong[0]}: expected a text, in quotation marks")
    return flat + nested


def addresses(values: dict[str, Any], profile: str) -> dict[str, list[str]]:
    """Return graphAddresses in CIDR form, if the profile uses them; otherwise nothing. Raises Wrong."""
    if profile == "cheap":
        return {}
    given = values.get("graphAddresses")
    where = "docs/setup.md says where Microsoft publishes them"
    if not isinstance(given, list) or not given:
        raise Wrong(f"graphAddresses: the profile {profile} lets nobody else in, so it needs a list; {where}")
    if len(given) > MOST_ADDRESSES:
        raise Wrong(f"graphAddresses: expected {MOST_ADDRESSES} entries at most, there are {len(given)}")
    found = []
    for address in given:
        try:
            network = ipaddress.ip_network(str(address))
        except ValueError:
            raise Wrong(
                f"graphAddresses: expected an address or a range such as 52.159.23.209/32, not {address}"
            ) from None
        if any(network.network_address in example for example in EXAMPLES):
            raise Wrong(f"graphAddresses: {address} is an example; {where}")
        if not network.is_global or network.prefixlen < 8:
            raise Wrong(f"graphAddresses: {address} is no public address of one sender; {where}")
        found.append(str(network))
    if len(set(found)) < len(found):
        raise Wrong("graphAddresses: an address is in the list twice")
    return {"graphAddresses": found}


def main() -> None:
    """Check the parameters; write them if the app registration is known."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--file", type=Path, required=True)
    parser.add_argument("--print", metavar="NAME", help="print one value of the file, and do nothing else")
    parser.add_argument("--subscriptions", type=Path)
    parser.add_argument("--profile")
    parser.add_argument("--client-id", default="")
    parser.add_argument("--budget-start", default="")
    parser.add_argument("--storage-sku", default="")
    parser.add_argument("--to", type=Path)
    given = parser.parse_args()
    try:
        if given.print:
            print(read(given.file).get(given.print, ""))
            return
        values = check(read(given.file), given.profile)
    except Wrong as wrong:
        sys.exit(f"{given.file.name}: {wrong}")
    if not given.client_id:
        return
    values["clientId"] = given.client_id
    values["subscriptions"] = json.loads(given.subscriptions.read_text(encoding="utf-8"))
    if given.budget_start:
        values["budgetStart"] = given.budget_start[:10]
    if given.storage_sku:
        values.setdefault("storageSku", given.storage_sku)
    document = {
        "$schema": SCHEMA,
        "contentVersion": "1.0.0.0",
        "parameters": {name: {"value": value} for name, value in values.items()},
    }
    text = json.dumps(document, indent=2) + "\n"
    if given.to:
        given.to.write_text(text, encoding="utf-8")
    else:
        sys.stdout.write(text)


if __name__ == "__main__":
    main()
