"""Deployed packages are pinned, necessary, licensed, and listed."""

import ast
import json
import sys
from collections.abc import Iterator
from functools import cache
from importlib import metadata
from pathlib import Path

import pytest

from local.ports import free_ports
from tests.servers import ScriptedResponse, in_json, serving
from tools import sbom
from tools.licences import check, is_allowed
from tools.pinned import ROOT, RUNTIME, Pinned, pinned, wanted
from tools.vulnerabilities import Unreachable, known

DEPLOYED = ("function_app.py", "notify_http", "notify_event_hub", "process_queue", "renew_timer", "shared")
PACKAGES = pinned()
PART_OF_OTHERS = {"azure-core", "urllib3"}
"""Packages whose exceptions are part of the contract of Azure's clients; their versions are not
our choice.
"""


def modules_of(name: str) -> set[str]:
    """Return the dotted names of the modules of an installed package."""
    found = set()
    for file in metadata.files(name) or ():
        if file.suffix in (".py", ".so") and ".." not in file.parts:
            parts = [part.partition(".")[0] for part in file.parts]
            found.add(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return found


@cache
def imported() -> frozenset[str]:
    """Return the dotted names that the deployed packages import, at any depth."""
    return frozenset(name for place in DEPLOYED for file in files(ROOT / place) for name in imports(file))


def files(place: Path) -> Iterator[Path]:
    yield from place.rglob("*.py") if place.is_dir() else [place]


def imports(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_everything_is_pinned_to_one_version_and_has_hashes() -> None:
    assert len(PACKAGES) == sum(line[0].isalnum() for line in RUNTIME.read_text().splitlines() if line)
    assert [package.name for package in PACKAGES if not package.hashes] == []


def test_everything_is_there_for_a_reason_that_is_there_too() -> None:
    names = {package.name for package in PACKAGES}
    assert [package.name for package in PACKAGES if not package.direct and not package.via] == []
    assert {needing for package in PACKAGES for needing in package.via} <= names
    assert {package.name for package in PACKAGES if package.direct} == set(wanted())


@pytest.mark.parametrize("name", sorted(wanted()))
def test_what_the_app_asks_for_it_imports(name: str) -> None:
    assert modules_of(name) & imported(), f"nothing that is deployed imports {name}"


def test_what_the_app_imports_it_asks_for() -> None:
    desired = {Path(place).stem for place in DEPLOYED}
    brought = {module for name in {*wanted(), *PART_OF_OTHERS} for module in modules_of(name)}
    foreign = {name for name in imported() if name.partition(".")[0] not in desired | sys.stdlib_module_names}
    modules = {name for name in foreign if not any(name.startswith(f"{module}.") for module in brought)}
    namespaces = {module.rpartition(".")[0] for module in brought}
    assert modules - brought - namespaces == set()


def test_all_licences_are_allowed() -> None:
    assert list(check(PACKAGES)) == []


@pytest.mark.parametrize(
    ("expression", "allowed"),
    [
        ("MIT", True),
        ("GPL-3.0-only OR MIT", True),
        ("MIT AND Apache-2.0", True),
        ("MIT AND (GPL-2.0-only OR ISC)", True),
        ("GPL-3.0-only", False),
        ("MIT AND AGPL-3.0-only", False),
        ("LicenseRef-Proprietary", False),
    ],
)
def test_an_allowed_licence_is_distinguished_from_others(expression: str, *, allowed: bool) -> None:
    assert is_allowed(expression) is allowed


def test_the_bill_of_materials_lists_each_package_with_its_hashes_and_who_needs_it() -> None:
    text = sbom.written(sbom.bill(PACKAGES))
    bill = json.loads(text)
    assert bill["bomFormat"] == "CycloneDX"
    components = {component["bom-ref"]: component for component in bill["components"]}
    assert components.keys() == {f"{package.name}@{package.version}" for package in PACKAGES}
    for package in PACKAGES:
        component = components[f"{package.name}@{package.version}"]
        assert {held["content"] for held in component["hashes"]} == set(package.hashes)
        assert component["purl"] == f"pkg:pypi/{package.name}@{package.version}"
    needed = {dependency["ref"]: dependency.get("dependsOn", []) for dependency in bill["dependencies"]}
    assert {ref.partition("@")[0] for ref in needed[sbom.NAME]} == set(wanted())
    assert any(
        ref.startswith("urllib3@")
        for ref in next(needs for ref, needs in needed.items() if ref.startswith("requests@"))
    )
    assert sbom.written(sbom.bill(pinned())) == text


SOME = [Pinned(name, "1.0", (), (), direct=True, applies=True) for name in ("one", "other")]


@pytest.mark.server
def test_a_known_vulnerability_of_a_package_is_reported() -> None:
    found = {"results": [{}, {"vulns": [{"id": "GHSA-1"}, {"id": "PYSEC-2"}]}]}
    with serving(lambda _: in_json(found)) as database:
        assert known(SOME, database.url) == ["other 1.0: GHSA-1, PYSEC-2"]
        assert json.loads(database.asked[0].body)["queries"][0]["package"] == {"ecosystem": "PyPI", "name": "one"}


@pytest.mark.server
@pytest.mark.parametrize(
    "answer",
    [
        ScriptedResponse(503),
        ScriptedResponse(200, b"<html>"),
        ScriptedResponse(200, b"[]"),
        ScriptedResponse(200, b"{}"),
        ScriptedResponse(0),
    ],
)
def test_an_unanswered_query_differs_from_no_known_vulnerability(answer: ScriptedResponse) -> None:
    with serving(lambda _: answer) as database, pytest.raises(Unreachable):
        known(SOME, database.url)


def test_an_unreachable_database_is_reported_too() -> None:
    with pytest.raises(Unreachable):
        known(SOME, f"http://127.0.0.1:{free_ports(1)[0]}")


def test_nothing_is_known_against_what_is_deployed() -> None:
    try:
        found = known(PACKAGES)
    except Unreachable as unreachable:
        pytest.skip(f"nothing was checked: {unreachable}")
    assert found == []
