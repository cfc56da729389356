"""The package holds what the app needs to run, and nothing else."""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from infra import package
from tests.infra.bicep import template

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def names() -> set[str]:
    return set(package.files())


def test_it_holds_the_rooms_of_the_app_and_what_azure_reads(names: set[str]) -> None:
    assert {name.partition("/")[0] for name in names} == {
        "function_app.py", "host.json", "requirements.txt", "shared",
        "notify_http", "notify_event_hub", "process_queue", "renew_timer",
    }  # fmt: skip


def test_it_holds_code_and_settings_alone(names: set[str]) -> None:
    assert {Path(name).suffix for name in names} == {".py", ".json", ".txt"}


def requirements(path: str) -> dict[str, str]:
    """Return the pinned versions of a requirements file by name, as they apply to the deployed Python."""
    deployed = {"python_version": "3.13", "python_full_version": "3.13.0", "sys_platform": "linux",
                "platform_system": "Linux", "platform_python_implementation": "CPython"}  # fmt: skip
    text = re.sub(r"\\\n|--hash=\S+", " ", (package.ROOT / path).read_text(encoding="utf-8"))
    found = [Requirement(line.partition("#")[0].strip()) for line in text.splitlines() if "==" in line]
    return {
        requirement.name: str(requirement.specifier)
        for requirement in found
        if not requirement.marker or requirement.marker.evaluate(deployed)
    }


def test_requirements_are_those_of_the_python_that_is_deployed() -> None:
    assert requirements("infra/requirements.txt") == requirements("requirements.txt")
    assert re.findall(r"version: '([\d.]+)'|'PYTHON\|([\d.]+)'", template("modules/function.bicep").text) == [
        ("3.13", ""),
        ("", "3.13"),
    ]


def test_requirements_hold_for_no_other_python() -> None:
    assert ";" not in package.content("requirements.txt").decode()  # no marker admits another Python
    (needs,) = {
        requirement
        for requirement in requirements("infra/requirements.txt").items()
        if requirement[0] == "azure-functions"
    }
    assert needs[1].startswith("==2.")  # which refuses Python below 3.13


def test_a_directory_holds_what_the_zip_holds(tmp_path: Path) -> None:
    package.build(tmp_path / "app.zip")
    for _ in range(2):  # the second time it replaces the first
        package.build(tmp_path / "app")
    with zipfile.ZipFile(tmp_path / "app.zip") as archive:
        zipped = {name: archive.read(name) for name in archive.namelist()}
    lying = {str(file.relative_to(tmp_path / "app")): file.read_bytes() for file in (tmp_path / "app").rglob("*.*")}
    assert {name: text for name, text in lying.items() if name in zipped} == zipped
    assert set(lying) == set(zipped)


def test_a_directory_other_than_a_package_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(SystemExit):
        package.build(tmp_path)
    assert (tmp_path / "thesis.txt").exists()


def test_what_nobody_named_stays_out(tmp_path: Path) -> None:
    shutil.copy(package.ROOT / ".funcignore", tmp_path)
    for name in (
        "function_app.py",
        "stray-key.pem",
        "local.settings.json",
        "tests/test_it.py",
        "shared/__pycache__/it.pyc",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert package.files(tmp_path) == ["function_app.py"]


def test_equal_files_give_an_equal_package(tmp_path: Path) -> None:
    package.build(tmp_path / "one.zip")
    package.build(tmp_path / "another.zip")
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "another.zip").read_bytes()
    assert len({entry.date_time for entry in zipfile.ZipFile(tmp_path / "one.zip").infolist()}) == 1  # and not the time


def test_the_app_can_be_imported_from_the_package_alone(tmp_path: Path) -> None:
    package.build(tmp_path / "app.zip")
    zipfile.ZipFile(tmp_path / "app.zip").extractall(tmp_path / "app")
    script = "import function_app; print(*sorted(one.get_function_name() for one in function_app.app.get_functions()))"
    app = {**os.environ, "PYTHONPATH": str(tmp_path / "app")}
    done = subprocess.run(
        [sys.executable, "-P", "-c", script], cwd=tmp_path, env=app, capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == ["notify_http", "process_queue", "renew_timer"], done.stderr
