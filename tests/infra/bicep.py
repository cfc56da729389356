"""The declarations and references of a Bicep file, parsed with a Bicep grammar, without the compiler."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import tree_sitter_bicep
from tree_sitter import Language, Node, Parser

INFRA = Path(__file__).resolve().parents[2] / "infra"
_PARSER = Parser(Language(tree_sitter_bicep.language()))
_DECLARATIONS = (
    "parameter_declaration",
    "variable_declaration",
    "resource_declaration",
    "module_declaration",
    "type_declaration",
)
_AMBIENT = {"string", "int", "bool", "object", "array"}


@dataclass(frozen=True)
class Resource:
    """A resource by its full type; `body` is its object. `existing`: the file refers to it and does not create it."""

    symbol: str
    type: str
    version: str
    body: Node
    existing: bool


@dataclass(frozen=True)
class Module:
    """A use of another file: the parameters passed, as written, and whether it has a name."""

    symbol: str
    path: str
    given: dict[str, str]
    named: bool


@dataclass(frozen=True)
class Template:
    """One Bicep file."""

    path: Path

    @cached_property
    def text(self) -> str:
        """The text of the file."""
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def root(self) -> Node:
        """The syntax tree."""
        return _PARSER.parse(self.text.encode()).root_node

    @property
    def errors(self) -> list[str]:
        """The nodes that violate the grammar."""
        return [
            f"line {node.start_point[0] + 1}" for node in walk(self.root) if node.type == "ERROR" or node.is_missing
        ]

    @property
    def parameters(self) -> dict[str, bool]:
        """Parameters by name, and whether each is optional: it has a default, or may be null."""
        found = self._all("parameter_declaration")
        return {
            _symbol(node): any(child.type == "=" for child in node.children) or self.types[_symbol(node)].endswith("?")
            for node in found
        }

    @property
    def types(self) -> dict[str, str]:
        """The types of the parameters, as written."""
        found = {_symbol(node): node for node in self._all("parameter_declaration")}
        return {
            name: next(text(child) for child in node.named_children if child.type in ("type", "primitive_type"))
            for name, node in found.items()
        }

    @property
    def outputs(self) -> set[str]:
        """The names of the outputs."""
        return {_symbol(node) for node in self._all("output_declaration")}

    @property
    def declared(self) -> set[str]:
        """Every name that an expression may use."""
        names = {_symbol(node) for kind in _DECLARATIONS for node in self._all(kind)}
        loops = {
            text(child) for node in self._all("for_statement") for child in node.children_by_field_name("initializer")
        }
        numbered = {text(child) for node in self._all("for_loop_parameters") for child in node.named_children}
        lambdas = {text(node.named_children[0]) for node in self._all("lambda_expression")}
        return names | loops | numbered | lambdas | {name for names, _ in self.imports for name in names}

    @property
    def imports(self) -> Iterator[tuple[list[str], str]]:
        """The names imported from other files, and the path of each file."""
        for node in self._all("import_functionality"):
            *names, path = node.named_children
            yield [text(name) for name in names], _text_of_string(path)

    @property
    def used(self) -> set[str]:
        """Every name that an expression uses, except functions."""
        names = (node for node in self._all("identifier") if _is_use(node))
        return {text(name) for name in names if self.text.encode()[name.end_byte : name.end_byte + 1] != b"("}

    @property
    def resources(self) -> Iterator[Resource]:
        """The resources, nested ones prefixed with the type of their parents."""
        for node in self._all("resource_declaration"):
            types = [_text_of_string(owner.named_children[1]) for owner in _owners(node)]
            version = next(name.partition("@")[2] for name in types if "@" in name)
            path = "/".join(name.partition("@")[0] for name in reversed(types))
            existing = any(child.type == "existing" for child in node.children)
            yield Resource(_symbol(node), path, version, _body(node), existing)

    @property
    def modules(self) -> Iterator[Module]:
        """The uses of other files."""
        for node in self._all("module_declaration"):
            body = properties(_body(node))
            params = body.get("params")
            given = {name: text(value) for name, value in properties(params).items()} if params else {}
            yield Module(_symbol(node), _text_of_string(node.named_children[1]), given, "name" in body)

    @property
    def outputs_used(self) -> set[tuple[str, str]]:
        """The used outputs of modules, as (module, output)."""
        return set(re.findall(r"(\w+)!?\.outputs\.(\w+)", self.text))

    def strings(self) -> set[str]:
        """All string literals without interpolation."""
        return {_text_of_string(node) for node in self._all("string")}

    def _all(self, kind: str) -> Iterator[Node]:
        return (node for node in walk(self.root) if node.type == kind)


def templates() -> list[Template]:
    """Return every Bicep file of infra/."""
    return [Template(path) for path in sorted(INFRA.rglob("*.bicep"))]


def template(name: str) -> Template:
    """Return the file with a name."""
    return Template(INFRA / name)


def walk(node: Node) -> Iterator[Node]:
    """Yield a node and its descendants."""
    yield node
    for child in node.children:
        yield from walk(child)


def text(node: Node) -> str:
    """Return the source text of a node."""
    return (node.text or b"").decode()


def properties(node: Node) -> dict[str, Node]:
    """Return the values of an object by key, without nested resources."""
    pairs = (child.named_children for child in node.named_children if child.type == "object_property")
    return {text(pair[0]).strip("'"): pair[1] for pair in pairs if len(pair) > 1}


def _owners(node: Node | None) -> Iterator[Node]:
    while node is not None:
        if node.type == "resource_declaration":
            yield node
        node = node.parent


def _body(declaration: Node) -> Node:
    value = declaration.named_children[-1]
    if value.type == "if_statement":
        value = value.named_children[-1]
    if value.type == "for_statement":
        value = value.children_by_field_name("body")[0]
    assert value.type == "object", text(declaration)
    return value


def _symbol(declaration: Node) -> str:
    return text(next(child for child in declaration.named_children if child.type == "identifier"))


def _text_of_string(node: Node) -> str:
    return text(node).strip("'")


def _is_use(identifier: Node) -> bool:
    owner = identifier.parent
    naming = (*_DECLARATIONS, "output_declaration", "object_property")
    return owner is not None and (owner.type not in naming or owner.named_children[0] != identifier)
