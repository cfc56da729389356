"""The environment, read once."""

import base64
import json
import secrets
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shared.configuration.schedule import is_schedule
from shared.configuration.settings import Settings, SettingsError, storage_settings
from shared.configuration.triggers import trigger_settings
from shared.configuration.values import CLOUDS, UNRESOLVED, event_hub
from tests.builders import (
    CLIENT_ID,
    NOTIFICATION_URL,
    TENANT,
    declarations_of,
    destination_secret,
    destinations_of,
    environment,
)

REQUIRED = (
    "AzureWebJobsStorage",
    "GRAPH_TENANT_ID",
    "GRAPH_CLIENT_ID",
    "NOTIFICATION_URL",
    "CLIENT_STATE_SECRET",
    "KEY_STORE",
    "DESTINATION_URL",
    "DESTINATION_SECRET",
)
OPTIONAL = (
    "NOTIFICATION_QUEUE",
    "GRAPH_CLOUD",
    "GRAPH_BASE_URL",
    "LOGIN_BASE_URL",
    "SUBSCRIPTIONS",
    "KEY_ROTATION_DAYS",
    "KEY_OVERLAP_HOURS",
    "DELIVERY_HORIZON_HOURS",
    "RENEW_SCHEDULE",
    "SWEEP_INTERVAL_HOURS",
    "LEDGER_DAYS",
    "APPLICATIONINSIGHTS_CONNECTION_STRING",
)
WRONG = "wr0ng-%-value"
SHORT = base64.b64encode(secrets.token_bytes(31)).decode()


def complaints(**changes: str | None) -> list[str]:
    with pytest.raises(SettingsError) as error:
        Settings.from_environment(environment(**changes))
    assert str(error.value) == "\n".join(error.value.complaints)
    return error.value.complaints


def values(environ: dict[str, str]) -> dict[str, object]:
    settings = Settings.from_environment(environ)
    return {**vars(settings), "declarations": list(declarations_of(settings))}


def test_a_complete_environment_is_read() -> None:
    environ = environment()
    settings = Settings.from_environment(environ)
    assert settings.tenant_id == TENANT
    assert settings.client_id == CLIENT_ID
    assert settings.notification_url == NOTIFICATION_URL
    assert storage_settings(environ).queue == trigger_settings(environ).queue == "notifications"
    assert settings.graph_url == "https://graph.microsoft.com"
    assert settings.key_rotation == timedelta(days=90)
    assert settings.key_overlap == settings.delivery_horizon == timedelta(hours=72)
    assert settings.sweep_interval == timedelta(hours=24)
    assert settings.ledger_retention == timedelta(days=60)
    assert trigger_settings(environ).renew_schedule == "0 */5 * * * *"
    assert [declaration.tenant_id for declaration in declarations_of(settings)] == [TENANT]


@pytest.mark.parametrize("name", REQUIRED)
@pytest.mark.parametrize("value", [None, "", "  "])
def test_a_missing_setting_is_named_with_what_was_expected(name: str, value: str | None) -> None:
    (complaint,) = complaints(**{name: value})
    assert complaint.startswith(f"{name}: missing; expected ")


@pytest.mark.parametrize("name", [*REQUIRED, *OPTIONAL])
def test_a_wrong_setting_is_named_with_what_was_expected_and_without_its_value(name: str) -> None:
    (complaint,) = complaints(**{name: WRONG})
    assert complaint.startswith(f"{name}: ")
    assert "expected" in complaint
    assert WRONG not in complaint


@pytest.mark.parametrize("name", ["CLIENT_STATE_SECRET", "DESTINATION_SECRET", "DESTINATION_URL"])
def test_an_unresolved_reference_of_azure_is_reported_as_such(name: str) -> None:
    reference = "@Microsoft.KeyVault(SecretUri=https://relay.vault.azure.net/secrets/client-state-secret/)"
    assert complaints(**{name: reference}) == [f"{name}: {UNRESOLVED}"]


