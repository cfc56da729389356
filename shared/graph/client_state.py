"""clientStates with a MAC, so that nothing is stored and any instance can check one.

The form is `random.declaration.mac`, each part Base64url: 16 random bytes, the declaration's id, and an HMAC-SHA256
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


def is_authentic(client_state: str | None, tenant_id: str, secrets: Sequence[bytes]) -> bool:
    """Return whether this app minted `client_state` for this tenant with one of `secrets`.

    Takes the same time whichever part is wrong and whichever secret matches.
    """
    if client_state is None or len(client_state) != LENGTH or not client_state.isascii():
        return False
    stem, _, mac = client_state.rpartition(".")
    return any([hmac.compare_digest(_mac(secret, stem, tenant_id), mac) for secret in secrets])  # noqa: C419 - compares with all


def id_in_client_state(client_state: str | None) -> str:
    """Return the declaration id in a checked clientState; "" if there is none."""
    return (client_state or "").partition(".")[2].partition(".")[0]


def fingerprint(secret: bytes) -> str:
    """Return a public identifier, 8 characters, of a secret: it shows which secret minted a subscription's
    clientState.
    """
    return hmac.digest(secret, b"fingerprint", "sha256").hex()[:8]


def _mac(secret: bytes, stem: str, tenant_id: str) -> str:
    return _text(hmac.digest(secret, f"{stem}\n{tenant_id.lower()}".encode(), "sha256"))


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
