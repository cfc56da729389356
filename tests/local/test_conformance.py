"""The stand-in does what the Functions host was seen to do; the suite says so, and what is wrong with its arguments."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from local.conformance.__main__ import AT_ONCE, HASTE, conduct
from local.conformance.rows import GROUPS, ROWS
from local.conformance.table import Row, Verdict, chosen, markdown, verdict
from local.host.process import HostProcess
from tests.local.fake_func import write_program

pytestmark = pytest.mark.process

ROOT = Path(__file__).parents[2]


def suite(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `make conformance`."""
    clean = {name: value for name, value in os.environ.items() if name not in ("HOST", "FUNC", "HOST_KEY")}
    return subprocess.run(
        [sys.executable, "-m", "local.conformance", *arguments],
        cwd=ROOT,
        env={**clean, **environment},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


@pytest.mark.timeout(600)
@pytest.mark.parametrize("group", GROUPS)
def test_the_stand_in_agrees_with_the_functions_host(group: str, tmp_path: Path) -> None:
    rows = chosen(GROUPS[group], [], long=False)
    results = list(conduct([row for row in rows if not row.measured], HostProcess, tmp_path, HASTE, AT_ONCE))
    differing = [
        f"{one.row.name}: {one.found} (the host: {one.row.seen})" for one in results if one.verdict == "DIFFERS"
    ]
    assert differing == []
    assert len(results) == len([row for row in rows if not row.measured])


def test_the_table_has_forty_rows_whose_names_differ() -> None:
    assert len({row.name for row in ROWS}) == len(ROWS) >= 40


def test_the_documentation_has_the_table() -> None:
    assert markdown(ROWS) in (ROOT / "docs/host.md").read_text()


def test_a_difference_is_one() -> None:
    row = Row("some", "H1", "something", "this", lambda _: "this")
    assert verdict(row, "this") is Verdict.AGREES
    assert verdict(row, "that") is Verdict.DIFFERS


def test_a_row_that_does_not_agree_is_named_and_ends_with_an_error(tmp_path: Path) -> None:
    # A host whose functions need no key differs in one row; this `func` never asks for one.
    func = write_program(tmp_path, HOST_KEY="")
    outcome = suite("admin-key", HOST="func", FUNC=str(func), HOST_KEY="a key")
    assert outcome.returncode == 1
    assert "DIFFERS    admin-key: without 200, with 200" in outcome.stdout


def test_the_same_rows_try_func(tmp_path: Path) -> None:
    record = tmp_path / "record"
    func, key = write_program(tmp_path, FAKE_FUNC_RECORD=str(record)), "the master key"
    outcome = suite("handshake", "admin-key", "queue-text", HOST="func", FUNC=str(func), HOST_KEY=key)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    assert outcome.stdout.count("agrees ") >= 3
    seen = [json.loads(line) for line in record.read_text().splitlines()]
    assert {tuple(one["arguments"][:2]) for one in seen} == {("start", "--port")}
    assert {one["python"] for one in seen} == {sys.executable}


def test_without_a_key_the_rows_that_need_one_are_not_tried(tmp_path: Path) -> None:
    outcome = suite("admin-key", HOST="func", FUNC=str(write_program(tmp_path)))
    assert outcome.returncode == 0
    assert "not tried  admin-key: HOST_KEY is not set" in outcome.stdout


@pytest.mark.parametrize(
    ("arguments", "environment", "code", "said"),
    [
        (["no-such-row"], {}, 2, "Unknown: no-such-row. There are: body-breaks-off"),
        ([], {"HOST": "func", "PATH": "/nowhere"}, 2, "there is no `func` on the PATH"),
        ([], {"HOST": "func", "FUNC": "/nowhere/func"}, 2, "FUNC names no program"),
        ([], {"HOST": "azure"}, 2, "HOST: expected one of func, local"),
    ],
)
def test_what_is_asked_wrongly_is_one_line(
    arguments: list[str], environment: dict[str, str], code: int, said: str
) -> None:
    outcome = suite(*arguments, **environment)
    assert outcome.returncode == code
    assert said in outcome.stderr
    assert len(outcome.stderr.splitlines()) == 1


def test_a_func_that_ends_at_once_is_told_with_what_it_said(tmp_path: Path) -> None:
    outcome = suite("handshake", HOST="func", FUNC=str(write_program(tmp_path, FAKE_FUNC="ends")))
    assert outcome.returncode == 1
    assert "The host does not come up: functions host ended with 0" in outcome.stderr
    assert "Value cannot be null" in outcome.stderr
