"""Runs infra/deploy.sh against a stand-in for `az`, which records commands and returns scripted answers."""

import json
import os
import re
import shlex
import ssl
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import trustme

from infra.verify import FUNCTIONS, ROLES, STORAGE, VAULT
from tests.infra.bicep import INFRA

SECRET_ID = "whsec_" + "A" * 43 + "="
"""Not a secret: a DESTINATION_SECRET of a user, which tests search for."""

CLIENT_STATE = "B" * 43 + "="
"""Not a secret either: the value of client-state-secret in the vault."""

_AZ = r"""#!/bin/bash
files=()
for argument; do
  if [[ $argument == @* ]]; then mapfile -d '' -O "${#files[@]}" files <"${argument:1}"; fi
done
printf '%s\0' "$#" "$@" "${#files[@]}" "${files[@]}" >>"$AZ_RECORD"

answer() { # the only one, or one after the other, and the last one from then on
  local turns before=-1 turn
  if (($# > 1)); then
    printf '%s\0' "$line" >>"$AZ_RECORD.turns"
    mapfile -d '' turns <"$AZ_RECORD.turns"
    for turn in "${turns[@]}"; do if [[ $turn == "$line" ]]; then ((before += 1)); fi; done
    shift $((before < $# ? before : $# - 1))
  fi
  if [[ $1 == ERROR* ]]; then fail "$1"; fi
  printf '%s\n' "$1"
}

fail() { printf '%s\n' "$1" >&2; exit 1; }

line="$*"
case "$line" in
%s
*) answer '' ;;
esac
"""
"""A shell script: Python takes ten times as long to start, and a deployment runs `az` fifty times."""

_SLEEP = """#!/bin/sh
exit 0
"""

_TENANT = "11111111-1111-4111-8111-111111111111"
_ME = "33333333-3333-4333-8333-333333333333"
APPLICATION = "22222222-2222-4222-8222-222222222222"
_VAULTS = "--resource-group relay --resource-type Microsoft.KeyVault/vaults"
_VAULT = "/subscriptions/s/resourceGroups/relay/providers/Microsoft.KeyVault/vaults/v"
_ROLES = ("ChannelMessage.Read.All", "Chat.Read.All", "Team.ReadBasic.All", "User.ReadBasic.All")

DECLARED = [
    {"resource": f"/{collection}/getAllMessages", "changeTypes": ["created"]} for collection in ("chats", "teams")
]


def settings(url: str, **changed: str) -> str:
    """Return the app's settings as `az` lists them: references in place of secrets."""
    values = {
        "AzureWebJobsStorage__accountName": "relay",
        "AzureWebJobsStorage__credential": "managedidentity",
        "GRAPH_TENANT_ID": _TENANT,
        "GRAPH_CLIENT_ID": APPLICATION,
        "NOTIFICATION_URL": url,
        "SUBSCRIPTIONS": json.dumps(DECLARED),
        "CLIENT_STATE_SECRET": "@Microsoft.KeyVault(SecretUri=https://relaykeys.example/secrets/client-state-secret/)",
        "DESTINATION_SECRET": "@Microsoft.KeyVault(SecretUri=https://relaykeys.example/secrets/destination-secret/)",
        "DESTINATION_URL": "https://feed.example.org/events",
        "KEY_STORE": "https://relaykeys.vault.azure.net/",
        "SWEEP_INTERVAL_HOURS": None,
        **changed,
    }
    return json.dumps([{"name": name, "value": value, "slotSetting": False} for name, value in values.items()])


Answer = str | None | list[str]
World = list[tuple[str, Answer]]

OPEN, CLOSED = "OPEN/api/notifications", "CLOSED/api/notifications"
"""URLs of the app, where `deploy` starts a server: one echoes a handshake, one refuses all requests."""

SITE = "/subscriptions/s/resourceGroups/relay/providers/Microsoft.Web/sites/relay-app"
_OUTPUT = "deployment group list --resource-group relay --output tsv --query sort_by([?properties.outputs.appName], "
_OUTPUT += "&properties.timestamp)[-1].properties.outputs."
_PRINCIPALS = "rest --method get --url https://graph.microsoft.com/v1.0/servicePrincipals"
_CHANGE_TRACKING = "0bf30f3b-4a52-48df-9a82-234910c4a086"
_OUR_ROLE = "Graph Relay key keeper (relay, 11111111)"


