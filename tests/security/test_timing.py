"""A failing check does not reveal which one failed, neither by its message nor by its work.

`make bench ARGS=timing` compares the durations.
"""

import base64
import hmac
import secrets
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from shared.errors import Reason, Undeliverable
from shared.graph import client_state
from shared.graph.notification import EncryptedContent
from shared.keys.decryption import open_content
from tests.builders import TENANT, client_state_secret, encrypted, encryption_key, message, minted, seal, wrap

T = TypeVar("T")

KEY = encryption_key()
SECRETS = [client_state_secret(), client_state_secret("retiring")]


def base64_of(octets: bytes) -> str:
    return base64.b64encode(octets).decode()


def sealed(symmetric_key: bytes, signature: bytes | None = None, data_key: bytes | None = None) -> EncryptedContent:
    """Content under `symmetric_key`, or with a wrong signature or data key."""
    ciphertext, right = seal(b"x" * 3000, (symmetric_key * 32)[:32])
    return EncryptedContent(
        base64_of(ciphertext), base64_of(data_key or wrap(symmetric_key, KEY)), base64_of(signature or right)
    )


def raw_rsa(padded: bytes) -> bytes:
    """Encrypt without any padding: the sender determines the decrypted bytes."""
    public = KEY.certificate.public_key()
    assert isinstance(public, RSAPublicKey)
    numbers = public.public_numbers()
    return pow(int.from_bytes(padded, "big"), numbers.e, numbers.n).to_bytes(256, "big")


def last_bit_wrong() -> EncryptedContent:
    symmetric_key = secrets.token_bytes(32)
    _, right = seal(b"x" * 3000, symmetric_key)
    return sealed(symmetric_key, signature=right[:-1] + bytes([right[-1] ^ 1]))


def another_key() -> EncryptedContent:
    return sealed(secrets.token_bytes(32), data_key=wrap(secrets.token_bytes(32), encryption_key("another")))


FAILURES: dict[str, Callable[[], EncryptedContent]] = {
    "the signature is wrong": lambda: sealed(secrets.token_bytes(32), signature=bytes(32)),
    "the signature is wrong in its last bit": last_bit_wrong,
    "the signature is of another length": lambda: sealed(secrets.token_bytes(32), signature=b"1"),
    "the symmetric key is another": lambda: sealed(
        secrets.token_bytes(32), data_key=wrap(secrets.token_bytes(32), KEY)
    ),
    "the symmetric key has 16 bytes": lambda: sealed(secrets.token_bytes(16)),
    "the symmetric key is empty": lambda: sealed(secrets.token_bytes(32), data_key=wrap(b"", KEY)),
    "the padding of RSA is wrong": lambda: sealed(secrets.token_bytes(32), data_key=raw_rsa(bytes(200) + b"\1" * 56)),
    "the padding of RSA begins wrong": lambda: sealed(
        secrets.token_bytes(32), data_key=raw_rsa(b"\0\1" + b"\xff" * 254)
    ),
    "the padding of RSA has the first byte wrong": lambda: sealed(
        secrets.token_bytes(32), data_key=raw_rsa(b"\1" + bytes(255))
    ),
    "the content is sealed to another key": another_key,
}


@pytest.mark.parametrize("failure", FAILURES)
def test_every_failure_has_the_same_words(failure: str) -> None:
    with pytest.raises(Undeliverable) as undeliverable:
        open_content(FAILURES[failure](), KEY.private_key)
    assert undeliverable.value.reason is Reason.CONTENT_UNREADABLE
    assert str(undeliverable.value) == "content_unreadable: the content can't be decrypted with the key that it names"


def failing(content: EncryptedContent) -> None:
    with pytest.raises(Undeliverable):
        open_content(content, KEY.private_key)


class Compared:
    """Records comparisons in constant time."""

    def __init__(self) -> None:
        self.lengths: list[tuple[int, int]] = []
        self._compare = hmac.compare_digest

    def __call__(self, left: Any, right: Any) -> bool:
        self.lengths.append((len(left), len(right)))
        return self._compare(left, right)


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> Compared:
    noting = Compared()
    monkeypatch.setattr(hmac, "compare_digest", noting)
    return noting


@pytest.mark.parametrize("place", [0, 22, 30, 40, 41, 82])
def test_a_clientstate_is_compared_whole_with_the_proof_of_each_secret(compared: Compared, place: int) -> None:
    for state in (minted(), minted(secret=SECRETS[1])):
        compared.lengths.clear()
        assert client_state.is_authentic(state, TENANT, SECRETS)
        client_state.is_authentic(
            f"{state[:place]}{'-' if state[place] != '-' else '_'}{state[place + 1 :]}", TENANT, SECRETS
        )
        assert len(compared.lengths) == 2 * len(SECRETS)
        assert compared.lengths[0] == (43, 43)


@pytest.mark.parametrize("failure", [*FAILURES, None])
def test_a_signature_is_compared_in_constant_time_before_anything_is_decrypted(
    compared: Compared, failure: str | None
) -> None:
    if failure is None:
        assert open_content(msgspec.convert(encrypted(message()), EncryptedContent), KEY.private_key)
    else:
        failing(FAILURES[failure]())
    ((desired, _),) = compared.lengths
    assert desired == 32
