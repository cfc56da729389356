"""The direction of imports: between the rooms, and downwards in shared/."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

ROOMS = {
    "shared": {"shared"},
    "notify_http": {"notify_http", "shared"},
    "notify_event_hub": {"notify_event_hub", "shared"},
    "process_queue": {"process_queue", "shared"},
    "renew_timer": {"renew_timer", "shared"},
    "ops": {"ops", "shared"},
    "graph_simulator": {"graph_simulator"},  # a product of its own: it knows nothing of the app
    "local": {"local", "graph_simulator", "shared", "function_app"},
    "infra": {"infra", "shared"},  # a script of the deployment asks which permissions the declarations take
}
"""What each room may import of ours; bench, fuzz and tests may import anything."""

ORDER = (
    "errors",
    "telemetry",
    "exporting",
    "schedule",
    "setting_values",
    "declaration",
    "settings",
    "json_text",
    "notification",
    "client_state",
    "envelope",
    "decryption",
    "http",
    "resource_path",
    "validation_token",
    "signing_keys",
    "event",
    "retry",
    "breaker",
    "storage",
    "tables",
    "dead_letters",
    "backlog",
    "intake",
    "key_ring",
    "key_directory",
    "key_vault",
    "identity",
    "graph",
    "destination",
    "ledger",
    "lifetimes",
    "permissions",
    "endpoint",
    "tenants",
    "progress",
    "silence",
    "rotation",
    "subscriptions",
    "delta",
    "credential_expiry",
    "backfill",
    "sweep",
    "reconcile",
    "clients",
)
"""The modules of shared/, bottom first: each imports only from those before it."""

OURS = {path.name for path in ROOT.iterdir() if path.is_dir()} | {path.stem for path in ROOT.glob("*.py")}


def imports(path: Path) -> set[str]:
    """The dotted names, within our own tree, that a file imports, at whatever depth they are written."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import hides where it leads"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in names if name.partition(".")[0] in OURS}


def modules_of_shared(path: Path) -> set[str]:
    """The modules of shared/ that a file imports."""
    return {name.split(".")[1] for name in imports(path) if name.startswith("shared.")}


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_what_it_may(room: str) -> None:
    strays = {
        f"{path.relative_to(ROOT)} imports {name}"
        for path in (ROOT / room).rglob("*.py")
        for name in imports(path)
        if name.partition(".")[0] not in ROOMS[room]
    }
    assert strays == set()


def test_every_room_with_code_has_its_rule() -> None:
    code = {
        path.name
        for path in ROOT.iterdir()
        if path.is_dir() and not path.name.startswith(".") and any(path.rglob("*.py"))
    }
    assert code - {"bench", "fuzz", "tests", "tools"} <= ROOMS.keys()


def test_the_front_door_lists_functions_and_sets_up_exporting() -> None:
    assert {name.partition(".")[0] for name in imports(ROOT / "function_app.py")} == {
        "notify_event_hub",
        "notify_http",
        "process_queue",
        "renew_timer",
        "shared",  # where telemetry goes
    }


def test_every_module_of_shared_has_its_place_in_the_order() -> None:
    assert {path.stem for path in (ROOT / "shared").rglob("*.py")} - {"__init__"} == set(ORDER)
    assert len(set(ORDER)) == len(ORDER)


def test_each_module_of_shared_imports_only_from_below() -> None:
    climbing = {
        f"{module} imports {imported}"
        for place, module in enumerate(ORDER)
        for imported in modules_of_shared(ROOT / "shared" / f"{module}.py")
        if imported not in ORDER[:place]
    }
    assert climbing == set()
