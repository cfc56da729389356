"""`python -m graph_simulator vectors` reports errors in one line, and writes a complete set or nothing."""

from pathlib import Path

import pytest

from graph_simulator.vectors import command
from tests.vectors.receiver import Vectors


def complaint(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """Return the exit code, and the one line of output."""
    try:
        code: object = command.main(arguments)
    except SystemExit as ended:
        code = ended.code
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert isinstance(code, int)
    return code, said.err.removeprefix("python -m graph_simulator vectors: ")


@pytest.mark.parametrize("seed", ["x", "-1", "1.5", "", "9223372036854775808", "9" * 5_000, "٣"])
def test_a_malformed_seed_is_reported(seed: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, line = complaint(capsys, str(tmp_path / "set"), f"--seed={seed}")
    assert code == 2
    assert line.startswith("argument --seed: expected a whole number from 0 to 9223372036854775807, not ")
    assert len(line) < 150
    assert list(tmp_path.iterdir()) == []


def test_a_directory_with_files_in_it_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    code, line = complaint(capsys, str(tmp_path))
    assert (code, line) == (2, f"{tmp_path}: expected an empty directory, this one has files in it\n")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_file_is_no_directory(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("mine")
    assert complaint(capsys, str(tmp_path / "file")) == (
        2,
        f"{tmp_path / 'file'}: expected a directory, this is a file\n",
    )


def test_wrong_usage_is_reported_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert complaint(capsys) == (2, "the following arguments are required: DIR\n")
    assert complaint(capsys, "one", "two")[0] == 2


def test_an_unknown_case_is_reported(vectors: Vectors, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, line = complaint(capsys, str(tmp_path / "set"), "--case", "token-expired", "--case", "token-expird")
    assert code == 2
    assert line.startswith("--case token-expird: no such case")
    assert list(tmp_path.iterdir()) == []


def test_single_cases_can_be_selected(vectors: Vectors, tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    assert command.main([str(tmp_path / "set"), "--case", "token-expired", "--case", "handshake-usual"]) == 0
    some = Vectors(tmp_path / "set")
    assert [case["name"] for case in some.manifest["cases"]] == ["handshake-usual", "token-expired"]
    wanted = [case for case in vectors.manifest["cases"] if case["name"] in ("handshake-usual", "token-expired")]
    assert some.manifest["cases"] == wanted
    path = wanted[1]["request"]["body"]
    assert some.read(path) == vectors.read(path)


def test_what_cannot_be_written_leaves_nothing_behind(
    vectors: Vectors, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("mine")
    place = tmp_path / "file" / "set"
    code, line = complaint(capsys, str(place), "--case", "handshake-usual")
    assert code == 1
    assert line.startswith(f"{place}: ")
    assert line.endswith("; nothing was written\n")
    with pytest.raises(OSError, match="a"):
        command.write({"a": b"", "a/b": b""}, tmp_path / "set")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
