"""Keys in a directory."""

import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from shared.errors import Reason, RetryLater
from shared.keys.directory import LIFETIME, KeyDirectory
from shared.keys.key import new_key, write_pem
from shared.keys.ring import KeyRing
from tests.builders import NOW, Clock, encryption_key


def drop(directory: Path, name: str, content: bytes, mode: int = 0o600) -> None:
    path = directory / name
    path.write_bytes(content)
    path.chmod(mode)


def test_a_made_key_is_there_for_everybody_and_readable_by_nobody_else(tmp_path: Path) -> None:
    directory = tmp_path / "deep" / "keys"
    made = KeyDirectory(directory).create(NOW)
    found = KeyDirectory(directory).get(made.key_id)
    assert found is not None
    assert found.certificate == made.certificate
    assert (found.created, found.expires) == (NOW, NOW + LIFETIME)
    assert [path.name for path in directory.iterdir()] == [f"{made.key_id}.pem"]
    assert (directory / f"{made.key_id}.pem").stat().st_mode & 0o777 == 0o600
    assert directory.stat().st_mode & 0o077 == 0


def test_each_made_key_has_an_id_of_its_own(tmp_path: Path) -> None:
    store = KeyDirectory(tmp_path)
    assert sorted(store.create(NOW).key_id for _ in range(2)) == store.ids()
    assert len(store.ids()) == 2


def test_a_missing_directory_holds_no_keys(tmp_path: Path) -> None:
    store = KeyDirectory(tmp_path / "absent")
    assert store.ids() == []
    assert store.get("any") is None
    store.retire("any")


def test_a_key_that_a_user_drops_there_is_found(tmp_path: Path) -> None:
    ring = KeyRing(KeyDirectory(tmp_path), Clock())
    own = new_key("irrelevant", NOW - timedelta(days=1), timedelta(days=365))
    drop(tmp_path, "our.own-key_1.pem", write_pem(own))
    assert ring.find("our.own-key_1", "", NOW - timedelta(days=1)).certificate == own.certificate
    assert ring.find("", own.thumbprint, NOW - timedelta(days=1)).key_id == "our.own-key_1"
    assert ring.current().key_id == "our.own-key_1"


@pytest.mark.parametrize("name", ["notes.txt", "draft.new", ".hidden.pem", "a b.pem", "key.pem.bak"])
def test_other_files_are_left_alone(tmp_path: Path, name: str) -> None:
    drop(tmp_path, name, b"")
    assert KeyDirectory(tmp_path).ids() == []


@pytest.mark.skipif(sys.platform == "win32", reason="modes are of POSIX")
@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604])
def test_a_key_that_others_can_read_is_not_used(tmp_path: Path, mode: int) -> None:
    drop(tmp_path, "open.pem", write_pem(encryption_key()), mode)
    with pytest.raises(RetryLater, match="chmod 600"):
        KeyDirectory(tmp_path).get("open")


def test_a_broken_file_does_not_affect_the_other_keys(tmp_path: Path) -> None:
    drop(tmp_path, "good.pem", write_pem(encryption_key()))
    drop(tmp_path, "bad.pem", b"-----BEGIN")
    drop(tmp_path, "bytes.pem", b"\xff\x00")
    (tmp_path / "folder.pem").mkdir()
    ring = KeyRing(KeyDirectory(tmp_path), Clock())
    assert ring.find("good", "", NOW).key_id == "good"
    assert ring.current().key_id == "good"


def test_a_retired_key_is_gone_for_good(tmp_path: Path) -> None:
    store = KeyDirectory(tmp_path)
    made = store.create(NOW)
    store.retire(made.key_id)
    store.retire(made.key_id)
    assert store.ids() == []
    assert store.get(made.key_id) is None


def test_a_directory_that_cannot_be_used_is_reported(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(RetryLater) as retry_later:
        KeyDirectory(file).create(NOW)
    assert retry_later.value.reason is Reason.KEY_STORE


@pytest.mark.process
def test_processes_that_share_a_directory_see_whole_keys_alone(tmp_path: Path) -> None:
    program = (
        "import sys\nfrom datetime import datetime, UTC\nfrom pathlib import Path\n"
        "from shared.keys.directory import KeyDirectory\nstore = KeyDirectory(Path(sys.argv[1]))\n"
        "for _ in range(4):\n    store.create(datetime.now(UTC))\n"
        "    assert all(store.get(one) for one in store.ids())\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    processes = [subprocess.Popen(command, cwd=Path(__file__).parents[3]) for _ in range(2)]
    assert [process.wait() for process in processes] == [0, 0]
    store = KeyDirectory(tmp_path)
    assert len(store.ids()) == 8
    assert all(store.get(key_id) for key_id in store.ids())
