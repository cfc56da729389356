"""Azure's published resource types (github.com/Azure/bicep-types-az, `generated/`), applied to a Bicep object."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tree_sitter import Node

from tests.infra.bicep import Resource, properties, text

_REQUIRED, _READ_ONLY = 1, 2


@dataclass(frozen=True)
class Schemas:
    """The types under a directory, as service/namespace/version/types.json."""

    root: Path

    def complaints(self, resource: Resource) -> list[str]:
        """Return the errors of a resource: properties unknown, missing or read-only, values of a wrong type."""
        name = f"{resource.type}@{resource.version}"
        found = self._find(name)
        if found is None:
            return [f"{name}: no such type"]
        file, kind = self._follow(found[1]["body"]["$ref"], found[0])
        # Bicep's own members for the parent and the order of deployment.
        body = {
            key: value
            for key, value in properties(resource.body).items()
            if key not in ("parent", "dependsOn", "scope")
        }
        return list(self._object(resource.symbol, body, kind, file))

    def _find(self, name: str) -> tuple[Path, Any] | None:
        namespace, version = name.lower().partition("/")[0], name.partition("@")[2]
        for file in sorted(self.root.glob(f"*/{namespace}/{version}/types.json")):
            for kind in _load(file):
                if kind["$type"] == "ResourceType" and kind["name"].lower() == name.lower():
                    return file, kind
        return None

    def _follow(self, reference: str, file: Path) -> tuple[Path, Any]:
        path, _, number = reference.partition("#/")
        target = (file.parent / path).resolve() if path else file
        return target, _load(target)[int(number)]

    def _object(self, where: str, given: dict[str, Node], kind: Any, file: Path) -> Iterator[str]:
        known = dict(kind.get("properties") or kind.get("baseProperties") or {})
        if kind["$type"] == "DiscriminatedObjectType":
            choice = text(given[kind["discriminator"]]).strip("'")
            file, element = self._follow(kind["elements"][choice]["$ref"], file)
            known |= element["properties"]
        for name, value in given.items():
            if name in known:
                if known[name].get("flags", 0) & _READ_ONLY:
                    yield f"{where}.{name}: read-only"
                yield from self._value(f"{where}.{name}", value, *self._follow(known[name]["type"]["$ref"], file))
            elif "additionalProperties" in kind:
                further = self._follow(kind["additionalProperties"]["$ref"], file)
                yield from self._value(f"{where}.{name}", value, *further)
            else:
                yield f"{where}.{name}: no such property"
        for name, known_type in known.items():
            # A nested resource takes its parent's place in the name, and resources take their type from Bicep.
            if known_type.get("flags", 0) & _REQUIRED and name not in given and name not in ("type", "apiVersion"):
                yield f"{where}.{name}: missing"

    def _value(self, where: str, node: Node, file: Path, kind: Any) -> Iterator[str]:
        if node.type == "ternary_expression":
            for branch in node.named_children[1:]:
                yield from self._value(where, branch, file, kind)
        elif node.type == "object" and kind["$type"] in ("ObjectType", "DiscriminatedObjectType"):
            yield from self._object(where, properties(node), kind, file)
        elif node.type == "array" and kind["$type"] == "ArrayType":
            item = self._follow(kind["itemType"]["$ref"], file)
            for number, child in enumerate(child for child in node.named_children if child.type != "comment"):
                yield from self._value(f"{where}[{number}]", child, *item)
        elif not self._fits(node, kind, file):
            yield f"{where}: {text(node)} does not fit {kind['$type']}"

    def _fits(self, node: Node, kind: Any, file: Path) -> bool:
        """Whether a literal has a type; an expression always passes."""
        match kind["$type"]:
            case "UnionType":
                elements = [self._follow(element["$ref"], file)[1] for element in kind["elements"]]
                # In a list of values, a further "any string" only allows future values.
                named = [element for element in elements if element["$type"] == "StringLiteralType"]
                return any(self._fits(node, element, file) for element in named or elements)
            case "StringLiteralType" if node.type == "string" and "${" not in text(node):
                return text(node).strip("'") == str(kind["value"])
            case "AnyType":
                return True
            case _:
                literal = {
                    "string": "String",
                    "boolean": "Boolean",
                    "number": "Integer",
                    "object": "Object",
                    "array": "Array",
                }
                return node.type not in literal or kind["$type"].startswith(literal[node.type])


@cache
def _load(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8"))
