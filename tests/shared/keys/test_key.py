"""One encryption key: its id, its certificate and its PEM text."""

import base64
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, NoEncryption
from cryptography.hazmat.primitives.serialization.pkcs12 import serialize_key_and_certificates

from shared.errors import Reason, RetryLater
from shared.keys.key import is_key_id, new_key, newest_valid, read_pem, read_pkcs12, write_pem
from tests.builders import NOW, armoured, encryption_key, pem_of, rsa_key

YEAR = timedelta(days=365)


def test_the_newest_key_that_is_valid_now_is_for_new_subscriptions() -> None:
    older = new_key("z-older", NOW - timedelta(days=9), YEAR)
    newer = new_key("a-newer", NOW - timedelta(days=1), YEAR)
    expired = new_key("expired", NOW - timedelta(hours=2), timedelta(hours=1))
    future = new_key("future", NOW + timedelta(hours=1), YEAR)
    assert newest_valid([older, newer, expired, future], NOW) is newer
    assert newest_valid([future, expired], NOW) is None
    assert newest_valid([expired], expired.expires) is None
    assert newest_valid([future], future.created) is future


def test_the_public_certificate_is_what_graph_takes() -> None:
    key = encryption_key()
    text = key.public_certificate
    certificate = x509.load_der_x509_certificate(base64.b64decode(text, validate=True))
    assert certificate.public_key() == key.private_key.public_key()
    assert "\n" not in text
    assert "PRIVATE" not in text
    assert key.thumbprint == certificate.fingerprint(hashes.SHA1()).hex().upper()
    assert (key.created, key.expires) == (NOW - timedelta(days=1), NOW + timedelta(days=364))
    assert 2048 <= key.private_key.key_size <= 4096


def test_what_was_written_as_pem_is_read() -> None:
    again = read_pem("other-id", write_pem(encryption_key()))
    assert again.certificate == encryption_key().certificate
    assert again.key_id == "other-id"


def archive(password: bytes | None = None, *, with_key: bool = True) -> str:
    """Return a PKCS #12 archive in Base64, as Key Vault returns it."""
    key = encryption_key()
    sealed = BestAvailableEncryption(password) if password else NoEncryption()
    packed = serialize_key_and_certificates(None, key.private_key if with_key else None, key.certificate, None, sealed)
    return base64.b64encode(packed).decode()


def test_what_was_packed_as_pkcs12_is_read() -> None:
    again = read_pkcs12("other-id", archive())
    assert again.certificate == encryption_key().certificate
    assert again.private_key.private_numbers() == encryption_key().private_key.private_numbers()
    assert again.key_id == "other-id"


@pytest.mark.parametrize(
    "text",
    ["", "not Base64!", base64.b64encode(b"garbage").decode(), archive(b"a password"), archive(with_key=False)],
    ids=["empty", "no Base64", "garbage", "with a password", "certificate alone"],
)
def test_an_archive_that_holds_no_key_is_named(text: str) -> None:
    with pytest.raises(RetryLater, match="key some-key: expected") as broken:
        read_pkcs12("some-key", text)
    assert broken.value.reason is Reason.KEY_STORE


@pytest.mark.parametrize(
    "pem",
    [
        b"",
        b"\xff\xfe",
        armoured("AAAA").encode(),
        pem_of(rsa_key("alone")),
        pem_of(rsa_key("foreign")) + write_pem(encryption_key()).split(b"-----END PRIVATE KEY-----\n")[1],
        write_pem(encryption_key()).split(b"-----END PRIVATE KEY-----\n")[1],
        # PKCS#8 of an unknown algorithm
        armoured("MA0CAQAwBgYEKgMEBQQA").encode()
        + write_pem(encryption_key()).split(b"-----END PRIVATE KEY-----\n")[1],
    ],
    ids=["empty", "bytes", "garbage", "key alone", "key of another", "certificate alone", "unknown algorithm"],
)
def test_a_pem_without_a_key_and_its_certificate_is_reported_by_id(pem: bytes) -> None:
    with pytest.raises(RetryLater, match="key dropped: expected") as retry_later:
        read_pem("dropped", pem)
    assert retry_later.value.reason is Reason.KEY_STORE


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("enc-2031-02", True),
        ("0a1b.c_d-E", True),
        ("a" * 128, True),
        ("a" * 129, False),
        ("", False),
        (".hidden", False),
        ("../a", False),
        ("a/b", False),
        ("a b", False),
        ("a\n", False),
        ("é", False),
    ],
)
def test_what_can_be_the_id_of_a_key(text: str, good: bool) -> None:
    assert is_key_id(text) is good
