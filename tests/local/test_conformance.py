"""The stand-in behaves like the Functions host; the suite reports so, and reports wrong arguments."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from local.azurite import Azurite
from local.child import ChildFailed
from local.conformance.__main__ import AT_ONCE, HASTE, conduct, main, report, tried
from local.conformance.rows import ROWS
from local.conformance.table import Result, Row, Verdict, chosen, markdown, verdict
from local.conformance.trial import Surroundings, Trial
from local.host.core_tools import CoreTools
from local.host.process import HostProcess
from tests.local.fake_func import OWN_PYTHON, alive, write_program
from tests.waiting import LIMIT, eventually

pytestmark = pytest.mark.process

ROOT = Path(__file__).parents[2]


@pytest.fixture
def func(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Path]:
    """Have the suite run a fake `func`, with these variables; returns its record."""

    def use(**environment: str) -> Path:
        record = tmp_path / "record"
        program = write_program(tmp_path, FAKE_FUNC_RECORD=str(record), **environment)
        for name, value in {**OWN_PYTHON, "HOST": "func", "FUNC": str(program)}.items():
            monkeypatch.setenv(name, value)
        return record

    monkeypatch.delenv("HOST_KEY", raising=False)
    return use


@pytest.mark.timeout(600)
def test_the_stand_in_agrees_with_the_functions_host(tmp_path: Path, azurite: Azurite) -> None:
    rows = [row for row in chosen(ROWS, [], long=False) if not row.measured]
    results = list(conduct(rows, Surroundings(HostProcess, tmp_path, azurite, HASTE), AT_ONCE))
    differing = [
        f"{result.row.name}: {result.found} (the host: {result.row.seen})"
        for result in results
        if result.verdict == "DIFFERS"
    ]
    assert differing == []
    assert len(results) == len(rows)


def test_the_table_has_forty_rows_whose_names_differ() -> None:
    assert len({row.name for row in ROWS}) == len(ROWS) >= 40


def test_everything_that_the_functions_host_was_seen_to_do_has_a_row() -> None:
    # H6 is about Application Insights, H12 about an environment: neither shows at the host.
    seen = {f"H{number}" for number in range(1, 23)} - {"H6", "H12"}
    assert seen <= {finding for row in ROWS for finding in row.finding.split(", ")}


def test_the_documentation_has_the_table() -> None:
    assert markdown(ROWS) in (ROOT / "docs/host.md").read_text()


def test_a_difference_is_one() -> None:
    row = Row("some", "H1", "something", "this", lambda _: "this")
    assert verdict(row, "this") is Verdict.AGREES
    assert verdict(row, "that") is Verdict.DIFFERS


def test_a_table_without_a_difference_ends_with_0_whatever_was_not_tried() -> None:
    rows = [Row(name, "H1", "something", "this", lambda _: "this") for name in ("one", "another")]
    results = [Result(rows[0], "this", Verdict.AGREES), Result(rows[1], "no key", Verdict.NOT_TRIED)]
    assert report(results, rows) == 0


def test_the_same_rows_try_func_and_one_that_does_not_agree_is_named(
    func: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # This `func` never asks for a key: a host with a closed `/admin` differs in one row.
    record = func(HOST_KEY="")
    monkeypatch.setenv("HOST_KEY", "a key")
    assert main(["handshake", "admin-key", "queue-text"]) == 1
    said = capsys.readouterr()
    assert "DIFFERS    admin-key: without 200, with 200 (the Functions host: without 401, with 200)" in said.out
    assert said.out.count("agrees  ") >= 2
    assert said.err == "These rows differ: admin-key\n"
    seen = [json.loads(line) for line in record.read_text().splitlines()]
    assert {tuple(start["arguments"][:2]) for start in seen} == {("start", "--port")}
    assert not any(alive(start["pid"]) for start in seen)


def test_without_a_key_the_rows_that_need_one_are_not_tried(
    func: Callable[..., Path], tmp_path: Path, azurite: Azurite
) -> None:
    func()
    (row,) = chosen(ROWS, ["admin-key"], long=False)
    result = tried(row, Trial(Surroundings(CoreTools, tmp_path, azurite, 1)))
    assert (result.verdict, result.found) == (Verdict.NOT_TRIED, "HOST_KEY is not set")


@pytest.mark.parametrize(
    ("arguments", "environment", "code", "said"),
    [
        (["no-such-row"], {}, 2, "Unknown: no-such-row. There are: body-breaks-off"),
        ([], {"HOST": "func", "PATH": "/nowhere"}, 2, "there is no `func` on the PATH"),
        ([], {"HOST": "func", "FUNC": "/nowhere/func"}, 2, "FUNC does not name a program"),
        ([], {"HOST": "azure"}, 2, "HOST: expected one of func, local"),
    ],
)
def test_what_is_asked_wrongly_is_one_line(
    arguments: list[str],
    environment: dict[str, str],
    code: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in ("HOST", "FUNC", "HOST_KEY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert main(arguments) == code
    errors = capsys.readouterr().err
    assert said in errors
    assert len(errors.splitlines()) == 1


@pytest.mark.parametrize("number", ["0", "-1", "many"])
def test_no_rows_at_once_are_refused(number: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--at-once", number])
    assert ended.value.code == 2
    assert "expected a whole number greater than 0" in capsys.readouterr().err


class Impatient(CoreTools):
    """Does not wait for a host that starts slowly."""

    patience = 0.1


def test_a_host_that_fails_to_start_is_reported(func: Callable[..., Path], tmp_path: Path, azurite: Azurite) -> None:
    func(FAKE_FUNC="hangs")
    rows = chosen(ROWS, ["handshake"], long=False)
    with pytest.raises(ChildFailed, match="functions host was not ready within 0 s"):
        list(conduct(rows, Surroundings(Impatient, tmp_path, azurite, 1), 1))


def test_a_func_that_ends_at_once_is_reported_with_its_output(
    func: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    func(FAKE_FUNC="ends")
    assert main(["handshake"]) == 1
    errors = capsys.readouterr().err
    assert "The host does not come up: functions host ended with 0" in errors
    assert "Value cannot be null" in errors


def test_a_suite_that_is_interrupted_leaves_no_host_behind(func: Callable[..., Path]) -> None:
    child = func(FAKE_FUNC="hangs").with_suffix(".child")
    process = subprocess.Popen(
        [sys.executable, "-m", "local.conformance", "handshake"], cwd=ROOT, stderr=subprocess.PIPE, text=True
    )
    with process:
        eventually(lambda: child.exists() and child.read_text())
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=LIMIT)
    assert process.returncode == 130
    assert said.splitlines() == ["Ended before all rows were tried"]
    eventually(lambda: not alive(int(child.read_text())))