def test_all_mistakes_are_reported_at_once() -> None:
    everything = (*REQUIRED, *OPTIONAL)
    reported = complaints(**dict.fromkeys(everything, WRONG))
    assert sorted(complaint.partition(":")[0] for complaint in reported) == sorted(everything)


def test_an_empty_environment_names_every_required_setting() -> None:
    with pytest.raises(SettingsError) as error:
        Settings.from_environment({})
    assert {complaint.partition(":")[0] for complaint in error.value.complaints} >= set(REQUIRED)


@given(
    st.dictionaries(
        st.sampled_from((*REQUIRED, *OPTIONAL, "GRAPH_CLIENT_SECRET", "DESTINATION_SCOPE")),
        st.text() | st.from_regex(r"(https://|file:|whsec_|\[|0)[ -~]{0,9}", fullmatch=True),
    )
)
@example({"GRAPH_CLOUD": "moon"})
@example({"KEY_ROTATION_DAYS": "-1"})
@example({"SUBSCRIPTIONS": "\0"})
@example({"SUBSCRIPTIONS": "[" * 100_000})
@example({"NOTIFICATION_URL": "https://[::1"})
@example({"NOTIFICATION_URL": "https://host:99999"})
@example({"SUBSCRIPTIONS": "x" * 10_000})
def test_any_environment_is_settings_or_complaints(changes: dict[str, str]) -> None:
    try:
        Settings.from_environment(environment(**changes))
    except SettingsError as error:
        assert {complaint.partition(":")[0] for complaint in error.complaints} <= changes.keys()  # noqa: PT017


def test_secrets_do_not_show_in_what_is_printed() -> None:
    environ = environment()
    shown = repr(Settings.from_environment(environ)) + repr(storage_settings(environ))
    for name in ("AzureWebJobsStorage", "GRAPH_CLIENT_SECRET", "DESTINATION_SECRET"):
        assert environ[name] not in shown
    assert str(base64.b64decode(environ["CLIENT_STATE_SECRET"])) not in shown


@pytest.mark.parametrize("name", [*REQUIRED, "GRAPH_CLIENT_SECRET"])
def test_space_around_a_value_is_no_part_of_it(name: str) -> None:
    environ = environment()
    padded = {**environ, name: f" {environ[name]}\n"}
    assert values(padded) == values(environ)
    assert storage_settings(padded) == storage_settings(environ)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GRAPH_TENANT_ID", "common"),
        ("GRAPH_CLIENT_ID", "{8e46a1b2-0a0b-4c0d-8e0f-000000000003}"),
        ("NOTIFICATION_URL", "http://hooks.example.org/api/notifications"),
        ("NOTIFICATION_URL", "https://user:word@hooks.example.org/"),
        ("NOTIFICATION_URL", "https://hooks.example.org/#part"),
        ("NOTIFICATION_URL", "hooks.example.org"),
        ("GRAPH_BASE_URL", "http://127.0.0.1:1"),
        ("LOGIN_BASE_URL", "http://127.0.0.1:1"),
        ("DESTINATION_URL", "http://feed.example.org/events"),
        ("DESTINATION_URL", "http://127.0.0.1.example.org/events"),
        ("CLIENT_STATE_SECRET", SHORT),
        ("CLIENT_STATE_SECRET", f"{SHORT},{SHORT}"),
        ("CLIENT_STATE_SECRET", ","),
        ("DESTINATION_SECRET", destination_secret().removeprefix("whsec_")),
        ("DESTINATION_SECRET", "whsec_"),
        ("DESTINATION_SECRET", ",".join(destination_secret() for _ in range(3))),
        ("DESTINATION_SECRET", destination_secret() + ","),
        ("KEY_STORE", "file:"),
        ("KEY_STORE", "http://name.vault.azure.net"),
        ("KEY_ROTATION_DAYS", "0"),
        ("KEY_ROTATION_DAYS", "nan"),
        ("KEY_OVERLAP_HOURS", "inf"),
        ("DELIVERY_HORIZON_HOURS", "-1"),
        ("SWEEP_INTERVAL_HOURS", "1e9"),
        ("LEDGER_DAYS", "0"),
        ("RENEW_SCHEDULE", "*/5 * * * *"),
        ("NOTIFICATION_QUEUE", "Notifications"),
        ("NOTIFICATION_QUEUE", "a--b"),
        ("NOTIFICATION_QUEUE", "q" * 51),
        ("SUBSCRIPTIONS", "{}"),
        ("SUBSCRIPTIONS", "absent.json"),
        ("SUBSCRIPTIONS", "shared"),
    ],
)
def test_plausible_but_wrong_values_are_reported(name: str, value: str) -> None:
    (complaint,) = complaints(**{name: value})
    assert complaint.startswith(f"{name}: ")


