"""The policy of a certificate, as its creation requests it."""

from typing import Any

import msgspec

from tests.stand_ins.vault.refusal import bad_parameter

KEY_SIZES = (2048, 3072, 4096)
PEM = "application/x-pem-file"
PKCS12 = "application/x-pkcs12"


class KeyProperties(msgspec.Struct, frozen=True):
    """The key of a certificate; a key that is not exportable never leaves the vault."""

    kty: str = "RSA"
    key_size: int = 2048
    exportable: bool = False
    reuse_key: bool = False


class SecretProperties(msgspec.Struct, frozen=True, rename={"content_type": "contentType"}):
    """The form of the secret with key and certificate."""

    content_type: str = PKCS12


class X509Properties(msgspec.Struct, frozen=True):
    """The certificate itself."""

    subject: str = ""
    validity_months: int = 12


class Issuer(msgspec.Struct, frozen=True):
    """The issuer."""

    name: str = "Unknown"


class Policy(msgspec.Struct, frozen=True):
    """The supported parts of a certificate's policy; other parts are ignored."""

    issuer: Issuer
    key_props: KeyProperties = KeyProperties()
    secret_props: SecretProperties = SecretProperties()
    x509_props: X509Properties = X509Properties()


class _Creation(msgspec.Struct, frozen=True):
    policy: Policy


def asked_for(body: bytes) -> Policy:
    """Parse the body of a creation, and check that this stand-in supports it.

    Raises:
        VaultRefusal: 400.
    """
    try:
        policy = msgspec.json.decode(body, type=_Creation).policy
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise bad_parameter(f"Property has invalid value: {error}") from error
    key = policy.key_props
    if policy.issuer.name != "Self":
        raise bad_parameter("This vault signs for itself only: the issuer must be Self.")
    if key.kty != "RSA" or key.key_size not in KEY_SIZES or key.reuse_key:
        raise bad_parameter("An RSA key of 2048, 3072 or 4096 bits is made, a new one each time.")
    if policy.secret_props.content_type not in (PEM, PKCS12):
        raise bad_parameter(f"The content type must be {PEM} or {PKCS12}.")
    if not policy.x509_props.subject.startswith("CN="):
        raise bad_parameter("The subject must be a distinguished name: CN=...")
    return policy


def shown(policy: Policy, policy_id: str) -> dict[str, Any]:
    """Return the policy as reads show it."""
    return {"id": policy_id, **msgspec.to_builtins(policy)}
