"""The set-up from a bare clone, as far as it can be tested without installing everything again."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tools.setup import no_interpreter

pytestmark = pytest.mark.process

ROOT = Path(__file__).parents[2]
THIS = f"{sys.version_info.major}.{sys.version_info.minor}"


def bare(directory: Path) -> Path:
    """A clone without packages; so npm, which comes with one of them, is missing when Azurite's turn comes."""
    (directory / "tools").mkdir()
    shutil.copy(ROOT / "tools/setup.py", directory / "tools")
    for name in ("requirements.txt", "requirements-dev.txt"):
        (directory / name).write_text("")
    shutil.copytree(ROOT / "local/azurite", directory / "local/azurite")
    return directory


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A clone in which the set-up has run once, for this version of Python, and its output."""
    clone = bare(tmp_path_factory.mktemp("clone"))
    return clone, set_up(clone, "--python", THIS)


@pytest.fixture
def clone(first: tuple[Path, object], tmp_path: Path) -> Path:
    """A copy of the clone, for one test; its environment is the usual one, without the mark of a complete set-up."""
    shutil.copytree(first[0], tmp_path / "clone", symlinks=True)
    environment = (tmp_path / "clone" / f".venv-{THIS}").rename(tmp_path / "clone/.venv")
    (environment / "set-up.stamp").unlink()
    return tmp_path / "clone"


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
def test_an_unusable_interpreter_is_refused_by_the_name_of_its_setting(tmp_path: Path, wrong: str) -> None:
    done = set_up(bare(tmp_path), PYTHON=wrong)
    assert done.returncode != 0
    assert "PYTHON: expected" in done.stderr


def test_each_version_has_an_environment_of_its_own(first: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    clone, done = first
    assert f"making .venv-{THIS}" in done.stderr
    assert (clone / f".venv-{THIS}/bin/python").exists()
    assert not (clone / ".venv").exists()


def test_what_was_done_is_left_alone_and_what_was_interrupted_is_done_again(clone: Path) -> None:
    interrupted, second = (set_up(clone, PYTHON=sys.executable) for _ in range(2))
    assert "making" not in interrupted.stderr
    assert "installing Python packages" in interrupted.stderr
    for done in (interrupted, second):
        assert done.returncode != 0
        assert "installing Azurite" in done.stderr
    assert "Python packages" not in second.stderr
    (clone / "requirements-dev.txt").write_text("# changed\n")
    assert "installing Python packages" in set_up(clone, PYTHON=sys.executable).stderr


def test_the_app_has_an_environment_for_func_with_what_it_imports_alone(clone: Path) -> None:
    shutil.copytree(clone / ".venv", clone / ".venv-app", symlinks=True)
    (clone / "requirements-dev.txt").write_text("nothing of this is wanted\n")
    made, again = (set_up(clone, "--app") for _ in range(2))
    assert "installing Python packages into .venv-app" in made.stderr
    assert again.stderr == ""
    for done in (made, again):
        assert done.returncode == 0
        assert done.stdout == f"{clone / '.venv-app/bin/python'}\n"


def test_a_download_that_fails_says_what_to_do_without_a_traceback(clone: Path) -> None:
    (clone / "requirements-dev.txt").write_text(f"no-such-package==1 --hash=sha256:{'0' * 64}\n")
    nowhere = "http://127.0.0.1:1/simple"
    done = set_up(clone, PYTHON=sys.executable, PIP_INDEX_URL=nowhere, PIP_RETRIES="0", PIP_CONFIG_FILE="/dev/null")
    assert done.returncode == 1
    assert "HTTPS_PROXY" in done.stderr
    assert "no-such-package" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_interpreter_without_ensurepip_is_reported_with_the_missing_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    incomplete = tmp_path / "python3.12"
    incomplete.write_text('#!/bin/sh\ncase "$2" in *ensurepip*) exit 1;; esac\necho 3.12\n')
    incomplete.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    assert "sudo apt install python3.12-venv" in no_interpreter("3.12")
    assert "expected Python 3.9" in no_interpreter("3.9")
