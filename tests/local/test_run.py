"""The whole system, started and ended as `make run` does it."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.host import running_host
from local.child import ChildFailed
from local.host.core_tools import CoreTools
from local.host.timers import HOST_ID_SETTING
from local.host.waits import LEASE
from local.run import kinds
from local.run.__main__ import main
from local.run.comparison import differences
from tests.chaos.run import PATIENCE
from tests.chaos.system import ChaosSettings, ChaosSystem
from tests.local.fake_func import OWN_PYTHON, alive, write_program
from tests.waiting import LIMIT

ROOT = Path(__file__).parents[2]
TENANT = "5d9f0c1e-0000-4000-8000-000000000001"
PROGRAM = """import pathlib, sys
from local.run.__main__ import main
sys.exit(main(sys.argv[2:], pathlib.Path(sys.argv[1])))"""


def written(path: str = "chats/19:a@thread.v2/messages/1", **changed: Any) -> dict[str, Any]:
    """A line of the simulator's list of messages."""
    resource = {"id": path.rpartition("/")[2], "body": {"content": "hello"}}
    return {"tenant": TENANT, "path": path, "deleted": False, "resource": resource, **changed}


def held(line: dict[str, Any], **changed: Any) -> dict[str, Any]:
    """The line of the feed's content that matches a line of the simulator."""
    source = f"/tenants/{line['tenant']}/anything"
    return {"source": source, "subject": line["path"], "deleted": line["deleted"], "data": line["resource"], **changed}


def test_the_same_messages_make_no_difference() -> None:
    lines = [written(), written("teams/t/channels/c/messages/1/replies/2", deleted=True)]
    assert differences(lines, [held(line) for line in reversed(lines)]) == []


@pytest.mark.parametrize("shown", [{"id": "1", "deleted": {}}, {"id": "1", "@removed": {"reason": "deleted"}}])
def test_of_what_is_deleted_for_good_only_the_deletion_is_compared(shown: dict[str, Any]) -> None:
    gone = {**written(), "deleted": True, "resource": shown}
    assert differences([gone], [{**held(gone), "data": {"id": "1", "@odata.type": "x"}}]) == []
    assert differences([gone], [{**held(gone), "deleted": False}]) != []


def test_changes_of_other_kinds_delete_only_what_exists_and_no_mail() -> None:
    exists: dict[tuple[str, str], bool] = {}
    for number in range(300):
        order = kinds.order(TENANT, number)
        key = order["kind"], order["id"]
        if order.get("delete"):
            assert exists[key]
            assert order["kind"] != "message"
        exists[key] = not order.get("delete")
    assert list(exists.values()).count(False) > 10


def test_ids_may_be_percent_encoded_in_the_feed() -> None:
    assert differences([written()], [held(written(), subject="chats/19%3Aa%40thread.v2/messages/1")]) == []


@pytest.mark.parametrize(
    ("contents", "kind"),
    [
        ([], "missing"),
        ([held(written()), held(written("chats/b/messages/9"))], "never written"),
        ([held(written()), held(written())], "held 2 times"),
        ([held(written(), data={"id": "1", "body": {"content": "hello!"}})], "different"),
        ([held(written(), data={"id": "1", "body": {"content": "hello"}, "more": None, "some": 1})], "different"),
        ([held(written(), data=None)], "different"),
        ([held(written(), deleted=True)], "different"),
        ([held(written(tenant="5d9f0c1e-0000-4000-8000-000000000002"))], "missing"),
    ],
)
def test_differences_are_reported_without_content(contents: list[dict[str, Any]], kind: str) -> None:
    wrong = differences([written()], contents)
    assert any(line.startswith(kind) for line in wrong)
    assert "hello" not in "".join(wrong)


@given(st.sets(st.integers(0, 30)), st.sets(st.integers(0, 30)))
def test_each_message_that_only_one_side_has_is_reported(ours: set[int], theirs: set[int]) -> None:
    truth = [written(f"chats/c/messages/{number}") for number in ours]
    contents = [held(written(f"chats/c/messages/{number}")) for number in theirs]
    assert len(differences(truth, contents)) == len(ours ^ theirs)


