"""The effect of infra/deploy.sh on Azure, seen from its commands."""

import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from infra.parameters import Wrong, check
from shared.configuration.settings import Settings
from tests.infra.bicep import INFRA
from tests.infra.deployment import (
    APPLICATION,
    CLIENT_STATE,
    CLOSED,
    DEPLOYED,
    EMPTY,
    REFERENCES,
    SECRET_ID,
    SITE,
    WAITING,
    WITH_GATEWAY,
    Run,
    World,
    deploy,
    parameters,
    registration,
)
from tests.once import once
from tools import azure_cli

pytestmark = pytest.mark.process

PARSER = Path(__file__).parent / "az_parser.py"


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return once(tmp_path_factory, "first", lambda directory: deploy(directory, world=EMPTY))


@pytest.fixture(scope="module")
def again(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return once(tmp_path_factory, "again", lambda directory: deploy(directory, world=DEPLOYED))


@pytest.fixture(scope="module")
def awkward(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A first run where others have to consent and create Graph's principal, budgets are unknown and Entra ID lags."""
    refused = "ERROR: Authorization_RequestDenied: Insufficient privileges to complete the operation."
    world: World = [
        ("rest --method post --url https://graph", refused),
        ("rest --method get --url https://graph.microsoft.com/v1.0/servicePrincipals/made", json.dumps({"value": []})),
        ("ad sp create --id 0bf30f3b", refused),
        ("consumption budget list", None),
        ("ad app update", ["ERROR: Resource does not exist", "ERROR: Resource does not exist", ""]),
        ("ad app federated-credential create", ["ERROR: Request_ResourceNotFound", ""]),
        ("functionapp deployment source config-zip", ["ERROR: 404", ""]),
        *EMPTY,
    ]
    given = parameters(monthlyBudget=0)
    del given["parameters"]["name"]
    return once(
        tmp_path_factory,
        "awkward",
        lambda directory: deploy(directory, world=world, given=given, DESTINATION_SECRET=SECRET_ID),
    )


@pytest.fixture(scope="module")
def behind_gateway(tmp_path_factory: pytest.TempPathFactory) -> Run:
    given = parameters()
    del given["parameters"]["name"]

    def run(directory: Path) -> Run:
        certificate = directory / "relay.pfx"
        certificate.touch()  # az looks for it
        asked = ("--profile", "gateway", "--tls-certificate", str(certificate))
        return deploy(directory, *asked, world=[*WITH_GATEWAY[1:4], *EMPTY], given=given)

    return once(tmp_path_factory, "gateway", run)


def test_first_run_makes_everything_in_order(first: Run) -> None:
    assert first.code == 0, first.said
    milestones = [
        ("group", "create"),
        ("ad", "app", "create"),
        ("deployment", "group", "create"),
        ("rest", "--method", "put"),
        ("ad", "app", "federated-credential", "create"),
        (
            "rest",
            "--method",
            "post",
            "--url",
            "https://graph.microsoft.com/v1.0/servicePrincipals/graph/appRoleAssignedTo",
        ),
        ("rest", "--method", "get", "--url", f"{SITE}/config/configreferences/appsettings?api-version=2025-03-01"),
        ("functionapp", "deployment", "source", "config-zip"),
        ("rest", "--method", "get", "--url", f"{SITE}/functions?api-version=2025-03-01"),
    ]
    places = [first.commands.index(first.ran(*beginning)[0]) for beginning in milestones]
    assert places == sorted(places)


def test_second_run_makes_nothing_twice(again: Run) -> None:
    assert again.code == 0, again.said
    made = [
        command
        for command in again.commands
        if "create" in command and command[:3] != ["deployment", "group", "create"]
    ]
    made += again.ran("rest", "--method", "put") + again.ran("rest", "--method", "post", "--url", "https://graph")
    assert made == []


def test_secrets_are_made_once(first: Run, again: Run) -> None:
    assert len(first.secrets["client-state-secret"]) == 44
    assert first.secrets["destination-secret"].startswith("whsec_")
    assert again.secrets == {}
    assert not any("secret" in name.lower() for name in first.parameters)


def test_secrets_are_not_made_when_azure_does_not_say_what_there_is(tmp_path: Path) -> None:
    run = deploy(tmp_path, "--connect", world=[("rest --method get --url /subscriptions", None), *DEPLOYED])
    assert run.code != 0
    assert run.secrets == {}


def test_secrets_are_neither_printed_nor_left_behind_nor_on_a_command_line(awkward: Run) -> None:
    assert awkward.secrets["destination-secret"] == SECRET_ID
    said = awkward.said + json.dumps(awkward.commands) + awkward.left
    assert [secret for secret in awkward.secrets.values() if secret in said] == []


def test_registration_asks_for_what_the_declarations_need_and_no_more(first: Run) -> None:
    update = first.ran("ad", "app", "update")[0]
    (asked,) = json.loads(update[update.index("--required-resource-accesses") + 1])
    names = {"ChannelMessage.Read.All", "Chat.Read.All", "Team.ReadBasic.All", "User.ReadBasic.All"}
    assert {access["id"] for access in asked["resourceAccess"]} == {f"id-of-{name}" for name in names}
    assert {access["type"] for access in asked["resourceAccess"]} == {"Role"}


def test_graph_gets_tokens_for_the_app(first: Run) -> None:
    assert "appRoleAssignmentRequired=false" in first.ran("ad", "sp", "update")[0]
    assert first.ran("ad", "sp", "create", "--id", "0bf30f3b-4a52-48df-9a82-234910c4a086")


def test_a_refused_principal_of_change_tracking_stops_nothing_and_is_named(awkward: Run) -> None:
    assert "az ad sp create --id 0bf30f3b-4a52-48df-9a82-234910c4a086" in awkward.said
    assert awkward.ran("functionapp", "deployment")


def test_the_registration_is_found_by_the_tag_of_the_resource_group_only(first: Run, again: Run) -> None:
    assert first.ran("group", "update", "--name", "relay", "--set", f"tags.graphRelayClientId={APPLICATION}")
    assert again.ran("ad", "app", "update", "--id", APPLICATION)
    assert again.ran("ad", "app", "list") == []


def test_registration_and_role_are_named_after_group_and_subscription(first: Run) -> None:
    (made,) = first.ran("ad", "app", "create")
    assert made[made.index("--display-name") + 1] == "Graph Relay (relay, 11111111)"
    assert "take(subscription().subscriptionId, 8)" in (INFRA / "modules" / "keys.bicep").read_text(encoding="utf-8")


@pytest.mark.parametrize("arguments", [(), ("--what-if",)])
def test_a_registration_that_only_has_the_name_is_not_touched(arguments: tuple[str, ...], tmp_path: Path) -> None:
    unnamed: World = [("group exists", "true"), ("ad app list", "somebody-elses"), *EMPTY]
    run = deploy(tmp_path, *arguments, world=unnamed)
    assert run.code != 0
    assert "az group update --name relay --set tags.graphRelayClientId=somebody-elses" in run.said
    assert [command for command in run.commands if command[:2] == ["ad", "app"] and command[2] != "list"] == []
    assert run.ran("deployment") == []


def test_permissions_are_granted_one_by_one_and_none_is_removed(first: Run) -> None:
    bodies = [
        json.loads(command[command.index("--body") + 1])
        for command in first.commands
        if "--body" in command and command[2] == "post"
    ]
    granted = {body["appRoleId"] for body in bodies if "appRoleId" in body}
    assert granted == {f"id-of-{name}" for name in (
        "ChannelMessage.Read.All", "Chat.Read.All", "Team.ReadBasic.All", "User.ReadBasic.All")}  # fmt: skip
    assert all(
        body["principalId"] == "made" and body["resourceId"] == "graph" for body in bodies if "appRoleId" in body
    )
    assert first.ran("ad", "app", "permission") == []


def test_refused_consent_stops_nothing_and_says_what_an_administrator_does(awkward: Run) -> None:
    assert f"python3 infra/consent.py {APPLICATION} ChannelMessage.Read.All" in awkward.said
    assert "Grant admin consent" in awkward.said
    assert "adminconsent?" not in awkward.said  # there is no page to return to: AADSTS500113
    assert awkward.code == 1  # and the table reports it
    assert re.search(r"MISS +consent +not granted: ChannelMessage", awkward.said)


def test_what_entra_does_not_know_yet_is_tried_again(awkward: Run) -> None:
    assert len(awkward.ran("ad", "app", "update")) == 3
    assert len(awkward.ran("ad", "app", "federated-credential", "create")) == 2
    assert len(awkward.ran("functionapp", "deployment")) == 2


def test_an_offer_without_budgets_is_deployed_all_the_same(awkward: Run) -> None:
    assert "budgetStart" not in awkward.parameters
    assert awkward.parameters["monthlyBudget"] == 0


def test_declarations_are_handed_over_as_a_list_and_not_as_text(first: Run) -> None:
    assert [subscription["resource"] for subscription in first.parameters["subscriptions"]] == [
        "/chats/getAllMessages",
        "/teams/getAllMessages",
    ]


def test_without_a_name_both_templates_get_the_same(behind_gateway: Run) -> None:
    (vault,) = behind_gateway.ran(
        "deployment", "group", "create", "--resource-group", "relay", "--name", "certificate-vault"
    )
    assert f"name={behind_gateway.parameters['name']}" in vault


@pytest.mark.parametrize("profile", ["middle", "gateway", "dedicated"])
@pytest.mark.parametrize(
    ("addresses", "said"),
    [
        ([], "needs a list"),
        (["192.0.2.1"], "is an example"),
        (["10.0.0.4"], "is no public address"),
        (["0.0.0.0/0"], "is no public address"),
        (["graph.microsoft.com"], "expected an address or a range"),
        (["52.159.23.209", "52.159.23.209/32"], "twice"),
    ],
)
def test_addresses_that_let_in_nobody_or_everybody_are_refused(profile: str, addresses: list[str], said: str) -> None:
    with pytest.raises(Wrong, match=said):
        check({"graphAddresses": addresses, "hostName": "relay.example.org"}, profile)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"destinationURL": "https://x"}, "destinationURL: unknown"),
        ({"clientId": "x"}, "clientId: leave it out"),
        ({"settings": {"SUBSCRIPTIONS": "[]"}}, "settings.SUBSCRIPTIONS: expected a text that does not begin with ["),
        ({"settings": {"LEDGER_DAYS": 30}}, "settings.LEDGER_DAYS: expected a text, in quotation marks"),
        ({"profile": "grand"}, "profile: expected one of"),
        ({"settings": {"RENEW_SCHEDULE": "0 */5 * * *"}}, "settings.RENEW_SCHEDULE: expected"),
        (
            {"settings": {"APPLICATIONINSIGHTS_CONNECTION_STRING": "none"}},
            "settings.APPLICATIONINSIGHTS_CONNECTION_STRING: expected the connection string",
        ),
    ],
)
def test_parameters_that_azure_or_the_host_would_misread_are_refused(changed: dict[str, Any], said: str) -> None:
    profile = str(changed.get("profile", "cheap"))
    with pytest.raises(Wrong, match=re.escape(said)):
        check(changed, profile)