OF_THE_HOME_TENANT = json.dumps({"resource": "/chats", "changeTypes": ["deleted"], "tenantId": TENANT.upper()})


@pytest.mark.parametrize(
    ("declared", "complaint"),
    [
        ('{"resource": "", "changeTypes": ["created"]}', "declaration 1: resource"),
        ('{"resource": "/", "changeTypes": ["created"]}', "declaration 1: resource"),
        ('{"resource": "/chats\\n", "changeTypes": ["created"]}', "declaration 1: resource"),
        ('{"resource": "/chats", "changeTypes": []}', "declaration 1: changeTypes"),
        ('{"resource": "/chats", "changeTypes": ["moved"]}', "declaration 1: changeTypes"),
        ('{"resource": "/chats", "changeTypes": "created"}', "changeTypes"),
        ('{"resource": "/chats", "changeTypes": ["created"], "tenantId": "x"}', "declaration 1: tenantId"),
        ('{"resource": "/chats"}', "changeTypes"),
        ('{"resource": "/chats", "changeTypes": ["created"], "includeResourceDate": true}', "includeResourceDate"),
        (
            '{"resource": "/chats", "changeTypes": ["created"]}, {"resource": "Chats/", "changeTypes": ["deleted"]}',
            "two declarations",
        ),
        (
            f'{{"resource": "/chats", "changeTypes": ["created"]}}, {OF_THE_HOME_TENANT}',
            "two declarations",
        ),
    ],
)
def test_a_wrong_declaration_is_reported_by_its_place(declared: str, complaint: str) -> None:
    (reported,) = complaints(SUBSCRIPTIONS=f"[{declared}]")
    assert reported.startswith("SUBSCRIPTIONS: ")
    assert complaint in reported


def test_declarations_may_be_in_a_file(tmp_path: Path) -> None:
    declared = tmp_path / "declared.json"
    declared.write_text('[{"resource": "/users", "changeTypes": ["updated"]}]')
    settings = Settings.from_environment(environment(SUBSCRIPTIONS=str(declared)))
    assert [declaration.resource for declaration in declarations_of(settings)] == ["/users"]


def test_two_tenants_may_declare_the_same_resource() -> None:
    other = '{"resource": "/users", "changeTypes": ["updated"], "tenantId": "%s"}'
    declared = f"[{other % TENANT.upper()}, {other % CLIENT_ID}]"
    settings = Settings.from_environment(environment(SUBSCRIPTIONS=declared))
    assert [declaration.tenant_id for declaration in declarations_of(settings)] == [TENANT, CLIENT_ID]


@pytest.mark.parametrize("cloud", CLOUDS)
def test_a_cloud_names_where_graph_and_its_login_live(cloud: str) -> None:
    settings = Settings.from_environment(environment(GRAPH_CLOUD=cloud))
    assert (settings.graph_url, settings.login_url) == (CLOUDS[cloud].graph, CLOUDS[cloud].login)


def test_a_simulator_may_stand_in_for_both() -> None:
    urls = {"GRAPH_BASE_URL": "https://127.0.0.1:1/", "LOGIN_BASE_URL": "https://[::1]:2"}
    settings = Settings.from_environment(environment(**urls))
    assert (settings.graph_url, settings.login_url) == ("https://127.0.0.1:1", "https://[::1]:2")


