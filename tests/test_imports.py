"""The direction of imports: between the top-level packages, and downwards in shared/."""

import ast
from collections.abc import Set
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

ALLOWED_IMPORTS = {
    "shared": {"shared"},
    "notify_http": {"notify_http", "shared"},
    "notify_event_hub": {"notify_event_hub", "shared"},
    "process_queue": {"process_queue", "shared"},
    "renew_timer": {"renew_timer", "process_queue", "shared"},  # it handles what a sleeping queue trigger leaves
    "ops": {"ops", "shared"},
    "graph_simulator": {"graph_simulator"},  # a product of its own, without imports from the app
    "local": {"local", "graph_simulator", "shared", "function_app"},
    "infra": {"infra", "shared"},  # a script of the deployment computes the permissions of the declarations
}
"""What each top-level package may import of this repository; bench, fuzz and tests may import anything."""

FLOORS = (
    ("text", "throttle"),
    ("errors", "log_lines", "telemetry", "exporting", "http_client", "resources"),
    ("configuration", "circuit_breaker", "deadline", "threads"),
    ("graph", "storage"),
    ("keys", "delivery", "messages"),
    ("in_force",),
    ("readback", "paths", "access", "outboxes_in_force"),
    ("subscriptions",),
    ("relay",),
)
"""The packages and modules of shared/, bottom first: each imports only from the floors beneath it."""

OURS = {path.name for path in ROOT.iterdir() if path.is_dir()} | {path.stem for path in ROOT.glob("*.py")}


@cache
def imports(path: Path) -> frozenset[str]:
    """Return the dotted names of this repository that a file imports, at any depth."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import hides where it leads"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(name for name in names if name.partition(".")[0] in OURS)


def modules_of_shared(path: Path) -> set[str]:
    """The modules of shared/ that a file imports."""
    return {name.split(".")[1] for name in imports(path) if name.startswith("shared.")}


@pytest.mark.parametrize("package", ALLOWED_IMPORTS)
def test_a_top_level_package_imports_only_what_it_may(package: str) -> None:
    forbidden = {
        f"{path.relative_to(ROOT)} imports {name}"
        for path in (ROOT / package).rglob("*.py")
        for name in imports(path)
        if name.partition(".")[0] not in ALLOWED_IMPORTS[package]
    }
    assert forbidden == set()


def test_every_top_level_package_with_code_has_its_rule() -> None:
    code = {
        path.name
        for path in ROOT.iterdir()
        if path.is_dir() and not path.name.startswith(".") and any(path.rglob("*.py"))
    }
    assert code - {"bench", "examples", "fuzz", "tests", "tools"} <= ALLOWED_IMPORTS.keys()


def test_function_app_lists_functions_and_sets_up_exporting() -> None:
    assert {name.partition(".")[0] for name in imports(ROOT / "function_app.py")} == {
        "notify_event_hub",
        "notify_http",
        "process_queue",
        "renew_timer",
        "shared",  # where telemetry goes
    }


FLOOR_OF = {name: floor for floor, names in enumerate(FLOORS) for name in names}


def test_every_package_of_shared_has_its_floor() -> None:
    found = {path.stem for path in (ROOT / "shared").iterdir() if path.stem not in ("__init__", "__pycache__")}
    assert found == set(FLOOR_OF)
    assert len(FLOOR_OF) == sum(map(len, FLOORS))


@pytest.mark.parametrize("package", FLOOR_OF)
def test_a_package_of_shared_imports_only_from_the_floors_beneath_it(package: str) -> None:
    place = ROOT / "shared" / package
    upward = {
        f"{path.relative_to(ROOT)} imports shared.{imported}"
        for path in (place.rglob("*.py") if place.is_dir() else [place.with_suffix(".py")])
        for imported in modules_of_shared(path)
        if imported != package and FLOOR_OF[imported] >= FLOOR_OF[package]
    }
    assert upward == set()


def test_no_modules_of_shared_import_each_other_in_a_circle() -> None:
    modules = {module_name(path): path for path in (ROOT / "shared").rglob("*.py")}
    waiting = {name: shared_modules(path, modules.keys()) for name, path in modules.items()}
    while free := {name for name, needed in waiting.items() if not needed & waiting.keys()}:
        waiting = {name: needed for name, needed in waiting.items() if name not in free}
    assert waiting == {}


def module_name(path: Path) -> str:
    """The dotted name of a module of shared/."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def shared_modules(path: Path, modules: Set[str]) -> set[str]:
    """The modules of shared/ that a file imports, by their dotted names."""
    named = (name if name in modules else name.rpartition(".")[0] for name in imports(path))
    return {name for name in named if name in modules and name not in ("shared", module_name(path))}