@pytest.mark.parametrize("text", ["{", "[]", '{"parameters": {"name": "relay"}}', '{"parameters": []}', ""])
def test_a_file_that_holds_no_parameters_is_refused_in_words(text: str, tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text(text)
    run = deploy(tmp_path / "az", "--parameters", str(tmp_path / "bad.json"), world=EMPTY)
    assert run.code != 0
    assert "bad.json: expected a file such as infra/parameters.example.json" in run.said
    assert "Traceback" not in run.said
    assert run.commands == []


def test_a_profile_of_the_file_is_taken_and_the_command_line_wins(tmp_path: Path) -> None:
    in_the_file = parameters(profile="middle")
    closed: World = [("deployment group list", CLOSED), *WITH_GATEWAY]
    assert deploy(tmp_path / "a", "--what-if", world=closed, given=in_the_file).parameters["profile"] == "middle"
    run = deploy(tmp_path / "b", "--what-if", "--profile", "dedicated", world=closed, given=in_the_file)
    assert run.parameters["profile"] == "dedicated"
    assert run.parameters["graphAddresses"] == ["52.159.23.209/32", "20.20.32.0/19"]


SECRET = {"displayName": "theirs", "keyId": "4"}
PRINCIPALS = "rest --method get --url https://graph.microsoft.com/v1.0/servicePrincipals"
STRANGERS: dict[str, tuple[tuple[str, str], str]] = {
    "name": ((f"ad app show --id {APPLICATION}", registration("Harmless")), "it is called Harmless"),
    "secret": (
        (f"ad app show --id {APPLICATION}", registration(passwordCredentials=[SECRET])),
        "it has a client secret, theirs",
    ),
    "secret of its principal": (
        (f"{PRINCIPALS}?$filter=appId eq '{APPLICATION}'", json.dumps({"value": [
            {"id": "made", "passwordCredentials": [SECRET]}]})),
        "it has a client secret, theirs",
    ),
    "federated credential": (
        (f"ad app federated-credential list --id {APPLICATION} --output json",
         json.dumps([{"name": "deploy", "issuer": "https://token.actions.githubusercontent.com"}])),
        "it has the federated credential deploy of https://token.actions.githubusercontent.com",
    ),
    "not to be looked at": ((f"ad app show --id {APPLICATION}", "ERROR: does not exist"), "could not be checked"),
}  # fmt: skip


@pytest.mark.parametrize(
    ("stranger", "mode"), [*((stranger, ("--connect",)) for stranger in STRANGERS), ("name", ()), ("secret", ())]
)
def test_a_tagged_foreign_registration_gets_no_consent(stranger: str, mode: tuple[str, ...], tmp_path: Path) -> None:
    answer, says = STRANGERS[stranger]
    run = deploy(tmp_path, *mode, "--known-holders", world=[answer, *DEPLOYED])
    assert run.code != 0
    assert APPLICATION in run.said
    assert says in run.said
    assert "Traceback" not in run.said
    assert run.ran("ad", "app", "update") + run.ran("rest", "--method", "post") + run.ran("deployment") == []


OTHER_OWNER = ("ad app owner list", json.dumps([{"id": "4", "userPrincipalName": "colleague@example.org"}]))
OWNER_OF_PRINCIPAL = (f"{PRINCIPALS}/made/owners", json.dumps({"value": [{"id": "5", "displayName": "their app"}]}))
CERTIFICATE = (f"ad app show --id {APPLICATION}", registration(keyCredentials=[{"displayName": "operator"}]))


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (OTHER_OWNER, "colleague@example.org is an owner, and can add a secret at any time"),
        (OWNER_OF_PRINCIPAL, "their app is an owner"),
        (CERTIFICATE, "somebody has its certificate operator"),
    ],
)
def test_who_else_holds_the_registration_is_named_and_asked_about(
    answer: tuple[str, str], says: str, tmp_path: Path
) -> None:
    run = deploy(tmp_path, "--connect", world=[answer, *DEPLOYED], answer="no\n")
    assert says in run.said
    assert run.code != 0
    assert run.ran("rest", "--method", "post") == []


