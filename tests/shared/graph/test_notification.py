"""Graph's wire format."""

from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import Reason, Refused, Undeliverable
from shared.graph.notification import (
    LIFECYCLE_EVENTS,
    read_client_state,
    read_collection,
    read_encrypted_content,
    read_notification,
    read_resource_data,
)
from tests.builders import OTHER_TENANT, TENANT, body, change, encrypted, lifecycle, message, raw, rich

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
wire_names = st.sampled_from(
    [
        "subscriptionId",
        "clientState",
        "changeType",
        "lifecycleEvent",
        "resource",
        "tenantId",
        "resourceData",
        "encryptedContent",
        "value",
        "validationTokens",
    ]
)


def test_items_are_kept_as_they_came_unknown_fields_and_all() -> None:
    item = b'{"subscriptionId" : "1", "new": {"a":[1.50, 1e3]} }'
    assert [bytes(parsed) for parsed in read_collection(b'{"value": [' + item + b"]}").value] == [item]


def test_an_empty_collection_is_legal() -> None:
    collection = read_collection(b'{"value": [], "validationTokens": [], "@odata.context": "x"}')
    assert collection.value == []
    assert collection.tokens() == []


@pytest.mark.parametrize(
    ("tokens", "read"),
    [
        (["a", "b"], ["a", "b"]),
        (None, None),
        ({}, []),
        ("a", []),
        (["a", 1, None, ["b"]], ["a"]),
    ],
    ids=str,
)
def test_tokens_are_a_list_of_strings_and_null_means_that_graph_got_none(
    tokens: object, read: list[str] | None
) -> None:
    assert read_collection(body(tokens=tokens)).tokens() == read


def test_tokens_may_be_absent() -> None:
    assert read_collection(b'{"value": []}').tokens() == []


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"null",
        b"[]",
        b'"value"',
        b"{}",
        b'{"value": null}',
        b'{"value": {}}',
        b'{"value": [}',
        b'{"Values": []}',
        b'{"value": []} []',
        b'{"value": ["\xff"]}',
        b"\xef\xbb\xbf{",
        b'{"value": ' + b"[" * 200_000,
        b'{"value": [' + b"[" * 100_000 + b"]" * 100_000 + b"]}",
        '{"value": []}'.encode("utf-16"),
    ],
    ids=lambda text: repr(text[:24]),
)
def test_what_is_not_a_collection_is_refused_as_malformed(text: bytes) -> None:
    with pytest.raises(Refused) as refused:
        read_collection(text)
    assert refused.value.reason is Reason.MALFORMED


@given(st.binary())
def test_any_bytes_are_a_collection_or_refused(text: bytes) -> None:
    refused_or_read(text)


@given(st.dictionaries(wire_names, json_values))
def test_any_object_is_a_collection_or_refused(document: dict[str, object]) -> None:
    refused_or_read(msgspec.json.encode(document))


@given(st.dictionaries(wire_names, json_values) | json_values)
def test_any_item_is_a_notification_or_refused(item: object) -> None:
    try:
        notification = read_notification(raw(item))
        read_resource_data(notification)
        read_encrypted_content(notification)
    except (Refused, Undeliverable) as unfit:
        assert unfit.reason in (Reason.MALFORMED, Reason.CONTENT_UNREADABLE)  # noqa: PT017 - either outcome is right


def test_a_change_item_is_read() -> None:
    notification = read_notification(raw(rich()))
    assert notification.change_type == "created"
    assert notification.lifecycle_event is None
    assert notification.is_encrypted
    assert read_resource_data(notification).odata_type == "#Microsoft.Graph.ChatMessage"
    assert read_encrypted_content(notification).encryption_certificate_id == "enc-1"


def test_a_lifecycle_item_needs_no_resource() -> None:
    assert read_notification(raw(lifecycle("missed"))).lifecycle_event == "missed"


def test_lifecycle_wins_where_an_item_has_both() -> None:
    assert read_notification(raw(change(lifecycleEvent="missed"))).lifecycle_event == "missed"


@pytest.mark.parametrize("absent", ["resource", "changeType", "subscriptionId"])
def test_a_change_item_that_lacks_what_it_is_about_is_refused(absent: str) -> None:
    item = change()
    del item[absent]
    with pytest.raises(Refused):
        read_notification(raw(item))


@pytest.mark.parametrize("optional", ["id", "tenantId", "clientState", "resourceData", "encryptedContent"])
def test_optionals_may_be_null_or_absent(optional: str) -> None:
    item = {name: value for name, value in change(id="1").items() if name != optional}
    assert read_notification(raw(item)) == read_notification(raw({**item, optional: None}))


