"""Runs infra/deploy.sh against a stand-in for `az`, which notes what it is asked and makes up Azure's answers."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.infra.bicep import INFRA

SECRET_ID = "whsec_" + "A" * 43 + "="
"""Not a secret: what a user might give as DESTINATION_SECRET, to look for it afterwards."""

CLIENT_STATE = "B" * 43 + "="
"""Not a secret either: what the vault says of client-state-secret."""

_AZ = """
import json, os, sys
from pathlib import Path
arguments = sys.argv[1:]
files = [Path(one[1:]).read_text() for one in arguments if one.startswith("@")]
with open(os.environ["AZ_RECORD"], "a") as record:
    record.write(json.dumps({"arguments": arguments, "files": files}) + "\\n")
answers = json.loads(Path(os.environ["AZ_ANSWERS"]).read_text())
line = " ".join(arguments)
answer = next((text for start, text in answers if line.startswith(start)), "")
sys.exit("no such thing") if answer is None else print(answer)
"""

_TENANT = "11111111-1111-4111-8111-111111111111"
APPLICATION = "22222222-2222-4222-8222-222222222222"
_VAULTS = "--resource-group relay --resource-type Microsoft.KeyVault/vaults"
_VAULT = "/subscriptions/s/resourceGroups/relay/providers/Microsoft.KeyVault/vaults/v"
_ROLES = ("ChannelMessage.Read.All", "Chat.Read.All", "GroupMember.Read.All", "User.ReadBasic.All")

# As `az` lists them: of what is in the vault, only where it lies.
_SETTINGS = json.dumps(
    [
        {"name": name, "value": value, "slotSetting": False}
        for name, value in {
            "AzureWebJobsStorage__accountName": "relay",
            "AzureWebJobsStorage__credential": "managedidentity",
            "GRAPH_TENANT_ID": _TENANT,
            "GRAPH_CLIENT_ID": APPLICATION,
            "NOTIFICATION_URL": "https://relay.example.org/api/notifications",
            "SUBSCRIPTIONS": '[{"resource": "/chats/getAllMessages", "changeTypes": ["created"]}]',
            "CLIENT_STATE_SECRET": "@Microsoft.KeyVault(SecretUri=https://relaykeys.example/secrets/client-state-secret/)",
            "DESTINATION_SECRET": "@Microsoft.KeyVault(SecretUri=https://relaykeys.example/secrets/destination-secret/)",
            "DESTINATION_URL": "https://feed.example.org/events",
            "KEY_STORE": "https://relaykeys.vault.azure.net/",
            "SWEEP_INTERVAL_HOURS": None,
        }.items()
    ]
)

# What each command prints, by its beginning; None: it fails. The first that fits counts.
_ALWAYS: list[tuple[str, str | None]] = [
    ("account show", _TENANT),
    ("ad app create", APPLICATION),
    ("ad sp show --id 00000003", "\n".join(f"{name}\tid-of-{name}" for name in _ROLES)),
    ("ad signed-in-user show", "33333333-3333-4333-8333-333333333333"),
    ("deployment group create --resource-group relay --name certificate-vault", "relaytls"),
    ("deployment group show --resource-group relay --name graph-relay --query properties.outputs.appName", "relay-app"),
    ("deployment group show", "an-output"),
]
EMPTY: list[tuple[str, str | None]] = [
    *_ALWAYS,
    ("group exists", "false"),
    ("keyvault certificate show", None),
]
DEPLOYED: list[tuple[str, str | None]] = [
    *_ALWAYS,
    ("group exists", "true"),
    ("group show --name relay --query tags.graphRelayClientId", APPLICATION),
    ("storage account list", "Standard_LRS"),
    ("ad sp list", "there"),
    ("ad app federated-credential list", "there"),
    ("keyvault list-deleted", "relayold"),
    (f"resource list {_VAULTS} --query [?tags.purpose=='relay-keys'].name", "relaykeys"),
    (f"resource list {_VAULTS}", _VAULT),
    ("functionapp config appsettings list", _SETTINGS),
    ("keyvault secret show --vault-name relaykeys --name client-state-secret", CLIENT_STATE),
    ("keyvault secret show --vault-name relaykeys --name destination-secret", SECRET_ID),
    ("rest --method get", "there"),
    ("consumption budget list", "2026-03-01T00:00:00Z"),
    ("role definition list", "role-id"),
]
WITH_GATEWAY: list[tuple[str, str | None]] = [
    *DEPLOYED,
    ("resource list --resource-group relay --query [0].id --output tsv --resource-type Microsoft.Network", "gateway"),
]


@dataclass
class Run:
    """What came of a run: its exit code, what it said, and every `az` command with the files it was given."""

    code: int
    said: str
    commands: list[list[str]] = field(default_factory=list)
    files: list[str] = field(default_factory=list)

    def ran(self, *beginning: str) -> list[list[str]]:
        """Return the commands that begin so."""
        return [one for one in self.commands if one[: len(beginning)] == list(beginning)]

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters of main.bicep that the script made itself."""
        documents: dict[str, Any] = json.loads(self.files[-1])["parameters"]
        return {name: one["value"] for name, one in documents.items()}


def deploy(
    directory: Path, *arguments: str, world: list[tuple[str, str | None]], answer: str = "", **environ: str
) -> Run:
    """Run the script in a world that answers as said; `answer` is typed into it."""
    directory.mkdir(exist_ok=True)
    az, record, answers = directory / "az", directory / "record", directory / "answers"
    az.write_text(f"#!{sys.executable} -IS{_AZ}")  # without the site: a command in a tenth of the time
    az.chmod(0o755)
    record.write_text("")
    answers.write_text(json.dumps(world))
    subscriptions = directory / "subscriptions.json"
    declared = [
        {"resource": one, "changeTypes": ["created"]} for one in ("/chats/getAllMessages", "/teams/getAllMessages")
    ]
    subscriptions.write_text(json.dumps(declared))
    files = ["--subscriptions", str(subscriptions), "--parameters", str(INFRA / "parameters.example.json")]
    done = subprocess.run(
        ["bash", str(INFRA / "deploy.sh"), "--resource-group", "relay", *files, *arguments],
        env={
            **os.environ,
            "PATH": f"{directory}:{os.environ['PATH']}",
            "AZ_RECORD": str(record),
            "AZ_ANSWERS": str(answers),
            "DEPLOY_PACKAGE": str(directory / "graph-relay.zip"),
            "TMPDIR": str(directory),
            **environ,
        },
        input=answer,
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [json.loads(line) for line in record.read_text().splitlines()]
    commands = [line["arguments"] for line in lines]
    return Run(done.returncode, done.stdout + done.stderr, commands, [file for line in lines for file in line["files"]])