def test_holders_that_are_known_are_let_pass(tmp_path: Path) -> None:
    world: World = [OTHER_OWNER, *DEPLOYED]
    typed = deploy(tmp_path / "typed", "--connect", world=world, answer="yes\n")
    said = deploy(tmp_path / "said", "--connect", "--known-holders", world=world)
    assert (typed.code, said.code) == (0, 0), typed.said + said.said


def test_destroy_does_not_delete_a_foreign_registration(tmp_path: Path) -> None:
    run = deploy(tmp_path, "--destroy", world=[STRANGERS["name"][0], *DEPLOYED], answer="relay\n")
    assert run.code == 0, run.said
    assert run.ran("group", "delete")
    assert run.ran("ad", "app", "delete") == []
    assert f"The app registration {APPLICATION} will not be deleted" in run.said


def test_references_that_wait_are_refreshed_and_the_app_started_again(tmp_path: Path) -> None:
    world: World = [(f"rest --method get --url {SITE}/config/configreferences", [WAITING, REFERENCES]), *DEPLOYED]
    script = [sys.executable, str(INFRA / "resolve.py"), "relay", "relay-app"]
    run = deploy(tmp_path, world=world, command=script, RESOLVE_PAUSES="0 0")
    assert run.code == 0, run.said
    assert run.ran(
        "rest",
        "--method",
        "post",
        "--url",
        f"{SITE}/config/configreferences/appsettings/refresh?api-version=2022-03-01",
    )
    assert run.ran("functionapp", "restart")
    never: World = [(f"rest --method get --url {SITE}/config/configreferences", WAITING), *DEPLOYED]
    run = deploy(tmp_path, world=never, command=script, RESOLVE_PAUSES="0 0")
    assert run.code != 0
    assert "DESTINATION_SECRET: Key Vault reference was not able to resolve" in run.said


