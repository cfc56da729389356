"""clientState that carries its own proof, so that nothing is stored and any instance can check it.

The form is `random.declaration.proof`, each part Base64url: 16 random bytes, 12 bytes that name the declared
resource, and an HMAC-SHA256 over both and the tenant. 80 characters; Graph takes 128 (Graph contract §3).
"""

import base64
import hashlib
import hmac
from collections.abc import Callable, Sequence
from functools import lru_cache

LENGTH = 22 + 1 + 16 + 1 + 43


@lru_cache(maxsize=16_384)  # asked for each declaration, of each notification
def declaration_id(tenant_id: str, resource: str) -> str:
    """Return the short name, 16 characters, of a declared resource in a tenant."""
    identity = f"{tenant_id.lower()}\n{resource.strip('/').lower()}".encode()
    return _text(hashlib.sha256(identity).digest()[:12])


def mint(secret: bytes, tenant_id: str, resource: str, random_bytes: Callable[[int], bytes]) -> str:
    """Return a new clientState for a subscription to `resource` in `tenant_id`."""
    stem = f"{_text(random_bytes(16))}.{declaration_id(tenant_id, resource)}"
    return f"{stem}.{_proof(secret, stem, tenant_id)}"


def check(client_state: str | None, tenant_id: str, secrets: Sequence[bytes]) -> str | None:
    """Return the id of the declaration that `client_state` was minted for, or None if we did not mint it for this
    tenant with one of `secrets`.

    Takes the same time whichever part is wrong and whichever secret fits.
    """
    if client_state is None or len(client_state) != LENGTH or not client_state.isascii():
        return None
    stem, _, proof = client_state.rpartition(".")
    fits = [hmac.compare_digest(_proof(secret, stem, tenant_id), proof) for secret in secrets]
    return id_in_client_state(client_state) if any(fits) else None


def id_in_client_state(client_state: str) -> str:
    """Return the id of the declaration in a clientState that has been checked before; "" if it holds none."""
    return client_state.partition(".")[2].partition(".")[0]


def fingerprint(secret: bytes) -> str:
    """Return a public name, 8 characters, of a secret: it tells which of two secrets minted a subscription."""
    return hmac.digest(secret, b"fingerprint", "sha256").hex()[:8]


def _proof(secret: bytes, stem: str, tenant_id: str) -> str:
    return _text(hmac.digest(secret, f"{stem}\n{tenant_id.lower()}".encode(), "sha256"))


def _text(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()
