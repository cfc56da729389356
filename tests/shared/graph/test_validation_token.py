"""The JWTs that prove rich notifications."""

import json
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import Reason, Refused, RetryLater
from shared.graph.token_cache import TokenCache
from shared.graph.validation_token import SigningKey, claimed_tenant
from tests.builders import CLIENT_ID, NOW, OTHER_TENANT, TENANT, rsa_key
from tests.token_cases import ACCEPTED, ISSUERS, REFUSED, TOKEN_CASES, Mint, TokenCase, replaced


def mint() -> Mint:
    return Mint(rsa_key("authority"))


def find(kid: str, _: str) -> SigningKey:
    if kid != "authority-1":
        raise Refused(Reason.TOKEN_KEY)
    return SigningKey(rsa_key("authority").public_key(), ISSUERS)


@pytest.mark.parametrize("case", ACCEPTED, ids=lambda case: case.name)
def test_a_genuine_token_proves_its_tenant(case: TokenCase) -> None:
    token = case.token(mint())
    TokenCache().check(token, find, CLIENT_ID, NOW)
    assert claimed_tenant(token) == TENANT


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.name)
def test_a_token_that_is_not_genuine_is_refused_with_its_reason(case: TokenCase) -> None:
    with pytest.raises(Refused) as refused:
        TokenCache().check(case.token(mint()), find, CLIENT_ID, NOW)
    assert refused.value.reason is case.reason


def test_each_case_has_a_name_of_its_own() -> None:
    assert len({case.name for case in TOKEN_CASES}) == len(TOKEN_CASES)


def test_a_token_that_expired_in_the_queue_is_judged_as_of_its_receipt() -> None:
    token = mint().token(exp=mint().moment(60))
    TokenCache().check(token, find, CLIENT_ID, NOW)
    with pytest.raises(Refused):
        TokenCache().check(token, find, CLIENT_ID, NOW + timedelta(hours=5))


@pytest.mark.parametrize(("seconds", "good"), [(-4 * 3600 - 299, True), (-4 * 3600 - 300, False)])
def test_a_token_may_expire_during_four_hours_of_retries_and_five_minutes_of_skew(seconds: int, good: bool) -> None:
    assert proven(mint().token(exp=mint().moment(seconds))) is good


@pytest.mark.parametrize(("seconds", "good"), [(300, True), (301, False)])
def test_the_skew_at_the_beginning_of_a_life_is_five_minutes(seconds: int, good: bool) -> None:
    assert proven(mint().token(nbf=mint().moment(seconds))) is good


def test_a_key_speaks_only_for_the_versions_whose_metadata_list_it() -> None:
    first_only = SigningKey(rsa_key("authority").public_key(), {"1.0": ISSUERS["1.0"]})
    TokenCache().check(mint().token("1.0"), lambda *_: first_only, CLIENT_ID, NOW)
    with pytest.raises(Refused, match=Reason.TOKEN_ISSUER):
        TokenCache().check(mint().token("2.0"), lambda *_: first_only, CLIENT_ID, NOW)


def test_a_token_is_retried_while_the_keys_are_unavailable() -> None:
    def unavailable(_: str, __: str) -> SigningKey:
        raise RetryLater(Reason.SIGNING_KEYS)

    with pytest.raises(RetryLater):
        TokenCache().check(mint().token(), unavailable, CLIENT_ID, NOW)


def test_the_claimed_tenant_is_known_before_anything_is_proven() -> None:
    assert claimed_tenant(mint().token(tid=OTHER_TENANT.upper())) == OTHER_TENANT
    assert claimed_tenant(replaced(mint().token(), 2, "forged")) == TENANT


@given(st.text())
def test_any_text_is_refused_or_claims_nothing(text: str) -> None:
    assert claimed_tenant(text) is None
    assert not proven(text)


@given(st.data())
def test_no_byte_of_header_or_claims_can_be_changed(data: st.DataObject) -> None:
    token = mint().token()
    signed = token.rpartition(".")[0]
    place = data.draw(st.sampled_from([i for i, letter in enumerate(signed) if letter != "."]))
    other = data.draw(st.sampled_from("ABCDwxyz0189-_").filter(lambda letter: letter != token[place]))
    assert not proven(token[:place] + other + token[place + 1 :])


@given(
    st.dictionaries(
        st.sampled_from(["aud", "iss", "azp", "appid", "tid", "ver", "nbf", "exp"]),
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.integers()),
        min_size=1,
    )
)
def test_signed_claims_of_any_type_end_in_a_verdict(changes: dict[str, object]) -> None:
    proven(mint().signed(json.dumps(mint().claims() | changes).encode()))


def proven(token: str) -> bool:
    try:
        TokenCache().check(token, find, CLIENT_ID, NOW)
    except Refused:
        return False
    return True
