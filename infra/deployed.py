"""The deployed function app, as Azure Resource Manager shows it."""

from dataclasses import dataclass
from typing import Any

from infra.az import AzError, az

API = "2025-03-01"
REFRESH_API = "2022-03-01"
"""The API version on Microsoft's page about Key Vault references, for refreshing them."""


@dataclass(frozen=True)
class Site:
    """A function app by its resource id, with the tags of infra/main.bicep."""

    id: str
    tags: dict[str, str]

    @property
    def name(self) -> str:
        """The app's name."""
        return self.id.rpartition("/")[2]

    @property
    def group(self) -> str:
        """The resource group's name."""
        return self.id.split("/")[4]

    def get(self, path: str) -> Any:
        """Read a resource below the app. Raises AzError."""
        return az("rest", "--method", "get", "--url", f"{self.id}{path}?api-version={API}")

    def functions(self) -> list[str]:
        """Return the names of the app's functions in Azure. Raises AzError."""
        return sorted(function["properties"]["name"] for function in self.get("/functions")["value"])

    def host_state(self) -> str:
        """Return the state of the Functions host (`Running` if healthy), and its errors. Raises AzError."""
        properties = self.get("/host/default/properties/status")["properties"]
        return " ".join([str(properties.get("state")), *map(str, properties.get("errors") or [])])

    def settings(self) -> dict[str, str]:
        """Return the app's settings by name; for those in the vault, the reference. Raises AzError."""
        name = ("--resource-group", self.group, "--name", self.name)
        listed = az("functionapp", "config", "appsettings", "list", *name)
        return {setting["name"]: setting["value"] or "" for setting in listed}

    def unresolved(self) -> dict[str, str]:
        """Return the settings whose Key Vault reference has not been resolved, with the reason. Raises AzError."""
        found = {
            reference["name"]: reference["properties"]
            for reference in self.get("/config/configreferences/appsettings")["value"]
        }
        wanted = {"CLIENT_STATE_SECRET", "DESTINATION_SECRET"}
        waiting = dict.fromkeys(wanted - found.keys(), "not looked at yet")
        return waiting | {
            name: str(reference.get("details") or reference.get("status"))
            for name, reference in found.items()
            if reference.get("status") != "Resolved"
        }

    def refresh(self) -> None:
        """Make Azure read the Key Vault references again, and restart the app. Raises AzError."""
        url = f"{self.id}/config/configreferences/appsettings/refresh?api-version={REFRESH_API}"
        az("rest", "--method", "post", "--url", url)
        az("functionapp", "restart", "--resource-group", self.group, "--name", self.name)


def sites(resource_group: str) -> list[Site]:
    """Return the apps of infra/main.bicep in a resource group: one, or two after a change of plan. Raises AzError."""
    listed = az("resource", "list", "--resource-group", resource_group, "--resource-type", "Microsoft.Web/sites")
    tagged = (resource for resource in listed if (resource.get("tags") or {}).get("purpose") == "relay-app")
    return [Site(resource["id"], resource["tags"]) for resource in tagged]


def site(resource_group: str, name: str) -> Site:
    """Return the app of that name. Raises AzError."""
    for site in sites(resource_group):
        if site.name == name:
            return site
    raise AzError(f"there is no app {name} of this deployment in {resource_group}")
