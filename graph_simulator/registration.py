"""The app registration as Graph shows it to an app that may read it: its credentials and their expiry."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from graph_simulator.clock import iso
from graph_simulator.refusal import Refusal, forbidden


@dataclass
class AppRegistration:
    """Secrets and certificates, by name, with their expiry; `readable` if the app was granted Application.Read.All."""

    client_id: str
    readable: bool = False
    secrets: dict[str, datetime] = field(default_factory=dict)
    certificates: dict[str, datetime] = field(default_factory=dict)

    def shown(self) -> dict[str, Any]:
        """Return the selected properties.

        Raises:
            Refusal: 403, the app may not read it.
        """
        if not self.readable:
            raise _denied()
        return {
            "passwordCredentials": [_credential(name, ends) for name, ends in self.secrets.items()],
            "keyCredentials": [_credential(name, ends) for name, ends in self.certificates.items()],
        }


def _credential(name: str, ends: datetime) -> dict[str, Any]:
    return {"displayName": name, "endDateTime": iso(ends), "keyId": f"key-of-{name}", "hint": None}


def _denied() -> Refusal:
    return forbidden("Insufficient privileges to complete the operation.")
