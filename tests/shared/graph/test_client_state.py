"""A clientState that carries its own proof."""

import secrets

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.configuration.declaration import declaration_id
from shared.graph import client_state
from shared.graph.client_state import fingerprint, id_in_client_state, is_authentic, mint
from tests.builders import OTHER_TENANT, RESOURCE, TENANT, client_state_secret, minted

SECRETS = [client_state_secret()]


def test_a_minted_clientstate_is_authentic_and_names_its_declaration() -> None:
    state = minted()
    assert is_authentic(state, TENANT, SECRETS)
    assert id_in_client_state(state) == declaration_id(TENANT, RESOURCE)


@given(st.binary(min_size=32, max_size=64), st.uuids(), st.text(min_size=1))
def test_every_minted_one_checks_and_fits_into_what_graph_takes(secret: bytes, tenant: object, resource: str) -> None:
    named = declaration_id(str(tenant), resource)
    state = mint(secret, str(tenant), named, secrets.token_bytes)
    assert is_authentic(state, str(tenant), [secret])
    assert id_in_client_state(state) == named
    assert len(state) == client_state.LENGTH <= 128
    assert state.isascii()
    assert state.isprintable()


def test_no_two_are_the_same() -> None:
    assert minted() != minted()


def test_the_tenant_may_come_in_any_letter_case() -> None:
    assert is_authentic(minted(TENANT.upper()), TENANT, SECRETS)
    assert is_authentic(minted(), TENANT.upper(), SECRETS)


def test_the_clientstate_of_another_tenant_is_not_authentic() -> None:
    assert not is_authentic(minted(OTHER_TENANT), TENANT, SECRETS)


def test_the_proof_does_not_fit_another_declaration() -> None:
    random_part, _, proof = minted().split(".")
    swapped = f"{random_part}.{declaration_id(TENANT, '/teams/getAllMessages')}.{proof}"
    assert not is_authentic(swapped, TENANT, SECRETS)


def test_both_secrets_are_live_during_a_change_of_secret() -> None:
    state = minted(secret=client_state_secret("retiring"))
    assert is_authentic(state, TENANT, [client_state_secret(), client_state_secret("retiring")])
    assert not is_authentic(state, TENANT, SECRETS)


@given(st.integers(0, client_state.LENGTH - 1), st.sampled_from("AaZz09-_.ä\x00"))
def test_no_character_can_be_changed(place: int, other: str) -> None:
    state = minted()
    forged = state[:place] + other + state[place + 1 :]
    assert forged == state or not is_authentic(forged, TENANT, SECRETS)


@pytest.mark.parametrize("part", ["[:-1]", "[1:]", "upper", "twice"])
def test_neither_can_its_length_or_letter_case(part: str) -> None:
    state = minted()
    forged = {"[:-1]": state[:-1], "[1:]": state[1:], "upper": state.upper(), "twice": state * 2}[part]
    assert not is_authentic(forged, TENANT, SECRETS)


@given(st.none() | st.text() | st.text(min_size=client_state.LENGTH, max_size=client_state.LENGTH))
def test_any_text_is_checked_without_an_error(text: str | None) -> None:
    assert not is_authentic(text, TENANT, SECRETS)
    id_in_client_state(text or "")


def test_ten_megabytes_are_no_clientstate() -> None:
    assert not is_authentic("a" * 10_000_000, TENANT, SECRETS)


def test_each_secret_has_a_distinct_public_name() -> None:
    name = fingerprint(client_state_secret())
    assert name == fingerprint(client_state_secret()) != fingerprint(client_state_secret("retiring"))
    assert name not in client_state_secret().hex()