def test_code_alone_can_be_deployed_and_instances_be_replaced_one_after_the_other(tmp_path: Path) -> None:
    run = deploy(tmp_path, "--code-only", "--rolling-update", world=DEPLOYED)
    assert run.code == 0, run.said
    assert run.ran("functionapp", "deployment", "source", "config-zip")
    (strategy,) = run.ran("functionapp", "update-strategy", "config", "set")
    assert strategy[-4:] == ["--type", "RollingUpdate", "--output", "none"]
    changed = (
        run.ran("deployment", "group", "create") + run.ran("ad", "app", "update") + run.ran("rest", "--method", "put")
    )
    assert changed == []


def test_budget_keeps_its_beginning(again: Run) -> None:
    assert again.parameters["budgetStart"] == "2026-03-01"


def test_vaults_deleted_with_the_group_are_recovered(again: Run) -> None:
    assert again.ran("keyvault", "recover", "--name", "relayold")


def test_what_if_changes_nothing(tmp_path: Path) -> None:
    run = deploy(tmp_path, "--what-if", "--profile", "gateway", world=DEPLOYED)
    assert run.code == 0, run.said
    harmless = ("show", "list", "exists", "what-if", "list-deleted")
    assert [command for command in run.commands if not set(harmless) & set(command[:4])] == []
    assert run.ran("deployment", "group", "what-if")


