import json
import os
from pathlib import Path

import pytest
from click.testing import Result

from ops.environment import load_settings
from tests.ops.conftest import Operator, run


def listing(settings: Path, environment: dict[str, str]) -> Result:
    return run("--settings", str(settings), "dead-letters", "list", "--json", environment=environment)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "local.settings.json"


def test_settings_are_read_from_a_file(file: Path, storage_operator: Operator) -> None:
    file.write_text(json.dumps({"IsEncrypted": False, "Values": storage_operator.environment, "Host": {"CORS": "*"}}))
    assert listing(file, {}).exit_code == 0


def test_the_environment_goes_before_the_file_that_is_there_by_default(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_text(json.dumps({"Values": {"IN_BOTH": "of the file", "IN_THE_FILE": "of the file"}}))
    monkeypatch.setattr(os, "environ", {"IN_BOTH": "of the environment"})
    load_settings(None, file)
    assert os.environ == {"IN_BOTH": "of the environment", "IN_THE_FILE": "of the file"}


def test_without_a_file_by_default_the_environment_stays(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {"SOME": "setting"})
    load_settings(None, file)
    assert os.environ == {"SOME": "setting"}


def test_a_file_that_is_named_goes_before_the_environment(file: Path, storage_operator: Operator) -> None:
    file.write_text(json.dumps({"Values": storage_operator.environment}))
    assert listing(file, {"NOTIFICATION_QUEUE": "Not A Name"}).exit_code == 0


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "[]",
        '{"Values": {"A": 1}}',
        "{",
        "\x00",
        '{"Values": {"A": "hunter2"',
        '{"IsEncrypted": true, "Values": {}}',
    ],
)
def test_an_unreadable_file_is_a_wrong_setting(file: Path, text: str | None) -> None:
    if text is not None:
        file.write_text(text)
    result = listing(file, {})
    assert result.exit_code == 2
    assert "local.settings.json" in result.stdout
    assert "hunter2" not in result.output


def test_a_line_with_malformed_json_is_reported(file: Path) -> None:
    file.write_text('{\n  "Values": {\n    "A": "hunter2",\n  }\n}')
    result = listing(file, {})
    assert "line 4 is not JSON" in result.stdout or "line 3 is not JSON" in result.stdout
    assert "hunter2" not in result.output