def _found(*principals: dict[str, Any]) -> str:
    return json.dumps({"value": list(principals)})


def named(name: str, **properties: Any) -> dict[str, Any]:
    """Return a resource as Resource Manager lists it."""
    return {"name": name, "properties": {"name": name, **properties}}


def registration(name: str = "Graph Relay (relay, 11111111)", **credentials: Any) -> str:
    """Return the app registration, as `az ad app show` prints it."""
    return json.dumps({"displayName": name, "passwordCredentials": [], "keyCredentials": [], **credentials})


REFERENCES = _found(*(named(name, status="Resolved") for name in ("CLIENT_STATE_SECRET", "DESTINATION_SECRET")))
WAITING = _found(
    named("CLIENT_STATE_SECRET", status="Resolved"),
    named("DESTINATION_SECRET", status="AccessToKeyVaultDenied", details="Key Vault reference was not able to resolve"),
)
GRANTED = _found(*({"appRoleId": f"id-of-{name}", "resourceId": "graph"} for name in _ROLES))
HEARD = [["run", "", 1], *(["access", to, 1] for to in (*STORAGE, *VAULT))]
HEARD += [["subscription", f"/{collection}/getAllMessages", 3_000] for collection in ("chats", "teams")]


def site(profile: str = "cheap") -> str:
    """Return the list of the group's apps, as `az resource list` prints it."""
    tags = {"application": "graph-relay", "purpose": "relay-app", "profile": profile, "azd-service-name": "relay"}
    return json.dumps([{"id": SITE, "tags": tags}])


def heard(*rows: list[Any]) -> str:
    """Return an answer of Log Analytics."""
    return json.dumps({"tables": [{"rows": list(rows)}]})


