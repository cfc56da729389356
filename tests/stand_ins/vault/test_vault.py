"""The vault as Azure's SDK sees it."""

from base64 import b64decode
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
import requests
from azure.core.exceptions import (
    ClientAuthenticationError,
    HttpResponseError,
    ResourceExistsError,
    ResourceNotFoundError,
)
from azure.identity import ClientSecretCredential
from azure.keyvault.certificates import CertificateClient, CertificateContentType, CertificatePolicy, KeyType
from azure.keyvault.secrets import SecretClient
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.hazmat.primitives.serialization.pkcs12 import load_key_and_certificates

from graph_simulator.server import GraphServer
from tests.stand_ins.vault.conftest import sign_in
from tests.stand_ins.vault.server import VaultServer

NAME = "some-certificate"


@pytest.fixture
def certificates(vault: VaultServer, credential: ClientSecretCredential) -> Iterator[CertificateClient]:
    with CertificateClient(vault.url, credential, verify_challenge_resource=False) as client:
        yield client


@pytest.fixture
def secrets(vault: VaultServer, credential: ClientSecretCredential) -> Iterator[SecretClient]:
    with SecretClient(vault.url, credential, verify_challenge_resource=False) as client:
        yield client


def policy(**changes: object) -> CertificatePolicy:
    good = {
        "issuer_name": "Self",
        "subject": "CN=Some Body",
        "exportable": True,
        "key_type": KeyType.rsa,
        "key_size": 2048,
        "reuse_key": False,
        "content_type": CertificateContentType.pem,
        "validity_in_months": 12,
    }
    return CertificatePolicy(**{**good, **changes})  # type: ignore[arg-type]


def made(certificates: CertificateClient, **changes: object) -> str:
    """Create a certificate and return its version."""
    certificate = certificates.begin_create_certificate(NAME, policy(**changes)).result()
    return str(certificate.properties.version)  # type: ignore[union-attr]


def secret_of(certificates: CertificateClient, version: str) -> str:
    """Return the version of the secret that belongs to a version of the certificate."""
    return str(certificates.get_certificate_version(NAME, version).secret_id).rpartition("/")[2]


def test_a_caller_without_a_token_gets_a_challenge(vault: VaultServer, graph: GraphServer) -> None:
    answer = requests.get(f"{vault.url}/certificates/x/versions?api-version=7.4", timeout=10)
    authority = f"{graph.url}/{graph.registration.tenant}"
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == f'Bearer authorization="{authority}", resource="{graph.url}"'


def test_a_token_that_the_login_did_not_issue_opens_nothing(vault: VaultServer) -> None:
    headers = {"Authorization": "Bearer made-up"}
    answer = requests.get(f"{vault.url}/secrets/x/1?api-version=7.4", headers=headers, timeout=10)
    assert answer.status_code == 401


def test_who_cannot_sign_in_gets_nothing(vault: VaultServer, graph: GraphServer) -> None:
    client = CertificateClient(vault.url, sign_in(graph, "wrong"), verify_challenge_resource=False)
    with pytest.raises(ClientAuthenticationError):
        client.get_certificate(NAME)


def test_the_secret_of_a_certificate_is_its_key_and_itself(
    certificates: CertificateClient, secrets: SecretClient
) -> None:
    version = made(certificates)
    secret = secrets.get_secret(NAME, secret_of(certificates, version))
    pem = (secret.value or "").encode()
    key, certificate = load_pem_private_key(pem, None), x509.load_pem_x509_certificate(pem)
    assert isinstance(key, RSAPrivateKey)
    assert key.public_key() == certificate.public_key()
    assert certificate.subject.rfc4514_string() == "CN=Some Body"
    assert secret.properties.content_type == "application/x-pem-file"
    assert certificates.get_certificate_version(NAME, version).cer


def test_a_certificate_begins_ten_minutes_before_it_was_made(certificates: CertificateClient) -> None:
    made(certificates)
    properties = certificates.get_certificate(NAME).properties
    assert properties is not None
    begins = properties.not_before
    assert begins is not None
    assert timedelta(minutes=9) < datetime.now(UTC) - begins < timedelta(minutes=12)


