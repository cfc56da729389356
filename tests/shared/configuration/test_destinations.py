"""Destinations in the settings and in entries of DESTINATIONS."""

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

from shared.configuration.destinations import DEFAULT, EventFilter, Identity, Mode
from shared.configuration.settings import Settings, SettingsError
from shared.keys.key import write_pem
from tests.builders import destination_secret, destinations_of, encryption_key, environment, pem_of, rsa_key

URL = "https://search.example.org/events"


def read(*entries: Any, **changes: str | None) -> Settings:
    return Settings.from_environment(environment(DESTINATIONS=json.dumps(entries), **changes))


def entry(**changes: Any) -> dict[str, Any]:
    usual = {"name": "search", "url": URL, "secret": destination_secret(), **changes}
    return {name: value for name, value in usual.items() if value is not None}


def complaints(**changes: str | None) -> list[str]:
    with pytest.raises(SettingsError) as error:
        Settings.from_environment(environment(**changes))
    return error.value.complaints


def test_url_and_secret_describe_the_default_destination() -> None:
    (default,) = destinations_of(Settings.from_environment(environment()))
    assert (default.name, default.url) == (DEFAULT, "https://feed.example.org/events")
    assert (default.mode, default.max_events, default.max_bytes) == (Mode.BATCH, 100, 1_000_000)


def test_an_entry_has_the_fields_of_the_settings(tmp_path: Path) -> None:
    pem = tmp_path / "both.pem"
    pem.write_bytes(write_pem(encryption_key()))
    given = entry(
        scope="https://eventgrid.azure.net/.default", identity="managed", mode="structured",
        headers={"x-api-key": "%KEY%"}, maxEvents=7, maxBytes=5000, maxRequests=2, maxRate=0.5, ca=str(pem),
        clientCertificate=str(pem), resources=["/chats", "teams/*/channels"], types=["Microsoft.Graph.ChatMessage*"],
        tenants=["8E46A1B2-0A0B-4C0D-8E0F-000000000003"],
    )  # fmt: skip
    settings = read(given, KEY="k3y")
    _, destination = destinations_of(settings)
    assert destinations_of(settings).complaints == ()
    assert (destination.identity, destination.mode, destination.headers) == (
        Identity.MANAGED,
        Mode.STRUCTURED,
        {"x-api-key": "k3y"},
    )
    assert (destination.max_events, destination.max_bytes, destination.max_requests, destination.max_rate) == (
        7,
        5000,
        2,
        0.5,
    )
    assert destination.ca == destination.client_certificate == str(pem)
    assert destination.filter == EventFilter(
        ("chats", "teams/*/channels"), ("Microsoft.Graph.ChatMessage*",), ("8e46a1b2-0a0b-4c0d-8e0f-000000000003",)
    )
    assert given["secret"] not in repr(settings)
    assert "k3y" not in repr(settings)


def test_entries_alone_are_enough() -> None:
    settings = read(entry(), entry(name="other"), DESTINATION_URL=None, DESTINATION_SECRET=None)
    assert list(destinations_of(settings).by_name) == ["search", "other"]


def test_a_secret_may_be_a_setting_of_its_own() -> None:
    secret = destination_secret()
    settings = read(entry(secret="%SEARCH_SECRET%"), SEARCH_SECRET=secret)
    assert destinations_of(settings).by_name["search"].secrets == (secret,)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"url": None}, "url: missing"),
        ({"url": "http://search.example.org"}, "url: expected an https:// URL"),
        ({"secret": None}, "secret: missing"),
        ({"secret": "hunter2"}, "secret: expected whsec_"),
        ({"secret": "%GONE%"}, "secret: the setting GONE is missing"),
        ({"mode": "loud"}, "mode: expected one of batch, structured, binary"),
        ({"headers": {"host": "hunter2"}}, "headers: header 1: expected a header that the app does not set itself"),
        ({"headers": {"x": "hunter2\n"}}, "headers: header 1: expected a JSON object"),
        ({"headers": ["hunter2"]}, "headers: expected a JSON object"),
        ({"maxEvents": 0}, "maxEvents: expected a whole number"),
        ({"maxRate": True}, "maxRate: true and false are not valid here"),
        ({"ca": "nowhere.pem"}, "ca: expected the path"),
        ({"scope": "https://eventgrid.azure.net"}, "scope: expected a scope that ends in /.default"),
        ({"resources": ["chats/getAllMessages"]}, "resources: expected the beginnings of subjects"),
        ({"types": "Microsoft"}, "types: expected a list of texts"),
        ({"tenants": ["contoso"]}, "tenants: expected a GUID"),
        ({"hunter2": 1}, "'hunter2': no field of a destination"),
    ],
)
def test_an_invalid_entry_is_named_with_its_field_and_leaves_the_others_working(
    change: dict[str, Any], complaint: str
) -> None:
    settings = read(entry(**change), entry(name="fine"))
    (reported,) = destinations_of(settings).complaints
    assert reported.startswith(f"destination 1 (search): {complaint}")
    assert "hunter2" not in reported.replace("'hunter2': no field", "")
    valid = [destination.name for destination in destinations_of(settings) if not destination.invalid]
    assert valid == [DEFAULT, "fine"]
    assert destinations_of(settings).by_name["search"].invalid  # its events are kept