def test_a_second_secret_is_live_too() -> None:
    new, old = (base64.b64encode(secrets.token_bytes(32)).decode() for _ in range(2))
    first, second = destination_secret(), destination_secret()
    settings = Settings.from_environment(
        environment(CLIENT_STATE_SECRET=f"{new}, {old}", DESTINATION_SECRET=f"{first},{second}")
    )
    assert settings.client_state_secrets == (base64.b64decode(new), base64.b64decode(old))
    assert destinations_of(settings).by_name["default"].secrets == (first, second)


def test_storage_may_be_reached_with_an_identity() -> None:
    named = {"AzureWebJobsStorage": None, "AzureWebJobsStorage__accountName": "relay"}
    environ = environment(**named)
    assert Settings.from_environment(environ)
    storage = storage_settings(environ)
    assert storage.urls == tuple(f"https://relay.{service}.core.windows.net" for service in ("queue", "blob", "table"))
    addressed = {
        f"AzureWebJobsStorage__{service}ServiceUri": f"https://{service}" for service in ("queue", "blob", "table")
    }
    assert storage_settings(addressed).urls == ("https://queue", "https://blob", "https://table")


def test_a_semicolon_at_the_end_is_no_part_of_a_connection_string() -> None:
    environ = environment(AzureWebJobsStorage="UseDevelopmentStorage=true;")
    assert storage_settings(environ).connection_string == "UseDevelopmentStorage=true"


def test_storage_settings_are_read_while_other_settings_are_wrong() -> None:
    connection = environment()["AzureWebJobsStorage"]
    assert storage_settings({"AzureWebJobsStorage": connection}).connection_string == connection
    with pytest.raises(SettingsError):
        storage_settings({})


@given(st.dictionaries(st.sampled_from(["NOTIFICATION_QUEUE", "RENEW_SCHEDULE"]), st.text()))
def test_the_triggers_always_know_what_they_are_bound_to(environ: dict[str, str]) -> None:
    triggers = trigger_settings(environ)
    assert triggers.queue
    assert is_schedule(triggers.renew_schedule)


def test_the_timer_is_bound_to_the_schedule_that_is_set() -> None:
    assert trigger_settings({"RENEW_SCHEDULE": "30 */2 * * * *"}).renew_schedule == "30 */2 * * * *"


HUB_URL = "EventHub:https://relay.servicebus.windows.net/eventhubname/graph?tenantId=contoso.example"
NAMESPACE = "EventHubConnection__fullyQualifiedNamespace"


@pytest.mark.parametrize("name", [NAMESPACE, "EventHubConnection"])
def test_an_event_hub_may_take_the_place_of_the_webhook(name: str) -> None:
    environ = environment(NOTIFICATION_URL=HUB_URL, **{name: "relay.servicebus.windows.net"})
    assert Settings.from_environment(environ).notification_url == HUB_URL
    assert trigger_settings(environ).event_hub == event_hub(HUB_URL) == "graph"


def test_a_hub_whose_namespace_the_host_does_not_know_is_a_mistake() -> None:
    (complaint,) = complaints(NOTIFICATION_URL=HUB_URL)
    assert complaint.startswith(f"{NAMESPACE}: missing; expected ")


@pytest.mark.parametrize(
    "url",
    [
        "EventHub:https://relay.vault.azure.net/secrets/connection?tenantId=contoso.example",  # a stored key
        "EventHub:https://relay.servicebus.windows.net/eventhubname/graph",
        "EventHub:http://relay.servicebus.windows.net/eventhubname/graph?tenantId=contoso.example",
        "EventHub:https://relay.servicebus.windows.net/graph?tenantId=contoso.example",
        f"{HUB_URL}&validationToken=x",
    ],
)
def test_other_forms_of_a_hub_are_not_understood(url: str) -> None:
    (complaint,) = complaints(NOTIFICATION_URL=url)
    assert complaint.startswith("NOTIFICATION_URL: expected ")
    assert trigger_settings({"NOTIFICATION_URL": url}).event_hub is None
