"""The deployed app has exactly the settings that it reads."""

import json
import re
from collections.abc import Iterator, Mapping

import pytest

from shared.configuration.settings import Settings, SettingsError
from shared.configuration.triggers import trigger_settings
from tests.infra.bicep import INFRA, properties, template, text, walk

NOT_DEPLOYED = {
    "AzureWebJobsStorage",  # by identity instead of a connection string
    "AzureWebJobsStorage__queueServiceUri",
    "AzureWebJobsStorage__blobServiceUri",
    "AzureWebJobsStorage__tableServiceUri",
    "GRAPH_CLIENT_SECRET",  # the identity stands in for it,
    "GRAPH_CLIENT_CERTIFICATE",  # and for this
    "GRAPH_BASE_URL",  # for a simulator
    "LOGIN_BASE_URL",
}
READ_BY_OTHERS = {
    "AzureWebJobsStorage__credential",  # the Functions host
    "APPLICATIONINSIGHTS_AUTHENTICATION_STRING",
    "AzureWebJobsDisableHomepage",  # the Functions host
    "FUNCTIONS_REQUEST_BODY_SIZE_LIMIT",  # the Functions host
    "PYTHON_THREADPOOL_THREAD_COUNT",  # the Functions worker
}


class RecordingEnvironment(Mapping[str, str]):
    """An empty environment that records the requested names."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def __getitem__(self, name: str) -> str:
        self.names.add(name)
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


@pytest.fixture(scope="module")
def deployed() -> dict[str, str]:
    """The settings of settings.bicep, with the source of their values."""
    largest = max(
        (properties(node) for node in walk(template("modules/settings.bicep").root) if node.type == "object"), key=len
    )
    return {name: text(value).strip("'") for name, value in largest.items()}


def test_every_setting_the_app_reads_is_deployed_and_no_other(deployed: dict[str, str]) -> None:
    asked = RecordingEnvironment()
    with pytest.raises(SettingsError):
        Settings.from_environment(asked)
    trigger_settings(asked)
    assert set(deployed) - READ_BY_OTHERS == asked.names - NOT_DEPLOYED


def test_secrets_are_references_to_the_vault(deployed: dict[str, str]) -> None:
    for name in ("CLIENT_STATE_SECRET", "DESTINATION_SECRET"):
        assert deployed[name].startswith("@Microsoft.KeyVault(SecretUri=${vaultUrl}secrets/")
        secret = deployed[name].split("/")[-2]
        assert f'put_secret "$vault" {secret}' in (INFRA / "deploy.sh").read_text(encoding="utf-8")


def test_what_is_deployed_empty_is_optional(deployed: dict[str, str]) -> None:
    given = {
        "AzureWebJobsStorage__accountName": "relay",
        "NOTIFICATION_URL": "https://relay.example.org/api/notifications",
        "GRAPH_TENANT_ID": "11111111-1111-4111-8111-111111111111",
        "GRAPH_CLIENT_ID": "22222222-2222-4222-8222-222222222222",
        "SUBSCRIPTIONS": json.dumps([{"resource": "/chats/getAllMessages", "changeTypes": ["created"]}]),
        "CLIENT_STATE_SECRET": "A" * 43 + "=",
        "DESTINATION_SECRET": "whsec_" + "A" * 43 + "=",
        "DESTINATION_URL": "https://feed.example.org/events",
        "KEY_STORE": "https://relay.vault.azure.net/",
    }
    empty = {name: "" for name, value in deployed.items() if not value}
    assert Settings.from_environment({**given, **empty}).key_rotation.days == 90


def test_example_overrides_only_settings_there_are(deployed: dict[str, str]) -> None:
    example = json.loads((INFRA / "parameters.example.json").read_text(encoding="utf-8"))["parameters"]
    assert set(example["settings"]["value"]) <= set(deployed)
    assert set(example) <= set(template("main.bicep").parameters)


def test_the_example_for_func_has_the_settings_of_a_deployment(
    deployed: dict[str, str],
) -> None:
    example = json.loads((INFRA.parent / "local.settings.json.example").read_text(encoding="utf-8"))["Values"]
    assert set(example) <= {*deployed, *NOT_DEPLOYED, "FUNCTIONS_WORKER_RUNTIME"}
    for name in ("AzureWebJobsDisableHomepage", "PYTHON_THREADPOOL_THREAD_COUNT"):
        assert example[name] == deployed[name]


def test_endpoint_is_the_route_of_the_function() -> None:
    assert "'https://${publicName}/api/notifications'" in template("modules/settings.bicep").text
    assert "/api/notifications" in template("modules/gateway.bicep").strings()


def test_an_app_service_plan_has_settings_that_flex_consumption_does_not_need() -> None:
    (on_plan,) = (node for node in walk(template("modules/settings.bicep").root)
                  if node.type == "object" and "FUNCTIONS_WORKER_RUNTIME" in properties(node))  # fmt: skip
    given = {name: text(value).strip("'") for name, value in properties(on_plan).items()}
    assert given["FUNCTIONS_WORKER_PROCESS_COUNT"] == "string(processors[planSize])"
    assert given["SCM_DO_BUILD_DURING_DEPLOYMENT"] == "true"  # `azd deploy` cannot request it there
    sizes = re.search(r"@allowed\(\[('B1'.*)\]\)", template("main.bicep").text)
    processors = re.search(r"processors = \{(.*)\}", template("modules/settings.bicep").text)
    assert sizes
    assert processors
    assert re.findall(r"'(\w+)'", sizes[1]) == re.findall(r"(\w+):", processors[1])


def test_declarations_become_text_at_the_setting_alone() -> None:
    handed = [text(node) for node in walk(template("modules/settings.bicep").root) if node.type == "call_expression"]
    assert "string(subscriptions)" in handed
    assert "string(subscriptions)" not in template("main.bicep").text
