"""A verifier for tests: the authority's key and the app's in memory, with the declarations checked as in production."""

from collections.abc import Iterable
from datetime import datetime

import requests

from process_queue.hydration import Hydration
from process_queue.verify import Verifier
from shared.configuration.declaration import Declaration, Declarations
from shared.errors import Reason, Refused, RetryLater, Undeliverable
from shared.graph.client import GraphClient
from shared.graph.rate_limits import ReadRateLimiter
from shared.graph.resolver import Resolver
from shared.graph.validation_token import SigningKey
from shared.keys.key import EncryptionKey
from shared.threads import ContextThreadPool
from tests.builders import CLIENT_ID, TENANT, Clock, declaration, encryption_key, rsa_key
from tests.shared.graph.test_client import Bearer
from tests.token_cases import ISSUERS, Mint

READERS = ContextThreadPool(4)
MINT = Mint(rsa_key("authority"))
TOKEN = MINT.token()


class AuthorityKeys:
    """The authority's one key; `asked`: the requested ids."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def find(self, kid: str, version: str, received: datetime) -> SigningKey:
        self.asked.append(kid)
        if kid == "away":
            raise RetryLater(Reason.SIGNING_KEYS)
        if kid != "authority-1":
            raise Refused(Reason.TOKEN_KEY)
        return SigningKey(rsa_key("authority").public_key(), ISSUERS)


class OurKeys:
    """The app's one encryption key."""

    def find(self, key_id: str, thumbprint: str, received: datetime) -> EncryptionKey:
        if key_id == "away":
            raise RetryLater(Reason.KEY_STORE)
        if encryption_key().key_id == key_id or thumbprint == encryption_key().thumbprint:
            return encryption_key()
        raise Undeliverable(Reason.KEY_UNKNOWN)


def hydration(graph: GraphClient, clock: Clock | None = None) -> Hydration:
    clock = clock or Clock()
    return Hydration(graph, clock, Resolver(graph, clock), ReadRateLimiter(clock))


def unreachable_graph() -> GraphClient:
    """A Graph that no test may call."""
    return GraphClient("https://graph.invalid", Bearer(), requests.Session(), Clock())


def verifier(
    signing_keys: AuthorityKeys | None = None, declarations: Iterable[Declaration] = (declaration(rich=False),)
) -> Verifier:
    keys = signing_keys or AuthorityKeys()
    reads = hydration(unreachable_graph())
    return Verifier(TENANT, CLIENT_ID, Declarations(declarations), keys, OurKeys(), reads, READERS)
