"""The contract of key stores, tested for each implementation; and the particular behaviour of each."""

import stat
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

import pytest
from azure.identity import ClientSecretCredential, DefaultAzureCredential, ManagedIdentityCredential
from cryptography.hazmat.primitives.asymmetric import ec

from graph_simulator.authority import Authority
from graph_simulator.server import GraphServer, Registration
from graph_simulator.server import running as graph_running
from local.host.process import ROOT
from shared.errors import Reason, RetryLater, Undeliverable
from shared.keys import key_vault
from shared.keys.decryption import open_content
from shared.keys.directory import KeyDirectory
from shared.keys.key import EncryptionKey, is_key_id, new_key, write_pem
from shared.keys.key_vault import KeyVault
from shared.keys.ring import REFRESH_INTERVAL, KeyRing
from shared.keys.store import KeyStore
from tests import builders
from tests.builders import Clock, armoured
from tests.stand_ins.vault.policy import PEM, PKCS12, Issuer, KeyProperties, Policy, SecretProperties
from tests.stand_ins.vault.server import VaultServer
from tests.stand_ins.vault.server import running as vault_running


class StoreUnderTest(Protocol):
    """A store, another process's view of it, and a way to make it unavailable."""

    def another(self) -> KeyStore: ...

    def take_away(self) -> None: ...


@dataclass(frozen=True)
class DirectoryUnderTest:
    path: Path

    def another(self) -> KeyDirectory:
        return KeyDirectory(self.path)

    def take_away(self) -> None:
        """Put a file in place of the directory."""
        self.path.rename(self.path.with_name("gone"))
        self.path.write_text("in the way")


@dataclass(frozen=True)
class VaultUnderTest:
    server: VaultServer
    credential: ClientSecretCredential

    def another(self) -> KeyVault:
        # the stand-in's host is not in the domain of its tokens
        return KeyVault(self.server.url, self.credential, verify_resource=False)

    def take_away(self) -> None:
        self.server.face.away = True


@pytest.fixture(scope="module")
def graph(authority: Authority) -> Iterator[GraphServer]:
    with graph_running(authority, Registration(str(uuid.uuid4()), str(uuid.uuid4()), uuid.uuid4().hex)) as graph:
        yield graph


@pytest.fixture
def credential(graph: GraphServer, trusted: Path) -> ClientSecretCredential:
    known = graph.registration
    return ClientSecretCredential(
        known.tenant, known.client_id, known.client_secret, authority=graph.url, disable_instance_discovery=True
    )


@pytest.fixture(params=["directory", "vault"])
def kept(
    request: pytest.FixtureRequest, tmp_path: Path, authority: Authority, graph: GraphServer
) -> Iterator[DirectoryUnderTest | VaultUnderTest]:
    if request.param == "directory":
        yield DirectoryUnderTest(tmp_path / "keys")
        return
    credential: ClientSecretCredential = request.getfixturevalue("credential")
    with vault_running(authority, graph) as server:
        yield VaultUnderTest(server, credential)


@pytest.fixture
def store(kept: StoreUnderTest) -> KeyStore:
    return kept.another()


def now() -> datetime:
    return datetime.now(UTC)


def test_a_new_store_holds_nothing(store: KeyStore) -> None:
    assert store.ids() == []


def test_a_key_is_found_by_its_id_by_whoever_looks(kept: StoreUnderTest, store: KeyStore) -> None:
    made = store.create(now())
    other = kept.another()
    assert other.ids() == [made.key_id]
    found = other.get(made.key_id)
    assert found is not None
    assert found.private_key.private_numbers() == made.private_key.private_numbers()
    assert found.certificate == made.certificate


def test_a_key_is_what_graph_takes(store: KeyStore) -> None:
    moment = now()
    key = store.create(moment)
    assert is_key_id(key.key_id)
    assert 2048 <= key.private_key.key_size <= 4096
    assert key.certificate.public_key() == key.private_key.public_key()
    assert key.created <= moment + timedelta(seconds=2)
    assert key.expires - moment > timedelta(days=365)
    assert open_content(builders.content(b"{}", key), key.private_key) == b"{}"


def test_every_key_has_an_id_and_a_key_of_its_own(store: KeyStore) -> None:
    keys = [store.create(now()) for _ in range(4)]
    assert sorted(store.ids()) == sorted({key.key_id for key in keys})
    assert len(store.ids()) == 4
    assert len({key.thumbprint for key in keys}) == 4


