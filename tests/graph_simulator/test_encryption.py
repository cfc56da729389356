"""The simulator's encryption, checked with the test vector of docs/graph.md, "Rich notifications"."""

import hashlib
from base64 import b64decode

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st

from graph_simulator.encryption import Recipient, enclose, seal
from tests.graph_simulator.client import certificate, decrypted, encryption_key

KEY = bytes(range(32))
DATA = "Vla4ajdtX6/+mMppBkC9LRbfbdiaskVd+IhOyAIO4gekavpy4cXeYWRtRgrImFT64V1i7cXTE6eeLzvt/+hN0rpB9HCPPO+SU0wQ94EsVPk="
SIGNATURE = "CaLNvgHIPVgmxsSyvAhKO7qIMN34jGoToYYWrtRK/sI="
PLAINTEXT = b'{"@odata.context":"x","id":"1700000000000","messageType":"message"}'


def test_the_documented_vector_is_met() -> None:
    assert seal(PLAINTEXT, KEY) == (DATA, SIGNATURE)


@given(st.binary(max_size=200), st.binary(min_size=32, max_size=32))
def test_what_is_sealed_opens_to_the_same_bytes(plain: bytes, key: bytes) -> None:
    data, _ = seal(plain, key)
    assert decrypted(b64decode(data), key, key[:16]) == plain


@settings(max_examples=20, deadline=None)
@given(st.dictionaries(st.text(), st.text()))
def test_the_owner_of_the_key_reads_what_was_enclosed(resource: dict[str, str]) -> None:
    key = encryption_key()
    content = enclose(msgspec.json.encode(resource), Recipient.of(x509.load_der_x509_certificate(key.der), key.id))
    assert key.open(content) == resource
    assert content["encryptionCertificateId"] == key.id
    assert content["encryptionCertificateThumbprint"] == hashlib.sha1(key.der).hexdigest().upper()


def test_each_item_has_a_key_of_its_own() -> None:
    recipient = Recipient.of(x509.load_der_x509_certificate(encryption_key().der), "id")
    assert enclose(b"{}", recipient)["data"] != enclose(b"{}", recipient)["data"]


def test_a_certificate_without_an_rsa_key_is_no_recipient() -> None:
    der = certificate(ec.generate_private_key(ec.SECP256R1()))
    with pytest.raises(TypeError):
        Recipient.of(x509.load_der_x509_certificate(der), "id")
