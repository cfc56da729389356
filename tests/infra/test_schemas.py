"""Every resource type and property of infra/ is one that Azure publishes."""

import os
from pathlib import Path

import pytest

from tests.infra.bicep import Template, templates
from tests.infra.schemas import Schemas

pytestmark = pytest.mark.skipif(
    "BICEP_TYPES" not in os.environ, reason="BICEP_TYPES: expected `generated/` of a clone of Azure/bicep-types-az"
)

_RESOURCES = {
    f"{template.path.stem}.{resource.symbol}": resource
    for template in templates()
    for resource in template.resources
    if not resource.existing
}


@pytest.fixture
def schemas() -> Schemas:
    return Schemas(Path(os.environ["BICEP_TYPES"]))


@pytest.mark.parametrize("name", _RESOURCES)
def test_resource_is_as_azure_publishes_it(name: str, schemas: Schemas) -> None:
    assert schemas.complaints(_RESOURCES[name]) == []


@pytest.mark.parametrize(
    ("right", "wrong", "complaint"),
    [
        ("kind: 'StorageV2'", "kind: 'StorageV3'", "account.kind: 'StorageV3' does not fit UnionType"),
        ("kind: 'StorageV2'", "", "account.kind: missing"),
        ("minimumTlsVersion", "minimalTlsVersion", "account.properties.minimalTlsVersion: no such property"),
        (
            "allowSharedKeyAccess: false",
            "allowSharedKeyAccess: 'no'",
            "account.properties.allowSharedKeyAccess: 'no' does",
        ),
        ("@2025-06-01", "@2025-06-02", "Microsoft.Storage/storageAccounts@2025-06-02: no such type"),
    ],
)
def test_mistake_is_found(right: str, wrong: str, complaint: str, schemas: Schemas, tmp_path: Path) -> None:
    source = next(template for template in templates() if template.path.stem == "storage").text
    changed = tmp_path / "storage.bicep"
    changed.write_text(source.replace(right, wrong))
    account = next(node for node in Template(changed).resources if node.symbol == "account")
    assert [text for text in schemas.complaints(account) if text.startswith(complaint)]
