"""Validation tokens that were found genuine: Graph sends one for hours, and checking it costs more than decrypting."""

import hashlib
import threading
from collections import OrderedDict
from datetime import datetime

from shared.graph.validation_token import FindKey, Genuine, genuine

MOST = 1_000
"""Tokens that are remembered. Graph uses a token of each tenant at a time."""


class KnownTokens:
    """Remembers genuine tokens, by digest and audience, and for the key that showed it; one object serves all threads.

    What fails a check is never remembered, so nobody but Graph can fill the memory. A token that is remembered is
    checked again when the authority's key has changed, and its lifetime each time.
    """

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._known: OrderedDict[tuple[str, bytes], Genuine] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def check(self, token: str, find_key: FindKey, audience: str, received: datetime) -> None:
        """Check that Graph issued `token` for the tenant that it claims, and that it was good when it arrived.

        `received` is that time (UTC). Raises Refused if not; otherwise as `genuine`.
        """
        name = audience, hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
        known = self._known.get(name)
        if known is None or find_key(known.kid) is not known.key:
            known = genuine(token, find_key, audience)
        known.check_lifetime(received)
        with self._lock:
            self._known[name] = known
            self._known.move_to_end(name)
            if len(self._known) > self._most:
                self._known.popitem(last=False)
