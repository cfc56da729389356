"""The kit for developers of a consumer: samples, schemas, AsyncAPI; checked with real events."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from referencing import Registry, Resource
from standardwebhooks import Webhook

from ops.samples import samples
from shared.configuration.destinations import Mode
from shared.delivery.request import RequestFormat, encode, message_id, signature_headers
from shared.resources.item_types import ITEM_TYPES
from tests.builders import NOW, destination_secret
from tests.shared.delivery.test_destination import some

DOCS = Path(__file__).parents[1] / "docs"
EVENT, BATCH = (
    json.loads((DOCS / "schemas" / f"{name}.json").read_text(encoding="utf-8")) for name in ("event", "batch")
)
REGISTRY: Registry[Any] = Registry().with_resources(
    (schema["$id"], Resource.from_contents(schema)) for schema in (EVENT, BATCH)
)
KEYWORDS = {"asyncapi", "info", "defaultContentType", "servers", "channels", "operations", "components"}


def validator(schema: dict[str, Any]) -> jsonschema.Draft7Validator:
    return jsonschema.Draft7Validator(schema, registry=REGISTRY, format_checker=jsonschema.FormatChecker())


def asyncapi() -> dict[str, Any]:
    found = yaml.safe_load((DOCS / "asyncapi.yaml").read_text(encoding="utf-8"))
    assert isinstance(found, dict)
    return found


def resolved(document: dict[str, Any], node: Any) -> Any:
    """Return a part of the AsyncAPI document, with its references resolved, also into docs/schemas."""
    if isinstance(node, list):
        return [resolved(document, member) for member in node]
    if not isinstance(node, dict):
        return node
    if "$ref" not in node:
        return {name: resolved(document, value) for name, value in node.items()}
    file, _, pointer = node["$ref"].partition("#")
    if file:
        return json.loads((DOCS / file).read_text(encoding="utf-8"))
    found: Any = document
    for name in pointer.strip("/").split("/"):
        found = found[name]
    return resolved(document, found)


def test_there_is_a_sample_of_every_type_and_the_file_has_them() -> None:
    expected = {
        f"Microsoft.Graph.{row.kind}{change}" for row in ITEM_TYPES for change in ("Created", "Updated", "Deleted")
    }
    assert {event.type for event in samples()} == expected
    shown = json.loads((DOCS / "samples.json").read_text(encoding="utf-8"))
    assert shown == [json.loads(encode(event)) for event in samples()], "run: python -m tools.samples"


@pytest.mark.parametrize("event", [*some(1), *samples()], ids=lambda event: event.type)
def test_real_events_fit_the_schema(event: Any) -> None:
    validator(EVENT).validate(json.loads(encode(event)))


def test_a_batch_fits_its_schema_and_so_does_an_empty_one() -> None:
    validator(BATCH).validate([json.loads(encode(event)) for event in some(2)])
    validator(BATCH).validate([])


@pytest.mark.parametrize(
    "change",
    [{"specversion": "0.3"}, {"type": "Created"}, {"time": "yesterday"}, {"data": None}, {"extra": 1}, {"source": "x"}],
)
def test_the_schema_refuses_what_is_no_event(change: dict[str, Any]) -> None:
    assert not validator(EVENT).is_valid(json.loads(encode(some(1)[0])) | change)
    assert not validator(BATCH).is_valid([json.loads(encode(some(1)[0])) | change])


def test_asyncapi_is_whole() -> None:
    document = asyncapi()
    assert document["asyncapi"] == "3.0.0"
    assert set(document) == KEYWORDS
    whole = resolved(
        document, {name: document[name] for name in ("servers", "channels", "operations")}
    )  # no dangling $ref
    (operation,) = whole["operations"].values()
    assert operation["action"] == "receive"
    assert len(operation["messages"]) == len(whole["channels"]["events"]["messages"]) == len(Mode)


@pytest.mark.parametrize("mode", list(Mode))
def test_asyncapi_describes_the_requests_of_each_mode(mode: Mode) -> None:
    document = asyncapi()
    message = resolved(document, document["components"]["messages"][mode])
    form = RequestFormat(mode)
    for event in samples()[:3]:
        (batch,) = form.batches([event])
        body = form.body(batch)
        headers = form.content_headers(batch) | signature_headers(
            [Webhook(destination_secret())], message_id(batch), NOW, body
        )
        assert headers["Content-Type"].partition(";")[0] == message["contentType"]
        validator(message["headers"]).validate({name.lower(): value for name, value in headers.items()})
        payload = message["payload"].get("schema", message["payload"])
        validator(payload).validate(json.loads(body))