@contextmanager
def started(directory: Path, *arguments: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """Run `make run`'s program on a directory of the test's own."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(directory), *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1", **environment},
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def read_until(process: subprocess.Popen[str], wanted: Callable[[str], object], within: float = LIMIT) -> str:
    """Return the first line of output with this text."""
    assert process.stdout is not None
    deadline, seen = time.monotonic() + within, []
    for line in process.stdout:
        seen.append(line)
        if wanted(line):
            return line
        assert time.monotonic() < deadline, "".join(seen)
    pytest.fail("it ended first:\n" + "".join(seen))


@pytest.mark.process
def test_all_messages_arrive_exactly_once_and_another_run_can_follow_and_be_interrupted(tmp_path: Path) -> None:
    directory, record = tmp_path / "run", tmp_path / "record"
    # With `func`, and with each function in a host of its own; then as `make run` does it.
    func = {"HOST": "func", "FUNC": str(write_program(tmp_path, FAKE_FUNC_RECORD=str(record))), **OWN_PYTHON}
    with started(directory, "--messages", "40", "--rate", "40", "--split", **func) as process:
        read_until(process, lambda line: line.startswith("The page"))
        with started(directory) as second:
            refused, _ = second.communicate(timeout=LIMIT)
        assert second.returncode != 0
        assert "Another run" in refused
        output, _ = process.communicate(timeout=LIMIT)
    assert process.returncode == 0, output
    assert "Every message is there, in its last version, exactly once" in output
    with started(directory, "--rate", "5") as process:
        read_until(process, re.compile("delivered: [1-9]").search)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=LIMIT)
    assert process.returncode == 0, output
    assert "Traceback" not in output
    hosts = [json.loads(line) for line in record.read_text().splitlines()]
    assert len(hosts) == 3
    assert all("--enableAuth" in host["arguments"] for host in hosts)
    assert {host["directory"] for host in hosts} == {str(directory / "app")}
    assert not any(alive(host["pid"]) for host in hosts)


@pytest.mark.process
def test_a_func_that_ends_at_once_is_reported_with_its_output(tmp_path: Path) -> None:
    func = write_program(tmp_path, FAKE_FUNC="ends")
    with started(tmp_path / "run", HOST="func", FUNC=str(func), **OWN_PYTHON) as process:
        output, _ = process.communicate(timeout=LIMIT)
    assert process.returncode == 1
    assert "functions host ended with 0" in output
    assert "Value cannot be null" in output
    assert "Traceback" not in output


@pytest.mark.process
def test_benchmarks_measure_the_func_that_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    func = write_program(tmp_path, FAKE_FUNC="ends")
    for name, value in {"HOST": "func", "FUNC": str(func), **OWN_PYTHON}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ChildFailed, match="Value cannot be null"), running_host({}):
        pass


def test_a_fault_run_with_func_has_a_timer_per_host_and_waits_for_leases(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOST", "func")
    monkeypatch.setenv("FUNC", str(write_program(tmp_path)))
    monkeypatch.delenv("HOST_KEY", raising=False)
    system = ChaosSystem(tmp_path / "run", ChaosSettings(seed=1, hosts=2))
    assert all(isinstance(host, CoreTools) and host.auth for host in system.hosts)
    assert len({host.settings[HOST_ID_SETTING] for host in system.hosts}) == 2
    assert PATIENCE > LEASE
    system.run_timer()  # it has no known key: it runs by its schedule only


@pytest.mark.parametrize("arguments", [["--messages", "0"], ["--rate", "-1"], ["--rate", "soon"]])
def test_invalid_arguments_are_refused(
    tmp_path: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments, tmp_path)
    assert ended.value.code == 2
    assert "--" in capsys.readouterr().err