@pytest.mark.parametrize("key_id", ["0" * 32, "enc-20310203-040506-deadbeef"])
def test_an_unknown_id_has_no_key(store: KeyStore, key_id: str) -> None:
    assert store.get(key_id) is None
    store.create(now())
    assert store.get(key_id) is None


def test_a_retired_key_is_gone_and_the_others_stay(kept: StoreUnderTest, store: KeyStore) -> None:
    old, new = store.create(now()), store.create(now())
    store.retire(old.key_id)
    for key_store in (store, kept.another()):
        assert key_store.ids() == [new.key_id]
        assert key_store.get(old.key_id) is None
        assert key_store.get(new.key_id) is not None


def test_retiring_what_is_gone_or_never_was_does_nothing(store: KeyStore) -> None:
    key = store.create(now())
    store.retire(key.key_id)
    store.retire(key.key_id)
    store.retire("0" * 32)
    assert store.ids() == []


@pytest.mark.parametrize(
    "use",
    [
        lambda store, _: store.ids(),
        lambda store, key: store.get(key),
        lambda store, _: store.create(now()),
        lambda store, key: store.retire(key),
    ],
    ids=["ids", "get", "create", "retire"],
)
def test_an_unavailable_store_raises_retry_later(
    kept: StoreUnderTest, store: KeyStore, use: Callable[[KeyStore, str], object]
) -> None:
    key = store.create(now())
    kept.take_away()
    with pytest.raises(RetryLater) as away:
        use(store, key.key_id)
    assert away.value.reason is Reason.KEY_STORE


def test_keys_made_at_the_same_time_are_all_kept(kept: StoreUnderTest) -> None:
    """A vault creates one at a time, and tells the second caller to retry."""

    def make(_: int) -> EncryptionKey | None:
        try:
            return kept.another().create(now())
        except RetryLater:
            return None

    with ThreadPoolExecutor(4) as threads:
        made = {key.key_id for key in threads.map(make, range(4)) if key is not None}
    assert made
    assert made <= set(kept.another().ids())


def test_a_key_ring_finds_what_another_process_has_made(kept: StoreUnderTest) -> None:
    clock = Clock(now())
    ring, other = KeyRing(kept.another(), clock), KeyRing(kept.another(), clock)
    first = ring.current()
    assert other.current().key_id == first.key_id
    second = other.create()
    clock.advance(seconds=REFRESH_INTERVAL.total_seconds() + 1)
    assert ring.find(second.key_id, "", clock()).key_id == second.key_id
    assert ring.find("renamed", second.thumbprint, clock()).key_id == second.key_id


def test_a_key_ring_gives_up_a_key_only_after_it_has_looked(kept: StoreUnderTest) -> None:
    clock = Clock(now())
    ring = KeyRing(kept.another(), clock)
    ring.current()
    received = clock()
    with pytest.raises(RetryLater):
        ring.find("unknown", "", received)
    clock.advance(seconds=REFRESH_INTERVAL.total_seconds() + 1)
    with pytest.raises(Undeliverable) as unknown:
        ring.find("unknown", "", received)
    assert unknown.value.reason is Reason.KEY_UNKNOWN


# The directory


def test_key_files_are_for_their_owner_alone(tmp_path: Path) -> None:
    store = KeyDirectory(tmp_path / "keys")
    key = store.create(now())
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700
    file = tmp_path / "keys" / f"{key.key_id}.pem"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    file.chmod(0o640)
    with pytest.raises(RetryLater, match="chmod 600"):
        store.get(key.key_id)


def test_a_user_brings_a_key_by_dropping_its_file(tmp_path: Path) -> None:
    key = new_key("brought-by-hand", now(), timedelta(days=30))
    file = tmp_path / "brought-by-hand.pem"
    file.touch(mode=0o600)
    file.write_bytes(write_pem(key))
    found = KeyDirectory(tmp_path).get("brought-by-hand")
    assert found is not None
    assert found.thumbprint == key.thumbprint


