"""Genuine tokens are remembered, and prove no more than before."""

from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial

import pytest

from shared.errors import Reason, Refused, RelayError, RetryLater
from shared.graph.token_cache import TokenCache
from shared.graph.validation_token import SigningKey
from tests.builders import CLIENT_ID, NOW, OTHER_TENANT, TENANT, changes, rich, rsa_key
from tests.process_queue.verification import verifier
from tests.token_cases import ISSUERS, TOKEN_CASES, Mint

MINT = Mint(rsa_key("authority"))
TOKEN = MINT.token()


class Authority:
    """The authority's key set: one key at a time."""

    def __init__(self) -> None:
        self.kid = "authority-1"
        self.key = SigningKey(rsa_key("authority").public_key(), dict(ISSUERS))
        self.is_away = False

    def find(self, kid: str, _: str, __: datetime = NOW) -> SigningKey:
        if self.is_away:
            raise RetryLater(Reason.SIGNING_KEYS)
        if kid != self.kid:
            raise Refused(Reason.TOKEN_KEY)
        return self.key


def outcome(call: Callable[[], object]) -> Reason | None:
    try:
        call()
    except RelayError as error:
        return error.reason
    return None


def known(tokens: TokenCache, authority: Authority, audience: str = CLIENT_ID, at: datetime = NOW) -> Reason | None:
    return outcome(partial(tokens.check, TOKEN, authority.find, audience, at))


def remembering(authority: Authority) -> TokenCache:
    tokens = TokenCache()
    tokens.check(TOKEN, authority.find, CLIENT_ID, NOW)
    return tokens


def test_every_token_is_judged_as_if_none_were_remembered() -> None:
    tokens, authority = TokenCache(), Authority()
    cases = [case.token(MINT) for case in TOKEN_CASES]
    for _ in range(2):
        for token in cases:
            for audience in (CLIENT_ID, TENANT):
                judged = outcome(partial(tokens.check, token, authority.find, audience, NOW))
                assert judged is outcome(partial(TokenCache().check, token, authority.find, audience, NOW))


def test_a_remembered_token_is_not_read_again() -> None:
    authority = Authority()
    tokens = remembering(authority)
    mixed_up = SigningKey(rsa_key("foreign").public_key(), ISSUERS)
    authority.key.issuers.clear()  # a check would refuse it now
    assert known(tokens, authority) is None
    authority.key = mixed_up
    assert known(tokens, authority) is Reason.TOKEN_SIGNATURE


def test_a_remembered_token_is_invalid_for_another_audience() -> None:
    authority = Authority()
    assert known(remembering(authority), authority, OTHER_TENANT) is Reason.TOKEN_AUDIENCE


def test_a_remembered_token_proves_nothing_for_another_tenant() -> None:
    checked = verifier()
    for item, reason in ((rich(), None), (rich(tenantId=OTHER_TENANT), Reason.TOKEN_MISSING), (rich(), None)):
        envelope = changes(item, tokens=[TOKEN])
        batch = checked.batch(envelope)
        assert outcome(partial(batch.event, envelope.items[0])) is reason
    assert len(checked.tokens) == 1


@pytest.mark.parametrize("moved", [timedelta(days=2), timedelta(days=-1)])
def test_a_remembered_token_is_good_only_for_its_life(moved: timedelta) -> None:
    authority = Authority()
    assert known(remembering(authority), authority, at=NOW + moved) is Reason.TOKEN_LIFETIME


def test_a_withdrawn_key_ends_what_it_showed() -> None:
    authority = Authority()
    tokens = remembering(authority)
    authority.kid = "authority-2"
    assert known(tokens, authority) is Reason.TOKEN_KEY


def test_while_the_keys_are_unavailable_nothing_is_proven() -> None:
    authority = Authority()
    tokens = remembering(authority)
    authority.is_away = True
    assert known(tokens, authority) is Reason.SIGNING_KEYS


def test_only_genuine_tokens_are_remembered_and_no_more_than_the_limit() -> None:
    authority, tokens = Authority(), TokenCache(most=3)
    for case in TOKEN_CASES:
        if case.reason is not None:
            outcome(partial(tokens.check, case.token(MINT), authority.find, CLIENT_ID, NOW))
    assert len(tokens) == 0
    for number in range(5):
        tokens.check(MINT.token(uti=str(number)), authority.find, CLIENT_ID, NOW)
    assert len(tokens) == 3
