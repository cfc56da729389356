"""Decryption of a resource (docs/graph.md)."""

import base64
import hmac
import secrets

import msgspec
import pytest
from cryptography.hazmat.primitives import hashes
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import Reason, Undeliverable
from shared.graph.notification import EncryptedContent
from shared.keys.decryption import open_content
from tests.builders import content, encrypted, encryption_key, message, seal, wrap

KEY = encryption_key()
COMPLAINT = "content_unreadable: the content can't be decrypted with the key that it names"
VECTOR_KEY = bytes(range(32))
VECTOR_DATA = (
    "Vla4ajdtX6/+mMppBkC9LRbfbdiaskVd+IhOyAIO4gekavpy4cXeYWRtRgrImFT64V1i7cXTE6eeLzvt/+hN0rpB9HCPPO+SU0wQ94EsVPk="
)
VECTOR_SIGNATURE = "CaLNvgHIPVgmxsSyvAhKO7qIMN34jGoToYYWrtRK/sI="
VECTOR_PLAIN = b'{"@odata.context":"x","id":"1700000000000","messageType":"message"}'


def base64_of(octets: bytes) -> str:
    return base64.b64encode(octets).decode()


def enclosed(symmetric_key: bytes, ciphertext: bytes, signature: bytes) -> EncryptedContent:
    return EncryptedContent(base64_of(ciphertext), base64_of(wrap(symmetric_key, KEY)), base64_of(signature))


def assert_unreadable(content: EncryptedContent) -> None:
    with pytest.raises(Undeliverable) as undeliverable:
        open_content(content, KEY.private_key)
    assert undeliverable.value.reason is Reason.CONTENT_UNREADABLE
    assert str(undeliverable.value) == COMPLAINT
    assert undeliverable.value.__suppress_context__ or undeliverable.value.__context__ is None


def test_the_documented_vector_opens() -> None:
    vector = EncryptedContent(VECTOR_DATA, base64_of(wrap(VECTOR_KEY, KEY)), VECTOR_SIGNATURE)
    assert open_content(vector, KEY.private_key) == VECTOR_PLAIN


def test_our_own_encryptor_makes_the_documented_vector() -> None:
    ciphertext, signature = seal(VECTOR_PLAIN, VECTOR_KEY)
    assert (base64_of(ciphertext), base64_of(signature)) == (VECTOR_DATA, VECTOR_SIGNATURE)


@given(st.binary(max_size=5000))
def test_whatever_was_enclosed_comes_out(plain: bytes) -> None:
    assert open_content(content(plain), KEY.private_key) == plain


def test_a_message_of_twenty_megabytes_comes_out() -> None:
    plain = secrets.token_bytes(20 << 20)
    assert open_content(content(plain), KEY.private_key) == plain


@given(st.sampled_from(["data", "dataKey", "dataSignature"]), st.data())
def test_no_bit_of_any_field_can_be_changed(field: str, data: st.DataObject) -> None:
    fields = encrypted(message())
    octets = bytearray(base64.b64decode(fields[field]))
    place = data.draw(st.integers(0, len(octets) - 1))
    octets[place] ^= 1 << data.draw(st.integers(0, 7))
    assert_unreadable(msgspec.convert({**fields, field: base64_of(bytes(octets))}, EncryptedContent))


@pytest.mark.parametrize("field", ["data", "dataKey", "dataSignature"])
@pytest.mark.parametrize(
    "text", ["", "=", "a", "ä", "a b=", "!!!!", "AAAA", "A" * 1_000_000], ids=lambda text: text[:9]
)
def test_a_field_that_holds_something_else_is_refused_for_the_one_reason(field: str, text: str) -> None:
    assert_unreadable(msgspec.convert({**encrypted(b"{}"), field: text}, EncryptedContent))


@pytest.mark.parametrize("field", ["data", "dataKey", "dataSignature"])
def test_a_field_of_another_item_is_refused_for_the_one_reason(field: str) -> None:
    other = encrypted(b'{"b": 1}')[field]
    assert_unreadable(msgspec.convert({**encrypted(b"{}"), field: other}, EncryptedContent))


@pytest.mark.parametrize("size", [0, 1, 16, 24, 31, 33, 64])
def test_a_symmetric_key_of_another_size_is_refused_for_the_one_reason(size: int) -> None:
    symmetric_key = secrets.token_bytes(size)
    ciphertext, _ = seal(b"{}", secrets.token_bytes(32))
    assert_unreadable(enclosed(symmetric_key, ciphertext, hmac.digest(symmetric_key or b"\0", ciphertext, "sha256")))


@pytest.mark.parametrize("length", [0, 1, 15, 17, 40])
def test_signed_data_of_partial_blocks_are_refused_like_any_other_damage(length: int) -> None:
    assert_unreadable(signed(secrets.token_bytes(length)))


def test_properly_signed_data_with_wrong_padding_are_refused_for_the_one_reason() -> None:
    ciphertext, _ = seal(b"0123456789abcdef", VECTOR_KEY)
    assert_unreadable(signed(ciphertext[:16]))


def test_oaep_with_sha_256_is_not_graphs() -> None:
    ciphertext, signature = seal(b"{}", VECTOR_KEY)
    wrapped = base64_of(wrap(VECTOR_KEY, KEY, hashes.SHA256()))
    assert_unreadable(EncryptedContent(base64_of(ciphertext), wrapped, base64_of(signature)))


def test_a_signature_of_the_base64_text_is_not_graphs() -> None:
    ciphertext, _ = seal(b"{}", VECTOR_KEY)
    assert_unreadable(enclosed(VECTOR_KEY, ciphertext, hmac.digest(VECTOR_KEY, base64.b64encode(ciphertext), "sha256")))


def test_content_for_another_key_is_refused_for_the_one_reason() -> None:
    assert_unreadable(content(b"{}", encryption_key("another")))


@given(st.text(), st.text(), st.text())
def test_any_texts_are_refused_for_the_one_reason(data: str, data_key: str, signature: str) -> None:
    assert_unreadable(EncryptedContent(data, data_key, signature))


def signed(ciphertext: bytes) -> EncryptedContent:
    return enclosed(VECTOR_KEY, ciphertext, hmac.digest(VECTOR_KEY, ciphertext, "sha256"))
