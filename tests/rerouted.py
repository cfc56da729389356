"""A storage account of which one service is elsewhere: at a server that a test scripts."""

from dataclasses import replace

from shared.settings import StorageSettings
from tests.servers import Answer, Asked

ACCOUNT = "relay"


def rerouted(settings: StorageSettings, service: str, url: str) -> StorageSettings:
    """Return the same account, but for its Queue, Blob or Table endpoint."""
    parts = dict(part.split("=", 1) for part in settings.connection_string.split(";"))
    parts[f"{service}Endpoint"] = f"{url}/{ACCOUNT}"
    return replace(settings, connection_string=";".join(f"{name}={value}" for name, value in parts.items()))


def refuses(_: Asked) -> Answer:
    """Answer as a firewall in front of an account does; unlike 503, the SDK does not wait and ask again."""
    return Answer(403)