# The output of each command, by its beginning; None: it fails. The first match counts. A list: one after the other.
_AZURE: World = [
    (f"{_OUTPUT}appName", "relay-app"),
    (f"{_OUTPUT}notificationUrl", OPEN),
    (_OUTPUT, "an-output"),
    ("functionapp config appsettings list", settings(OPEN)),
    ("resource list --resource-group relay --resource-type Microsoft.Web/sites --output json", site()),
    (f"rest --method get --url {SITE}/functions?", _found(*map(named, FUNCTIONS))),
    (f"rest --method get --url {SITE}/host/default", json.dumps({"properties": {"state": "Running"}})),
    (f"rest --method get --url {SITE}/config/configreferences", REFERENCES),
    (f"rest --method get --url {SITE}?", json.dumps(
        {"identity": {"userAssignedIdentities": {"id": {"principalId": "the-identity"}}}})),
    ("role assignment list", json.dumps([
        *({"roleDefinitionId": f"/x/{role}", "roleDefinitionName": name} for role, name in ROLES.items()),
        {"roleDefinitionId": "/x/ours", "roleDefinitionName": _OUR_ROLE}])),
    ("monitor log-analytics workspace list", json.dumps([{"customerId": "the-workspace"}])),
    ("rest --method post --url https://api.loganalytics.io", heard(*HEARD)),
    ("network application-gateway list", json.dumps([{"name": "relay-gateway"}])),
    ("network application-gateway show-backend-health", json.dumps(
        {"backendAddressPools": [{"backendHttpSettingsCollection": [{"servers": [{"health": "Healthy"}]}]}]})),
]  # fmt: skip
_ALWAYS: World = [
    ("account show", _TENANT),
    ("ad app create", APPLICATION),
    ("ad sp create", json.dumps({"id": "made"})),
    ("ad sp show --id 00000003", "\n".join(f"{name}\tid-of-{name}" for name in _ROLES)),
    ("ad signed-in-user show", _ME),
    ("deployment group create --resource-group relay --name certificate-vault", "relaytls"),
    (f"{_PRINCIPALS}?$filter=appId eq '00000003", _found(
        {"id": "graph", "appRoles": [{"value": name, "id": f"id-of-{name}"} for name in _ROLES]})),
    (f"resource list {_VAULTS} --query [?tags.purpose=='relay-keys'].name", "relaykeys"),
    (f"resource list {_VAULTS}", _VAULT),
    *_AZURE,
]  # fmt: skip
EMPTY: World = [
    ("group exists", "false"),
    ("keyvault certificate show", None),
    (f"{_PRINCIPALS}?$filter=appId eq '{APPLICATION}'", [_found(), _found({"id": "made"})]),
    (f"{_PRINCIPALS}?$filter=appId eq '{_CHANGE_TRACKING}'", [_found(), _found({"id": "made"})]),
    (f"{_PRINCIPALS}/made/appRoleAssignments", [_found(), GRANTED]),
    ("rest --method get --url /subscriptions/s/resourceGroups/relay/providers/Microsoft.KeyVault", ""),
    *_ALWAYS,
]
DEPLOYED: World = [
    ("group exists", "true"),
    ("group show --name relay --query tags.graphRelayClientId", APPLICATION),
    ("storage account list", "Standard_LRS"),
    (f"ad app show --id {APPLICATION}", registration()),
    (
        f"ad app federated-credential list --id {APPLICATION} --output json",
        json.dumps([{"name": "graph-relay-identity", "issuer": "https://login.microsoftonline.com/"}]),
    ),
    ("ad app owner list", json.dumps([{"id": _ME, "userPrincipalName": "me@example.org"}])),
    ("ad signed-in-user show --output json", json.dumps({"id": _ME})),
    (f"ad app federated-credential list --id {APPLICATION} --query [?name==", "there"),
    (f"{_PRINCIPALS}?$filter=appId eq", _found({"id": "made"})),
    (f"{_PRINCIPALS}/made/appRoleAssignments", GRANTED),
    (f"{_PRINCIPALS}/made/owners", _found()),
    ("keyvault list-deleted", "relayold"),
    ("keyvault secret show --vault-name relaykeys --name client-state-secret", CLIENT_STATE),
    ("keyvault secret show --vault-name relaykeys --name destination-secret", SECRET_ID),
    (f"rest --method get --url {_VAULT}/secrets", "client-state-secret\ndestination-secret"),
    ("consumption budget list", "2026-03-01T00:00:00Z"),
    ("role definition list", "role-id"),
    ("resource list --resource-group relay --output tsv --resource-type Microsoft.Web/sites", "cheap"),
    *_ALWAYS,
]
DEPLOYED.insert(0, _ALWAYS[6])  # of Graph itself, before that of any app
WITH_GATEWAY: World = [
    ("resource list --resource-group relay --output tsv --resource-type Microsoft.Web/sites", "gateway"),
    ("resource list --resource-group relay --resource-type Microsoft.Web/sites --output json", site("gateway")),
    (f"{_OUTPUT}notificationUrl", CLOSED),
    ("functionapp config appsettings list", settings(CLOSED)),
    *DEPLOYED,
]