def test_gateway_asks_for_its_certificate(tmp_path: Path) -> None:
    run = deploy(tmp_path, "--profile", "gateway", world=EMPTY)
    assert run.code != 0
    assert "--tls-certificate: missing" in run.said
    assert run.ran("deployment", "group", "create", "--resource-group", "relay", "--name", "graph-relay") == []


def test_gateway_is_deployed_with_its_certificate(behind_gateway: Run) -> None:
    assert behind_gateway.code == 0, behind_gateway.said
    assert behind_gateway.ran("keyvault", "certificate", "import")
    assert behind_gateway.parameters["profile"] == "gateway"


def test_deployment_keeps_its_profile(again: Run, tmp_path: Path) -> None:
    assert again.parameters["profile"] == "cheap"
    assert deploy(tmp_path, "--what-if", world=WITH_GATEWAY).parameters["profile"] == "gateway"


def test_destroy_asks_first(tmp_path: Path) -> None:
    run = deploy(tmp_path, "--destroy", world=DEPLOYED, answer="no\n")
    assert run.code != 0
    assert run.commands == []


def test_storage_stays_as_it_is_whatever_the_profile(first: Run, tmp_path: Path) -> None:
    arguments = ("--what-if", "--profile", "gateway")
    assert "storageSku" not in first.parameters
    assert deploy(tmp_path / "kept", *arguments, world=DEPLOYED).parameters["storageSku"] == "Standard_LRS"
    run = deploy(tmp_path / "chosen", *arguments, world=DEPLOYED, given=parameters(storageSku="Standard_GRS"))
    assert run.parameters["storageSku"] == "Standard_GRS"


def test_storage_is_asked_nothing_of_when_azure_does_not_say_what_there_is(tmp_path: Path) -> None:
    run = deploy(tmp_path, "--what-if", world=[("storage account list", None), *DEPLOYED])
    assert run.code != 0
    assert run.ran("deployment", "group") == []


def test_settings_are_written_whole_for_their_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / "production.settings.json"
    file.write_text("x" * 10_000)
    file.chmod(0o644)
    run = deploy(tmp_path / "az", "--settings-file", str(file), world=DEPLOYED)
    assert run.code == 0, run.said
    before = tmp_path / "production.settings.json.copy"
    assert before.read_text() == "x" * 10_000
    assert {path.stat().st_mode & 0o777 for path in (file, before)} == {0o600}
    values = json.loads(file.read_text())["Values"]
    settings = Settings.from_environment(values)
    assert settings.client_id == APPLICATION
    assert (values["CLIENT_STATE_SECRET"], values["DESTINATION_SECRET"]) == (CLIENT_STATE, SECRET_ID)
    assert values["SWEEP_INTERVAL_HOURS"] == ""
    said = run.said + json.dumps(run.commands)
    assert [secret for secret in (CLIENT_STATE, SECRET_ID) if secret in said] == []


def test_settings_are_not_written_when_a_secret_may_not_be_read(tmp_path: Path) -> None:
    file = tmp_path / "production.settings.json"
    unavailable: World = [("keyvault secret show --vault-name relaykeys --name destination-secret", None), *DEPLOYED]
    assert deploy(tmp_path / "az", "--settings-file", str(file), world=unavailable).code != 0
    assert not file.exists()


def test_destroy_deletes_no_registration_that_the_group_does_not_name(tmp_path: Path) -> None:
    unnamed: World = [("group show", ""), ("ad app list", "somebody-elses"), *DEPLOYED]
    run = deploy(tmp_path, "--destroy", world=unnamed, answer="relay\n")
    assert run.code == 0, run.said
    assert run.ran("group", "delete")
    assert run.ran("ad", "app", "delete") == []