def certificate() -> bytes:
    return encryption_key().certificate.public_bytes(Encoding.PEM)


def key_with_a_password() -> bytes:
    return rsa_key("foreign").private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"word"))


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("ca", b""),
        ("ca", b"-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"),
        ("ca", pem_of(rsa_key("foreign"))),
        ("clientCertificate", certificate()),
        ("clientCertificate", pem_of(rsa_key("foreign"))),
        ("clientCertificate", pem_of(rsa_key("foreign")) + certificate()),
        ("clientCertificate", key_with_a_password() + certificate()),
    ],
    ids=["empty", "cut", "a key", "without its key", "without its certificate", "another key's", "with a password"],
)
def test_certificates_that_tls_cannot_use_are_a_fault_of_their_entry(tmp_path: Path, field: str, text: bytes) -> None:
    """Otherwise the app would fail to start, with all its destinations and the webhook."""
    pem = tmp_path / "some.pem"
    pem.write_bytes(text)
    settings = read(entry(**{field: str(pem)}), entry(name="fine"))
    (complaint,) = destinations_of(settings).complaints
    assert complaint.startswith(f"destination 1 (search): {field}: expected the path of a readable PEM file")
    assert str(tmp_path) not in complaint
    assert [destination.name for destination in destinations_of(settings) if not destination.invalid] == [
        DEFAULT,
        "fine",
    ]


@pytest.mark.parametrize("name", [None, "", "Search", "a b", 7, DEFAULT])
def test_an_entry_without_a_unique_name_is_left_out_and_reported(name: Any) -> None:
    settings = read(entry(name=name))
    (complaint,) = destinations_of(settings).complaints
    assert complaint.startswith("destination 1: name: ")
    assert list(destinations_of(settings).by_name) == [DEFAULT]


def test_if_no_destination_is_usable_the_app_does_not_start() -> None:
    broken = json.dumps([entry(url="nowhere")])
    (complaint,) = complaints(DESTINATIONS=broken, DESTINATION_URL=None)
    assert complaint.startswith("DESTINATIONS: destination 1 (search): url: expected")


@pytest.mark.parametrize("text", ["nowhere.json", "[1]", "[" * 10_000, "\0"])
def test_a_value_other_than_a_list_of_destinations_is_reported(text: str) -> None:
    (complaint,) = complaints(DESTINATIONS=text)
    assert complaint.startswith("DESTINATIONS: expected a JSON list")


def test_the_list_may_be_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "destinations.json"
    file.write_text(json.dumps([entry()]), encoding="utf-8")
    settings = Settings.from_environment(environment(DESTINATIONS=str(file)))
    assert "search" in destinations_of(settings).by_name


def test_without_a_secret_a_scope_or_a_header_proves_who_sends() -> None:
    for name, value in (
        ("DESTINATION_SCOPE", "https://eventgrid.azure.net/.default"),
        ("DESTINATION_HEADERS", '{"aeg-sas-key": "k"}'),
    ):
        (default,) = destinations_of(Settings.from_environment(environment(DESTINATION_SECRET=None, **{name: value})))
        assert default.secrets == ()


@pytest.mark.parametrize(
    ("selection", "selected"),
    [
        (EventFilter(), True),
        (EventFilter(resources=("chats",)), True),
        (EventFilter(resources=("CHATS/*/messages",)), True),
        (EventFilter(resources=("chats/19",)), False),  # a segment is whole
        (EventFilter(resources=("users", "chats/19:a@thread.v2")), True),
        (EventFilter(types=("Microsoft.Graph.ChatMessage*",)), True),
        (EventFilter(types=("Microsoft.Graph.ChatMessage",)), False),
        (EventFilter(tenants=("t",)), True),
        (EventFilter(tenants=("u",)), False),
        (EventFilter(resources=("chats",), types=("Microsoft.Graph.User*",)), False),
    ],
)
def test_a_filter_selects_by_resource_type_and_tenant(selection: EventFilter, selected: bool) -> None:
    assert selection.selects("chats/19:a@thread.v2/messages/1", "Microsoft.Graph.ChatMessageCreated", "T") is selected
