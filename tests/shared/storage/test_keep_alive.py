"""Idle connections are probed: Azure's NAT forgets them after four minutes (docs/host.md)."""

import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from shared.configuration.settings import storage_settings
from shared.keys import key_vault
from shared.storage.account import identity_credential
from tests.servers import RecordedRequest, ScriptedResponse, serving

_KEEP_ALIVE_TIMER = "02"
TOKEN = b'{"access_token": "t", "expires_on": "4102444800", "resource": "r", "token_type": "Bearer"}'


def timers(port: int) -> list[str]:
    """The timers of the connections to a port of this machine (the kernel's documentation, proc_net_tcp)."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]]
    return [row[5].partition(":")[0] for row in rows if int(row[2].rpartition(":")[2], 16) == port and row[3] == "01"]


@pytest.mark.server
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the timers of its connections")
def test_the_connections_of_the_apps_identity_are_kept_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    def token(_: RecordedRequest) -> ScriptedResponse:
        return ScriptedResponse(200, TOKEN, {"Content-Type": "application/json"})

    with serving(token) as server:
        monkeypatch.setenv("IDENTITY_ENDPOINT", f"{server.url}/token")
        monkeypatch.setenv("IDENTITY_HEADER", "header")
        settings = storage_settings({"AzureWebJobsStorage__accountName": "somewhere"})
        credentials = [identity_credential(settings), key_vault.credential(None)]
        assert [credential.get_token("https://storage.azure.com/.default").token for credential in credentials] == [
            "t",
            "t",
        ]
        port = urlsplit(server.url).port or 0
        assert timers(port) == [_KEEP_ALIVE_TIMER] * 2
