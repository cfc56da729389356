"""What infra/deploy.sh does to Azure, seen from the commands it gives."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from shared.configuration.settings import Settings
from tests.infra.bicep import INFRA
from tests.infra.deployment import APPLICATION, CLIENT_STATE, DEPLOYED, EMPTY, SECRET_ID, WITH_GATEWAY, Run, deploy
from tools import azure_cli

pytestmark = pytest.mark.process

PARSER = Path(__file__).parent / "az_parser.py"


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return deploy(tmp_path_factory.mktemp("first"), world=EMPTY)


@pytest.fixture(scope="module")
def again(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return deploy(tmp_path_factory.mktemp("again"), world=DEPLOYED)


def test_first_run_makes_everything_in_order(first: Run) -> None:
    assert first.code == 0, first.said
    milestones = [
        ("group", "create"),
        ("ad", "app", "create"),
        ("deployment", "group", "create"),
        ("ad", "app", "federated-credential", "create"),
        ("ad", "app", "permission", "admin-consent"),
        ("functionapp", "deployment", "source", "config-zip"),
    ]
    places = [first.commands.index(first.ran(*one)[0]) for one in milestones]
    assert places == sorted(places)


def test_second_run_makes_nothing_twice(again: Run) -> None:
    assert again.code == 0, again.said
    made = [one for one in again.commands if "create" in one and one[:3] != ["deployment", "group", "create"]]
    assert made == []


def test_secrets_are_made_once(first: Run, again: Run) -> None:
    assert len(first.parameters["clientStateSecret"]) == 44
    assert first.parameters["destinationSecret"].startswith("whsec_")
    assert again.parameters["clientStateSecret"] == again.parameters["destinationSecret"] == ""


def test_secrets_are_not_made_when_azure_does_not_say_what_there_is(tmp_path: Path) -> None:
    away = [("rest --method get", None), *DEPLOYED]
    run = deploy(tmp_path, world=away)
    assert run.code != 0
    assert run.ran("deployment", "group", "create") == []


def test_secrets_are_neither_said_nor_left_behind_nor_on_a_command_line(tmp_path: Path) -> None:
    run = deploy(tmp_path, world=EMPTY, DESTINATION_SECRET=SECRET_ID)
    secrets = {run.parameters["clientStateSecret"], SECRET_ID}
    assert run.parameters["destinationSecret"] == SECRET_ID
    left = "".join(path.read_text() for path in tmp_path.glob("tmp.*"))
    said = run.said + json.dumps(run.commands) + left
    assert [secret for secret in secrets if secret in said] == []


def test_registration_asks_for_what_the_declarations_need_and_no_more(first: Run) -> None:
    update = first.ran("ad", "app", "update")[0]
    (asked,) = json.loads(update[update.index("--required-resource-accesses") + 1])
    names = {"ChannelMessage.Read.All", "Chat.Read.All", "GroupMember.Read.All", "User.ReadBasic.All"}
    assert {one["id"] for one in asked["resourceAccess"]} == {f"id-of-{name}" for name in names}
    assert {one["type"] for one in asked["resourceAccess"]} == {"Role"}


def test_graph_gets_tokens_for_the_app(first: Run) -> None:
    assert "appRoleAssignmentRequired=false" in first.ran("ad", "sp", "update")[0]
    assert ["ad", "sp", "create", "--id", "0bf30f3b-4a52-48df-9a82-234910c4a086", "--output", "none"] in first.commands


def test_a_refused_principal_of_change_tracking_stops_nothing_and_is_named(tmp_path: Path) -> None:
    run = deploy(tmp_path, world=[("ad sp create --id 0bf30f3b", None), *EMPTY])
    assert run.code == 0, run.said
    assert "az ad sp create --id 0bf30f3b-4a52-48df-9a82-234910c4a086" in run.said
    assert run.ran("functionapp")


def test_registration_is_found_by_what_the_group_says_of_it_and_by_no_name(first: Run, again: Run) -> None:
    assert first.ran("group", "update", "--name", "relay", "--set", f"tags.graphRelayClientId={APPLICATION}")
    assert again.ran("ad", "app", "update", "--id", APPLICATION)
    assert again.ran("ad", "app", "list") == []


def test_registration_and_role_are_named_after_group_and_subscription(first: Run) -> None:
    (made,) = first.ran("ad", "app", "create")
    assert made[made.index("--display-name") + 1] == "Graph Relay (relay, 11111111)"
    assert "take(subscription().subscriptionId, 8)" in (INFRA / "modules" / "keys.bicep").read_text(encoding="utf-8")


@pytest.mark.parametrize("arguments", [(), ("--what-if",)])
def test_a_registration_that_only_has_the_name_is_not_touched(arguments: tuple[str, ...], tmp_path: Path) -> None:
    unnamed = [("group exists", "true"), ("ad app list", "somebody-elses"), *EMPTY]
    run = deploy(tmp_path, *arguments, world=unnamed)
    assert run.code != 0
    assert "az group update --name relay --set tags.graphRelayClientId=somebody-elses" in run.said
    assert [one for one in run.commands if one[:2] == ["ad", "app"] and one[2] != "list"] == []
    assert run.ran("deployment") == []


def test_refused_consent_stops_nothing_and_names_the_page_for_an_administrator(tmp_path: Path) -> None:
    run = deploy(tmp_path, world=[("ad app permission admin-consent", None), *EMPTY])
    assert run.code == 0
    assert "/adminconsent?client_id=" in run.said
    assert run.ran("functionapp")


def test_budget_keeps_its_beginning(again: Run) -> None:
    assert again.parameters["budgetStart"] == "2026-03-01"


def test_vaults_deleted_with_the_group_are_recovered(again: Run) -> None:
    assert again.ran("keyvault", "recover", "--name", "relayold")


def test_what_if_changes_nothing(tmp_path: Path) -> None:
    run = deploy(tmp_path, "--what-if", "--profile", "gateway", world=DEPLOYED)
    assert run.code == 0, run.said
    harmless = ("show", "list", "exists", "what-if", "rest", "list-deleted")
    assert [one for one in run.commands if not set(harmless) & set(one[:4])] == []
    assert run.ran("deployment", "group", "what-if")


def test_gateway_asks_for_its_certificate(tmp_path: Path) -> None:
    run = deploy(tmp_path, "--profile", "gateway", world=EMPTY)
    assert run.code != 0
    assert "--tls-certificate: missing" in run.said
    assert run.ran("deployment", "group", "create", "--resource-group", "relay", "--name", "graph-relay") == []


def test_gateway_is_deployed_with_its_certificate(tmp_path: Path) -> None:
    run = deploy(tmp_path, "--profile", "gateway", "--tls-certificate", "relay.pfx", world=EMPTY)
    assert run.code == 0, run.said
    assert run.ran("keyvault", "certificate", "import")
    assert run.parameters["profile"] == "gateway"


def test_deployment_keeps_its_profile(again: Run, tmp_path: Path) -> None:
    assert again.parameters["profile"] == "cheap"
    assert deploy(tmp_path, world=WITH_GATEWAY).parameters["profile"] == "gateway"


def test_destroy_asks_first(tmp_path: Path) -> None:
    run = deploy(tmp_path, "--destroy", world=DEPLOYED, answer="no\n")
    assert run.code != 0
    assert run.commands == []


def test_storage_stays_as_it_is_whatever_the_profile(first: Run, tmp_path: Path) -> None:
    arguments = ("--profile", "gateway", "--tls-certificate", "relay.pfx")
    assert "storageSku" not in first.parameters
    assert deploy(tmp_path / "kept", *arguments, world=DEPLOYED).parameters["storageSku"] == "Standard_LRS"
    given = json.loads((INFRA / "parameters.example.json").read_text(encoding="utf-8"))
    given["parameters"]["storageSku"] = {"value": "Standard_GRS"}
    chosen = tmp_path / "parameters.json"
    chosen.write_text(json.dumps(given))
    run = deploy(tmp_path / "chosen", *arguments, "--parameters", str(chosen), world=DEPLOYED)
    assert run.parameters["storageSku"] == "Standard_GRS"


def test_storage_is_asked_nothing_of_when_azure_does_not_say_what_there_is(tmp_path: Path) -> None:
    run = deploy(tmp_path, world=[("storage account list", None), *DEPLOYED])
    assert run.code != 0
    assert run.ran("deployment", "group", "create") == []


def test_settings_are_written_whole_for_their_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / "production.settings.json"
    file.write_text("x" * 10_000)
    file.chmod(0o644)
    run = deploy(tmp_path / "az", "--settings-file", str(file), world=DEPLOYED)
    assert run.code == 0, run.said
    assert file.stat().st_mode & 0o777 == 0o600
    values = json.loads(file.read_text())["Values"]
    settings = Settings.from_environment(values)
    assert settings.client_id == APPLICATION
    assert (values["CLIENT_STATE_SECRET"], values["DESTINATION_SECRET"]) == (CLIENT_STATE, SECRET_ID)
    assert values["SWEEP_INTERVAL_HOURS"] == ""
    said = run.said + json.dumps(run.commands)
    assert [secret for secret in (CLIENT_STATE, SECRET_ID) if secret in said] == []


def test_settings_are_not_written_when_a_secret_may_not_be_read(tmp_path: Path) -> None:
    file = tmp_path / "production.settings.json"
    away = [("keyvault secret show --vault-name relaykeys --name destination-secret", None), *DEPLOYED]
    assert deploy(tmp_path / "az", "--settings-file", str(file), world=away).code != 0
    assert not file.exists()


def test_destroy_deletes_no_registration_that_the_group_does_not_name(tmp_path: Path) -> None:
    unnamed = [("group show", ""), ("ad app list", "somebody-elses"), *DEPLOYED]
    run = deploy(tmp_path, "--destroy", world=unnamed, answer="relay\n")
    assert run.code == 0, run.said
    assert run.ran("group", "delete")
    assert run.ran("ad", "app", "delete") == []


def test_destroy_asks_for_the_registration_while_the_group_can_tell(tmp_path: Path) -> None:
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
def test_azure_cli_takes_every_command_line(tmp_path: Path) -> None:
    certificate = tmp_path / "relay.pfx"
    certificate.touch()  # the parser looks for it
    runs = [
        deploy(tmp_path / "first", world=EMPTY),
        deploy(tmp_path / "gateway", "--profile", "gateway", "--tls-certificate", str(certificate), world=DEPLOYED),
        deploy(tmp_path / "asked", "--profile", "gateway", world=EMPTY),
        deploy(tmp_path / "what-if", "--what-if", world=DEPLOYED),
        deploy(tmp_path / "destroy", "--destroy", world=DEPLOYED, answer="relay\n"),
        deploy(tmp_path / "settings", "--settings-file", str(tmp_path / "settings.json"), world=DEPLOYED),
    ]
    given = [command for run in runs for command in run.commands] + workflow_commands()
    distinct = [list(one) for one in dict.fromkeys(map(tuple, given))]
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


def test_the_permissions_of_an_unknown_resource_are_asked_for(tmp_path: Path) -> None:
    declared = tmp_path / "subscriptions.json"
    declared.write_text('[{"resource": "/print/printers/1/jobs", "changeTypes": ["created"]}]')
    script = [sys.executable, str(INFRA / "graph_permissions.py"), str(declared)]
    done = subprocess.run(script, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "shared/permissions.py" in done.stderr
