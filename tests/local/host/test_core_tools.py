"""`func start`, with a fake `func`: how it is started, how its readiness is detected, how it is ended."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization.pkcs12 import load_pkcs12
from cryptography.x509 import load_pem_x509_certificates

from graph_simulator.authority import Authority
from local.child import Child, ChildFailed
from local.host.app_folder import PARTS, app_folder
from local.host.core_tools import PASSWORD, CoreTools, NoHost, host_class, pkcs12
from local.host.process import ROOT, HostProcess
from tests.local.fake_func import OWN_PYTHON, alive, write_program
from tests.waiting import eventually

pytestmark = pytest.mark.process

SETTINGS = {"FUNCTIONS_WORKER_RUNTIME": "python"}


@pytest.fixture
def record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The record of the fake `func`; HOST=func is set."""
    monkeypatch.setenv("FUNC", str(write_program(tmp_path)))
    for name, value in OWN_PYTHON.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("HOST_KEY", raising=False)
    return tmp_path / "record"


def host(tmp_path: Path, record: Path, authority: Authority | None = None, **settings: str) -> CoreTools:
    """A host of the whole app."""
    chosen = {**SETTINGS, "FAKE_FUNC_RECORD": str(record), **settings}
    app = app_folder(tmp_path / "app")
    return CoreTools(chosen, log=tmp_path / "func.log", authority=authority, directory=app)


def test_func_is_given_the_certificate_that_the_simulator_trusts(tmp_path: Path) -> None:
    authority = Authority.create(tmp_path)
    bundle = load_pkcs12(pkcs12(authority), PASSWORD.encode())
    assert bundle.cert is not None
    assert bundle.cert.certificate == load_pem_x509_certificates(authority.certificate.read_bytes())[0]


def test_the_password_is_never_taken_for_an_option() -> None:
    assert PASSWORD.isalnum()


def test_it_runs_in_its_own_folder_with_the_named_python_and_admin_closed(
    tmp_path: Path, record: Path, authority: Authority
) -> None:
    func = host(tmp_path, record, authority)
    func.auth, func.probe = True, "/api/notifications?validationToken=ready"
    with func:
        pass
    seen = json.loads(record.read_text())
    assert "--enableAuth" in seen["arguments"]
    assert "--useHttps" in seen["arguments"]
    assert seen["python"] == sys.executable
    assert seen["directory"] == str(tmp_path / "app")


def test_with_a_key_nothing_has_to_be_closed(tmp_path: Path, record: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOST_KEY", "the master key")
    func = host(tmp_path, record)
    func.auth = True
    with func:
        assert func.admin_headers == {"x-functions-key": "the master key"}
    assert "--enableAuth" not in json.loads(record.read_text())["arguments"]


def test_a_missing_key_is_reported_at_once(tmp_path: Path, record: Path) -> None:
    with pytest.raises(ChildFailed, match="Put its master key into HOST_KEY"):
        host(tmp_path, record, LOCAL_HOST_KEY="unknown").start()


def test_an_untrusted_certificate_is_reported_at_once(tmp_path: Path, record: Path, authority: Authority) -> None:
    func = host(tmp_path, record, authority)
    func.launch()
    other = Authority.create(tmp_path / "other")
    func.authority = other
    with pytest.raises(ChildFailed, match="certificate is refused"):
        func.wait()
    assert not func.child.running


def test_a_folder_of_the_app_holds_nothing_of_the_developers(tmp_path: Path) -> None:
    app = app_folder(tmp_path / "app")
    assert {path.name for path in app.iterdir()} == {*PARTS, "local.settings.json"}
    assert json.loads((app / "local.settings.json").read_text())["Values"] == SETTINGS
    assert all((app / part).resolve() == ROOT / part for part in PARTS)


def test_a_host_that_fails_to_start_is_not_left_running(tmp_path: Path, record: Path) -> None:
    func = host(tmp_path, record, FAKE_FUNC="hangs")
    func.launch()
    eventually(record.with_suffix(".child").exists)
    with pytest.raises(ChildFailed, match="not ready within 1 s"):
        func.wait(within=1)
    assert not func.child.running
    eventually(lambda: not alive(int(record.with_suffix(".child").read_text())))


PARENT = """import pathlib, sys, time
from local.child import Child
child = Child("some", ["sh", "-c", "sleep 600 & echo $! $$; wait"], log=pathlib.Path(sys.argv[1]))
print(child.pid, flush=True)
time.sleep(600)
"""


def test_a_parent_that_is_killed_leaves_neither_host_nor_worker(tmp_path: Path) -> None:
    log = tmp_path / "log"
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(log)], cwd=ROOT, stdout=subprocess.PIPE)
    assert parent.stdout is not None
    parent.stdout.readline()
    eventually(lambda: len(log.read_text().split()) == 2)
    family = [int(pid) for pid in log.read_text().split()]
    assert all(map(alive, family))
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    eventually(lambda: not any(map(alive, family)))


def test_only_the_process_leader_gets_the_signal_and_its_children_end_with_it(tmp_path: Path) -> None:
    marker = tmp_path / "asked"
    # The child records a SIGTERM of its own: a worker that received one would abort its work.
    worker = f"trap 'touch {marker}' TERM; while :; do sleep 0.05; done"
    command = ["sh", "-c", f'sh -c "{worker}" & trap "exit 0" TERM; echo up; while :; do sleep 0.05; done']
    child = Child("leader", command, log=tmp_path / "log")
    eventually(lambda: "up" in child.tail())
    time.sleep(0.1)
    child.stop()
    assert child.exit_code == 0
    assert not marker.exists()


@pytest.mark.parametrize(
    ("environ", "kind"),
    [
        ({}, HostProcess),
        ({"HOST": "local", "PATH": "FUNC"}, HostProcess),
        ({"HOST": "func", "PATH": "FUNC"}, CoreTools),
        ({"PATH": "FUNC"}, CoreTools),
    ],
)
def test_which_host_runs(environ: dict[str, str], kind: type[HostProcess], tmp_path: Path) -> None:
    write_program(tmp_path)
    given = {name: str(tmp_path) if value == "FUNC" else value for name, value in environ.items()}
    assert host_class({"PATH": "/nowhere", **given}, prefer_func=True) is kind


def test_a_missing_func_is_reported(tmp_path: Path) -> None:
    with pytest.raises(NoHost, match="Install Azure Functions Core Tools 4"):
        host_class({"HOST": "func", "PATH": os.fspath(tmp_path)})