def test_the_tenant_is_compared_in_lower_case_and_old_payloads_call_it_organization() -> None:
    assert read_notification(raw(change(tenantId=TENANT.upper()))).tenant(OTHER_TENANT) == TENANT
    assert read_notification(raw(change(tenantId=None, organizationId=TENANT))).tenant(OTHER_TENANT) == TENANT
    assert read_notification(raw(change(tenantId=None))).tenant(OTHER_TENANT) == OTHER_TENANT


@pytest.mark.parametrize("field", ["data", "dataKey", "dataSignature"])
@pytest.mark.parametrize("value", ["absent", None, 7, ["a"], {}])
def test_content_that_lacks_what_opens_it_is_unreadable(field: str, value: object) -> None:
    content = encrypted(b"{}")
    if value == "absent":
        del content[field]
    else:
        content[field] = value
    with pytest.raises(Undeliverable):
        read_encrypted_content(read_notification(raw(change(encryptedContent=content))))


@pytest.mark.parametrize("content", ["", "text", 0, False, [], [{}]], ids=repr)
def test_content_of_another_type_counts_as_content_and_is_unreadable(content: object) -> None:
    notification = read_notification(raw(change(encryptedContent=content)))
    assert notification.is_encrypted
    with pytest.raises(Undeliverable):
        read_encrypted_content(notification)


@pytest.mark.parametrize("name", ["encryptionCertificateId", "encryptionCertificateThumbprint"])
def test_either_name_of_the_key_may_be_null_or_absent(name: str) -> None:
    content = encrypted(b"{}")
    without = {field: value for field, value in content.items() if field != name}
    read = [
        read_encrypted_content(read_notification(raw(change(encryptedContent=content_fields))))
        for content_fields in (without, {**content, name: None})
    ]
    assert read[0] == read[1]


@pytest.mark.parametrize("odd", [None, [], "text", {"id": 7}, {"@odata.type": None}], ids=repr)
def test_odd_resource_data_reads_as_absent(odd: object) -> None:
    assert read_resource_data(read_notification(raw(change(resourceData=odd)))).odata_type == ""


def refused_or_read(text: bytes) -> None:
    try:
        collection = read_collection(text)
    except Refused as refused:
        assert refused.reason is Reason.MALFORMED  # noqa: PT017 - either outcome is right
        return
    collection.tokens()
    for item in collection.value:
        msgspec.json.decode(item)


@pytest.mark.parametrize(
    "field", ["subscriptionId", "clientState", "changeType", "tenantId", "organizationId", "resource"]
)
def test_a_field_that_is_far_longer_than_graphs_is_refused_before_it_is_copied(field: str) -> None:
    with pytest.raises(Refused) as refused:
        read_notification(raw(change() | {field: "x" * 5000}))
    assert refused.value.reason is Reason.MALFORMED


@pytest.mark.parametrize("spelling", [str.upper, str.title, lambda name: name[:1].upper() + name[1:]])
def test_members_are_found_in_any_case_as_microsofts_page_on_transcripts_writes_them(
    spelling: Callable[[str], str],
) -> None:
    content = {spelling(name): value for name, value in encrypted(message()).items()}
    item = {spelling(name): value for name, value in change(changeType="Deleted").items()}
    item[spelling("encryptedContent")] = content
    item[spelling("resourceData")] = {"@Odata.Type": "#x", "ID": "17"}
    body = msgspec.json.encode({spelling("value"): [item], spelling("validationTokens"): ["token"]})
    collection = read_collection(body)
    assert collection.tokens() == ["token"]
    notification = read_notification(collection.value[0])
    assert (notification.change_type, notification.is_encrypted) == ("deleted", True)
    assert read_encrypted_content(notification).data == next(iter(content.values()))
    assert read_resource_data(notification).id == "17"


def test_a_member_under_its_own_name_is_the_one_that_counts() -> None:
    item = {"ChangeType": "created", **change(changeType="updated"), "CHANGETYPE": "deleted"}
    assert read_notification(raw(item)).change_type == "updated"


@pytest.mark.parametrize("event", ["Missed", "REAUTHORIZATIONREQUIRED", "subscriptionremoved"])
def test_lifecycle_events_are_known_in_any_case(event: str) -> None:
    found = read_notification(raw(lifecycle(event))).lifecycle_event
    assert found in LIFECYCLE_EVENTS


@pytest.mark.parametrize("name", ["clientState", "ClientState", "CLIENTSTATE"])
@pytest.mark.parametrize("state", [None, "a state"])
def test_a_client_state_is_read_alone_as_with_the_rest(name: str, state: str | None) -> None:
    members = {key: value for key, value in change().items() if key != "clientState"}
    item = raw(members | {name: state})
    assert read_client_state(item) == read_notification(item).client_state == state


def test_a_client_state_of_what_is_no_notification_is_refused() -> None:
    with pytest.raises(Refused):
        read_client_state(msgspec.Raw(b"[]"))