@pytest.mark.parametrize("name", ["not a key id.pem", ".pem", "half-written.new", "some.retired", "notes.txt"])
def test_other_files_in_the_directory_are_no_keys(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("something else")
    assert KeyDirectory(tmp_path).ids() == []


@pytest.mark.parametrize("text", ["", "not PEM", armoured("AAAA")])
def test_a_file_without_a_key_is_reported_and_affects_no_other(tmp_path: Path, text: str) -> None:
    broken = tmp_path / "broken.pem"
    broken.touch(mode=0o600)
    broken.write_text(text)
    store = KeyDirectory(tmp_path)
    with pytest.raises(RetryLater, match="broken"):
        store.get("broken")
    ring = KeyRing(store, now)
    made = ring.create()
    assert ring.current().key_id == made.key_id


@pytest.mark.process
def test_many_processes_share_a_directory(tmp_path: Path) -> None:
    """Each process creates keys while the others read: no process sees a partial key."""
    program = (
        "import sys; from datetime import UTC, datetime; from pathlib import Path\n"
        "from shared.keys.directory import KeyDirectory\n"
        "store = KeyDirectory(Path(sys.argv[1]))\n"
        "for _ in range(2):\n"
        "    store.create(datetime.now(UTC))\n"
        "    assert all(store.get(key_id) for key_id in store.ids())\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "keys")]
    processes = [subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    for process in processes:
        _, complaint = process.communicate(timeout=120)
        assert (process.returncode, complaint) == (0, "")
    store = KeyDirectory(tmp_path / "keys")
    assert len(store.ids()) == 6
    assert all(store.get(key_id) for key_id in store.ids())


# The vault


def test_a_vault_that_asks_for_tokens_to_another_domain_gets_none(
    authority: Authority, graph: GraphServer, credential: ClientSecretCredential
) -> None:
    with vault_running(authority, graph) as server:
        with pytest.raises(RetryLater):
            KeyVault(server.url, credential).ids()
        assert server.face.asked == []


def test_a_vault_shows_its_keys_to_nobody_else(authority: Authority, graph: GraphServer, trusted: Path) -> None:
    known = graph.registration
    stranger = ClientSecretCredential(
        known.tenant, known.client_id, "wrong", authority=graph.url, disable_instance_discovery=True
    )
    with vault_running(authority, graph) as server, pytest.raises(RetryLater):
        KeyVault(server.url, stranger, verify_resource=False).ids()


def test_a_key_whose_maker_was_killed_meanwhile_is_found_later(
    authority: Authority, graph: GraphServer, credential: ClientSecretCredential
) -> None:
    """The vault completes a started operation: a repeated rotation must not create a second key."""
    with vault_running(authority, graph) as server:
        store = KeyVault(server.url, credential, verify_resource=False)
        first = store.create(now())
        policy = server.vault.version(key_vault.NAME, first.key_id).policy
        server.vault.create(key_vault.NAME, policy)  # and the process that requested it is gone
        assert len(store.ids()) == 2


@pytest.fixture
def vault(authority: Authority, graph: GraphServer) -> Iterator[VaultServer]:
    with vault_running(authority, graph) as server:
        yield server


@pytest.mark.parametrize("content_type", [PEM, PKCS12])
def test_a_certificate_that_a_person_imported_is_read(
    content_type: str, vault: VaultServer, credential: ClientSecretCredential
) -> None:
    theirs = new_key("theirs", now(), timedelta(days=30))
    policy = Policy(Issuer("Unknown"), KeyProperties(exportable=True), SecretProperties(content_type))
    brought = vault.vault.bring(key_vault.NAME, theirs.private_key, theirs.certificate, policy)
    found = KeyVault(vault.url, credential, verify_resource=False).get(brought.id)
    assert found is not None
    assert found.thumbprint == theirs.thumbprint
    assert found.private_key.private_numbers() == theirs.private_key.private_numbers()


def test_a_version_that_cannot_be_read_is_followed_by_no_further_one(
    vault: VaultServer, credential: ClientSecretCredential
) -> None:
    """Rotation asks at each run: each would create one more unreadable version."""
    store = KeyVault(vault.url, credential, verify_resource=False)
    good = store.create(now())
    theirs = new_key("theirs", now(), timedelta(days=30))
    policy = Policy(Issuer("Unknown"), KeyProperties(exportable=True), SecretProperties(PEM))
    broken = vault.vault.bring(key_vault.NAME, ec.generate_private_key(ec.SECP256R1()), theirs.certificate, policy)
    ring = KeyRing(store, now)
    for _ in range(3):
        with pytest.raises(RetryLater, match=f"{broken.id}.*repair or disable"):
            ring.create()
    assert sorted(store.ids()) == sorted([good.key_id, broken.id])
    store.retire(broken.id)
    assert store.create(now()).key_id in store.ids()


def test_the_vault_is_opened_by_the_managed_identity_or_by_the_signed_in_developer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("IDENTITY_ENDPOINT", "http://127.0.0.1:1/token")
    monkeypatch.setenv("IDENTITY_HEADER", uuid.uuid4().hex)
    assert isinstance(key_vault.credential(None), ManagedIdentityCredential)
    monkeypatch.delenv("IDENTITY_ENDPOINT")
    assert isinstance(key_vault.credential(None), DefaultAzureCredential)