class _Endpoint(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        query = parse_qs(urlsplit(self.path).query)
        is_open = self.path.startswith("/open/")
        self.send_response(200 if is_open else 403)
        self.send_header("Content-Type", "text/plain")
        self.end_headers()
        self.wfile.write(query["validationToken"][0].encode() if is_open else b"<html>no</html>")

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Log nothing."""


@cache
def _endpoint() -> tuple[str, str]:
    """Start a server for handshakes; return its URL, and the authority that signed its certificate."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    server = ThreadingHTTPServer(("localhost", 0), _Endpoint)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"https://localhost:{server.server_port}", authority.cert_pem.bytes().decode()


@dataclass
class Run:
    """The result of a run: exit code, output, every `az` command with its files, remaining files."""

    code: int
    said: str
    commands: list[list[str]] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    left: str = ""

    def ran(self, *beginning: str) -> list[list[str]]:
        """Return the commands with this beginning."""
        return [command for command in self.commands if command[: len(beginning)] == list(beginning)]

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters of main.bicep."""
        documents = [document["parameters"] for document in map(json.loads, self.files) if "parameters" in document]
        return {name: parameter["value"] for name, parameter in documents[-1].items()}

    @property
    def secrets(self) -> dict[str, str]:
        """The secrets that were written to the vault, by name."""
        names = [command[4].split("?")[0].rpartition("/")[2] for command in self.ran("rest", "--method", "put")]
        values = [
            document["properties"]["value"] for document in map(json.loads, self.files) if "properties" in document
        ]
        return dict(zip(names, values, strict=True))


def parameters(**changed: Any) -> dict[str, Any]:
    """Return a file like infra/parameters.example.json, with real addresses and these changes."""
    example = json.loads((INFRA / "parameters.example.json").read_text(encoding="utf-8"))
    example["parameters"] |= {"graphAddresses": {"value": ["52.159.23.209", "20.20.32.0/19"]}}
    example["parameters"] |= {name: {"value": value} for name, value in changed.items()}
    return example  # type: ignore[no-any-return]


def _branch(beginning: str, answer: Answer) -> str:
    """Return the line of the stand-in for commands with this beginning."""
    does = "fail 'no such thing'" if answer is None else shlex.join(["answer", *_texts(answer)])
    return f"{shlex.quote(beginning)}*) {does} ;;"


def _texts(answer: str | list[str]) -> list[str]:
    return [answer] if isinstance(answer, str) else answer


def _recorded(record: str) -> tuple[list[list[str]], list[str]]:
    """Return the commands of a record, and the files that were given to them."""
    commands, files = [], list[str]()
    words = iter(record.split("\0")[:-1])
    for number in words:
        commands.append(list(islice(words, int(number))))
        files += islice(words, int(next(words)))
    return commands, files


def deploy(
    directory: Path,
    *arguments: str,
    world: World,
    answer: str = "",
    given: dict[str, Any] | None = None,
    command: Sequence[str] = (),
    **environ: str,
) -> Run:
    """Run the script, or another command, with scripted answers.

    `answer` is typed at its prompt; `given` is the file of parameters.
    """
    directory.mkdir(exist_ok=True)
    az, record = directory / "az", directory / "record"
    (directory / "sleep").write_text(_SLEEP)
    (directory / "sleep").chmod(0o755)
    if not (directory / "python3").exists():  # this interpreter itself: a version manager's takes five times as long
        (directory / "python3").symlink_to(Path(sys.executable).resolve())
    record.write_text("")
    record.with_name("record.turns").unlink(missing_ok=True)
    address, authority = _endpoint()
    (directory / "authority.pem").write_text(authority)
    served = {"OPEN/": f"{address}/open/", "CLOSED/": f"{address}/closed/"}
    answers = "\n".join(_branch(beginning, answer) for beginning, answer in world)
    az.write_text(_AZ.replace("%s\n*)", re.sub("OPEN/|CLOSED/", lambda place: served[place[0]], answers) + "\n*)"))
    az.chmod(0o755)
    command = [re.sub("OPEN/|CLOSED/", lambda place: served[place[0]], word) for word in command]
    subscriptions = directory / "subscriptions.json"
    subscriptions.write_text(json.dumps(DECLARED))
    chosen = directory / "parameters.json"
    chosen.write_text(json.dumps(given or parameters()))
    files = ["--subscriptions", str(subscriptions), "--parameters", str(chosen)]
    done = subprocess.run(
        command or ["bash", str(INFRA / "deploy.sh"), "--resource-group", "relay", *files, *arguments],
        env={
            **os.environ,
            "PATH": f"{directory}:{os.environ['PATH']}",
            "AZ_RECORD": str(record),
            "DEPLOY_PACKAGE": str(directory / "graph-relay.zip"),
            "TMPDIR": str(directory),
            "SSL_CERT_FILE": str(directory / "authority.pem"),
            **environ,
        },
        input=answer,
        capture_output=True,
        text=True,
        check=False,
    )
    commands, files_given = _recorded(record.read_text())
    left = "".join(path.read_text() for path in directory.glob("tmp.*"))
    return Run(done.returncode, done.stdout + done.stderr, commands, files_given, left)
