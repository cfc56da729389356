"""clientState that carries its own proof, so that nothing is stored and any instance can check it.

The form is `random.declaration.proof`, each part Base64url: 16 random bytes, the declaration's id, and an HMAC-SHA256
over both and the tenant. 80 characters; Graph takes 128 (docs/graph.md, "clientState").
"""

import base64
import hmac
from collections.abc import Callable, Sequence

LENGTH = 22 + 1 + 16 + 1 + 43


def mint(secret: bytes, tenant_id: str, declaration_id: str, random_bytes: Callable[[int], bytes]) -> str:
    """Return a new clientState for the subscription of a declaration in `tenant_id`."""
    stem = f"{_text(random_bytes(16))}.{declaration_id}"
    return f"{stem}.{_mac(secret, stem, tenant_id)}"


def is_ours(client_state: str | None, tenant_id: str, secrets: Sequence[bytes]) -> bool:
    """Tell whether this app minted `client_state` for this tenant with one of `secrets`.

    Takes the same time whichever part is wrong and whichever secret fits.
    """
    if client_state is None or len(client_state) != LENGTH or not client_state.isascii():
        return False
    stem, _, mac = client_state.rpartition(".")
    return any([hmac.compare_digest(_mac(secret, stem, tenant_id), mac) for secret in secrets])  # noqa: C419 - all of them


def id_in_client_state(client_state: str | None) -> str:
    """Return the declaration's id in a clientState that was checked before; "" if it holds none."""
    return (client_state or "").partition(".")[2].partition(".")[0]


def fingerprint(secret: bytes) -> str:
    """Return a public name, 8 characters, of a secret: it shows which of two secrets minted a subscription."""
    return hmac.digest(secret, b"fingerprint", "sha256").hex()[:8]


def _mac(secret: bytes, stem: str, tenant_id: str) -> str:
    return _text(hmac.digest(secret, f"{stem}\n{tenant_id.lower()}".encode(), "sha256"))


def _text(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()
