"""The package holds what the app needs to run, and nothing else."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from infra import package

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


def test_what_nobody_named_stays_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
    monkeypatch.setattr(package, "ROOT", tmp_path)
    assert package.files() == ["function_app.py"]


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