def test_destroy_looks_up_the_registration_before_the_group_is_deleted(tmp_path: Path) -> None:
    run = deploy(tmp_path, "--destroy", world=DEPLOYED, answer="relay\n")
    assert run.commands.index(run.ran("group", "show")[0]) < run.commands.index(run.ran("group", "delete")[0])


def test_destroy_removes_what_deploy_made(tmp_path: Path) -> None:
    run = deploy(tmp_path, "--destroy", world=DEPLOYED, answer="relay\n")
    assert run.code == 0, run.said
    assert run.ran("group", "delete")
    assert run.ran("ad", "app", "delete")
    assert run.ran("role", "definition", "delete")


def test_package_only_asks_azure_for_nothing(tmp_path: Path) -> None:
    run = deploy(tmp_path, "--package-only", world=EMPTY)
    assert run.commands == []
    assert zipfile.ZipFile(tmp_path / "graph-relay.zip").testzip() is None


@pytest.mark.parametrize(
    "arguments",
    [("--profile", "grand"), ("--nonsense",), ("--parameters", "nowhere.json"), ("--subscriptions", "nowhere")],
)
def test_wrong_arguments_are_named_before_anything_is_done(arguments: tuple[str, ...], tmp_path: Path) -> None:
    run = deploy(tmp_path, *arguments, world=EMPTY)
    assert run.code != 0
    assert arguments[0] in run.said
    assert run.commands == []


def workflow_commands() -> list[list[str]]:
    """Return the `az` commands of the workflow and of the documentation, with a word for each variable."""
    found = []
    for path in (INFRA.parent / ".github" / "workflows" / "ci.yml", *sorted((INFRA.parent / "docs").rglob("*.md"))):
        joined = path.read_text(encoding="utf-8").replace("\\\n", " ")
        for line in joined.splitlines():
            if line.strip().startswith("az "):
                script = "\n".join(["az() { printf '%s\\0' \"$@\"; }", line.strip()])
                done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
                found.append(done.stdout.split("\0")[:-1])
    return found


@pytest.mark.skipif(not azure_cli.PYTHON.exists(), reason="azure-cli is not installed: python3 tools/azure_cli.py")
def test_azure_cli_takes_every_command_line(
    first: Run, again: Run, awkward: Run, behind_gateway: Run, tmp_path: Path
) -> None:
    waiting: World = [(f"rest --method get --url {SITE}/config/configreferences", [WAITING, REFERENCES]), *DEPLOYED]
    runs = [
        first,
        again,
        awkward,
        behind_gateway,
        deploy(tmp_path / "what-if", "--what-if", world=DEPLOYED),
        deploy(tmp_path / "code", "--code-only", "--rolling-update", world=DEPLOYED),
        deploy(tmp_path / "connect", "--connect", world=waiting, RESOLVE_PAUSES="0 0"),
        deploy(tmp_path / "destroy", "--destroy", world=DEPLOYED, answer="relay\n"),
        deploy(tmp_path / "settings", "--settings-file", str(tmp_path / "settings.json"), world=DEPLOYED),
    ]
    given = [command for run in runs for command in run.commands] + workflow_commands()
    distinct = [list(entry) for entry in dict.fromkeys(map(tuple, given))]
    mistaken = ["group", "exists", "--nome", "relay"]
    asked = subprocess.run(
        [str(azure_cli.PYTHON), str(PARSER)],
        env={"AZURE_CONFIG_DIR": str(tmp_path / "azure"), "AZURE_CORE_COLLECT_TELEMETRY": "no"},
        input=json.dumps([mistaken, *distinct]),
        capture_output=True,
        text=True,
        check=True,
    )
    complaints = json.loads(asked.stdout)
    assert complaints[0]
    wrong = [(line, what) for line, what in zip(distinct, complaints[1:], strict=True) if what]
    assert wrong == [], asked.stderr


def test_an_unknown_resource_is_refused_by_name_with_what_is_near_it(tmp_path: Path) -> None:
    declared = tmp_path / "subscriptions.json"
    declared.write_text('[{"resource": "/chat/1/messages", "changeTypes": ["created"]}]')
    script = [sys.executable, str(INFRA / "graph_permissions.py"), str(declared)]
    done = subprocess.run(script, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "/chat/1/messages" in done.stderr
    assert "chats/{id}/messages" in done.stderr
