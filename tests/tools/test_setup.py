"""The set-up from a bare clone, as far as it can be tried without installing everything again."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
THIS = f"{sys.version_info.major}.{sys.version_info.minor}"


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone that wants no packages; so npm, which comes with one of them, is missing when Azurite's turn comes."""
    (tmp_path / "tools").mkdir()
    shutil.copy(ROOT / "tools/setup.py", tmp_path / "tools")
    (tmp_path / "requirements-dev.txt").write_text("")
    shutil.copytree(ROOT / "local/azurite", tmp_path / "local/azurite")
    return tmp_path


def set_up(clone: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(clone / "tools/setup.py"), *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_usable_versions_are_listed_newest_first() -> None:
    versions = set_up(ROOT, "--list").stdout.split()
    assert THIS in versions
    assert versions == sorted(versions, reverse=True)


@pytest.mark.parametrize("wrong", ["no-such-python", "cat"])
def test_an_interpreter_that_cannot_be_used_is_refused_by_the_name_of_its_setting(clone: Path, wrong: str) -> None:
    done = set_up(clone, PYTHON=wrong)
    assert done.returncode != 0
    assert "PYTHON: expected" in done.stderr


def test_what_was_done_is_left_alone_and_what_was_interrupted_is_done_again(clone: Path) -> None:
    first, second = set_up(clone, PYTHON=sys.executable), set_up(clone, PYTHON=sys.executable)
    assert "making .venv" in first.stderr
    assert "installing Python packages" in first.stderr
    for done in (first, second):
        assert done.returncode != 0
        assert "installing Azurite" in done.stderr
    assert "Python packages" not in second.stderr


def test_another_requirement_is_noticed(clone: Path) -> None:
    set_up(clone, PYTHON=sys.executable)
    (clone / "requirements-dev.txt").write_text("# changed\n")
    done = set_up(clone, PYTHON=sys.executable)
    assert "installing Python packages" in done.stderr
    assert "making" not in done.stderr


def test_each_version_has_an_environment_of_its_own(clone: Path) -> None:
    set_up(clone, "--python", THIS)
    assert (clone / f".venv-{THIS}/bin/python").exists()
    assert not (clone / ".venv").exists()
