"""A storage account with one service rerouted to a server that a test scripts."""

from dataclasses import replace

import requests

from shared.configuration.settings import StorageSettings
from tests.servers import RecordedRequest, Script, ScriptedResponse

ACCOUNT = "relay"

FORBIDDEN = ScriptedResponse(403)

_OF_THE_CONNECTION = ("connection", "keep-alive", "transfer-encoding", "content-length", "date", "server")


def rerouted(settings: StorageSettings, service: str, url: str) -> StorageSettings:
    """Return the same account with another Queue, Blob or Table endpoint."""
    parts = dict(part.split("=", 1) for part in settings.connection_string.split(";"))
    parts[f"{service}Endpoint"] = f"{url}/{ACCOUNT}"
    return replace(settings, connection_string=";".join(f"{name}={value}" for name, value in parts.items()))


def refuses(_: RecordedRequest) -> ScriptedResponse:
    """Answer like a firewall in front of an account; unlike after 503, the SDK does not retry."""
    return FORBIDDEN


def all_but_deletion(settings: StorageSettings, service: str, refusal: ScriptedResponse = FORBIDDEN) -> Script:
    """Forward everything to the account except deletions, by default as for a role without that right."""
    parts = dict(part.split("=", 1) for part in settings.connection_string.split(";"))
    root = parts[f"{service}Endpoint"].removesuffix(f"/{ACCOUNT}")

    def script(asked: RecordedRequest) -> ScriptedResponse:
        if asked.method == "DELETE":
            return refusal
        headers = {name: value for name, value in asked.headers.items() if name != "host"}
        answer = requests.request(asked.method, root + asked.path, headers=headers, data=asked.body, timeout=30)
        passed_on = {name: value for name, value in answer.headers.items() if name.lower() not in _OF_THE_CONNECTION}
        return ScriptedResponse(answer.status_code, answer.content, passed_on)

    return script