def test_versions_come_in_pages(certificates: CertificateClient) -> None:
    versions = {made(certificates) for _ in range(5)}
    listed = [version.version for version in certificates.list_properties_of_certificate_versions(NAME)]
    assert len(listed) == 5
    assert set(listed) == versions


def test_what_is_disabled_is_listed_and_not_given_out(certificates: CertificateClient, secrets: SecretClient) -> None:
    version = made(certificates)
    secret = secret_of(certificates, version)
    certificates.update_certificate_properties(NAME, version, enabled=False)
    [listed] = certificates.list_properties_of_certificate_versions(NAME)
    assert listed.enabled is False
    with pytest.raises(HttpResponseError) as refused:
        secrets.get_secret(NAME, secret)
    assert refused.value.status_code == 403
    assert refused.value.error is not None
    assert refused.value.error.innererror == {"code": "SecretDisabled"}
    certificates.update_certificate_properties(NAME, version, enabled=True)
    assert secrets.get_secret(NAME, secret).value


def test_a_secret_has_a_number_of_its_own(certificates: CertificateClient, secrets: SecretClient) -> None:
    version = made(certificates)
    with pytest.raises(ResourceNotFoundError):
        secrets.get_secret(NAME, version)


def test_a_certificate_is_given_out_in_the_form_that_was_asked_for(
    certificates: CertificateClient, secrets: SecretClient
) -> None:
    version = made(certificates, content_type=CertificateContentType.pkcs12)
    secret = secrets.get_secret(NAME, secret_of(certificates, version))
    assert secret.properties.content_type == "application/x-pkcs12"
    key, certificate, _ = load_key_and_certificates(b64decode(secret.value or ""), None)
    assert key is not None
    assert certificate is not None
    assert key.public_key() == certificate.public_key()


def test_a_second_creation_is_a_conflict_while_one_is_pending(
    vault: VaultServer, certificates: CertificateClient
) -> None:
    vault.vault.takes = timedelta(hours=1)
    certificates.begin_create_certificate(NAME, policy())
    with pytest.raises(ResourceExistsError):
        certificates.begin_create_certificate(NAME, policy())
    assert certificates.get_certificate_operation(NAME).status == "inProgress"


def test_a_creation_completes_whether_or_not_anybody_waits(vault: VaultServer, certificates: CertificateClient) -> None:
    vault.vault.takes = timedelta(hours=1)
    certificates.begin_create_certificate(NAME, policy())
    assert list(certificates.list_properties_of_certificate_versions(NAME)) == []
    vault.vault.takes = timedelta(0)
    assert len(list(certificates.list_properties_of_certificate_versions(NAME))) == 1


def test_a_key_that_is_not_exportable_stays(certificates: CertificateClient, secrets: SecretClient) -> None:
    version = made(certificates, exportable=False)
    with pytest.raises(HttpResponseError) as refused:
        secrets.get_secret(NAME, secret_of(certificates, version))
    assert refused.value.status_code == 403


@pytest.mark.parametrize(
    "change",
    [
        {"issuer_name": "Unknown"},
        {"key_size": 1024},
        {"reuse_key": True},
        {"subject": "Some Body"},
    ],
)
def test_what_it_cannot_make_is_refused(certificates: CertificateClient, change: dict[str, object]) -> None:
    with pytest.raises(HttpResponseError) as refused:
        certificates.begin_create_certificate(NAME, policy(**change))
    assert refused.value.status_code == 400


def test_what_never_was_is_not_found(certificates: CertificateClient, secrets: SecretClient) -> None:
    with pytest.raises(ResourceNotFoundError):
        list(certificates.list_properties_of_certificate_versions("nothing"))
    with pytest.raises(ResourceNotFoundError):
        secrets.get_secret("nothing", "0" * 32)
    made(certificates)
    with pytest.raises(ResourceNotFoundError):
        secrets.get_secret(NAME, "0" * 32)


def test_it_can_be_unavailable(vault: VaultServer, certificates: CertificateClient) -> None:
    vault.face.away = True
    with pytest.raises(HttpResponseError) as away:
        certificates.get_certificate(NAME, retry_total=0)
    assert away.value.status_code == 503
