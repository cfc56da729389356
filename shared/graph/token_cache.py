"""A cache of genuine validation tokens: Graph sends one for hours, and verifying it costs more than decrypting."""

import hashlib
import threading
from collections import OrderedDict
from datetime import datetime

from shared.graph.validation_token import FindKey, VerifiedToken, genuine

MOST = 1_000
"""Cached tokens. Graph uses one token per tenant at a time."""


class TokenCache:
    """Caches genuine tokens, by digest and audience, for the key that verified them; one object serves all threads.

    Failures are never cached, so only Graph can fill the cache. A cached token is verified again if the authority's key
    has changed; its lifetime is checked each time.
    """

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._known: OrderedDict[tuple[str, bytes], VerifiedToken] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def check(self, token: str, find_key: FindKey, audience: str, received: datetime) -> None:
        """Check that Graph issued `token` for the tenant that it claims, and that it was valid when it arrived.

        `received` is that time (UTC). Raises Refused if not; otherwise as `genuine`.
        """
        name = audience, hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
        known = self._known.get(name)
        if known is None or find_key(known.kid, known.version) is not known.key:
            known = genuine(token, find_key, audience)
        known.check_lifetime(received)
        with self._lock:
            self._known[name] = known
            self._known.move_to_end(name)
            if len(self._known) > self._most:
                self._known.popitem(last=False)
