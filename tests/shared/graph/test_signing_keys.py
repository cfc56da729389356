"""The authority's signing keys, from a real HTTPS server."""

import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
import requests

from graph_simulator.authority import Authority
from shared import threads
from shared.errors import NotAttempted, Reason, Refused, RetryLater, Undeliverable
from shared.graph.signing_keys import (
    MAX_KEY_AGE,
    MIN_REFETCH_INTERVAL,
    RETRY_INTERVAL,
    UNKNOWN_KEY_REFUSED_WITHIN,
    SigningKeys,
)
from shared.graph.token_cache import TokenCache
from tests.builders import CLIENT_ID, NOW, Clock, rsa_key
from tests.in_process import HANGS, InProcess
from tests.servers import RESET, RecordedRequest, ScriptedResponse, Server, in_json, serving
from tests.token_cases import ISSUERS, Mint, base64url

JUST_NOW = NOW - timedelta(seconds=1)
ROUND = 4
"""The requests of one complete fetch: two metadata documents, two key sets."""


def jwk(kid: str, /, **changes: Any) -> dict[str, Any]:
    numbers = rsa_key(kid).public_key().public_numbers()
    modulus = base64url(numbers.n.to_bytes(256, "big"))
    return {"kty": "RSA", "use": "sig", "kid": kid, "n": modulus, "e": "AQAB", "x5c": ["MII"], **changes}


class Login:
    """The authority: its keys by version, and a way to replace any answer."""

    def __init__(self) -> None:
        self.keys: dict[str, list[dict[str, Any]]] = {"1.0": [jwk("authority-1")], "2.0": [jwk("authority-1")]}
        self.override: Callable[[RecordedRequest], ScriptedResponse | None] = lambda _: None
        self.url = ""

    def answer(self, request: RecordedRequest) -> ScriptedResponse:
        version, infix = ("2.0", "/v2.0") if "/v2.0" in request.path else ("1.0", "")
        if (other := self.override(request)) is not None:
            return other
        if request.path.endswith("/keys"):
            return in_json({"keys": self.keys[version]})
        jwks_uri = f"{self.url}/common/discovery{infix}/keys"
        return in_json({"issuer": ISSUERS[version], "jwks_uri": jwks_uri, "more": {"a": 1}})


@pytest.fixture
def login() -> Login:
    return Login()


@pytest.fixture
def server(login: Login, authority: Authority) -> Iterator[Server]:
    with serving(login.answer, authority) as running:
        login.url = running.url
        yield running


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def keys(server: Server, session: requests.Session, clock: Clock) -> SigningKeys:
    return SigningKeys(server.url, session, clock)


def test_a_key_is_fetched_once_and_speaks_for_both_versions(keys: SigningKeys, server: Server) -> None:
    for _ in range(3):
        found = keys.find("authority-1", "2.0", JUST_NOW)
    assert found.key == rsa_key("authority-1").public_key()
    assert found.issuers == ISSUERS
    assert len(server.asked) == ROUND
    assert "/common/.well-known/openid-configuration" in server.paths()
    assert "/common/v2.0/.well-known/openid-configuration" in server.paths()


def test_a_genuine_token_is_proven_with_it(keys: SigningKeys) -> None:
    token = Mint(rsa_key("authority-1")).token()
    TokenCache().check(token, lambda kid, version: keys.find(kid, version, NOW), CLIENT_ID, NOW)


def test_a_key_of_one_version_speaks_for_that_alone(keys: SigningKeys, login: Login) -> None:
    login.keys["2.0"] = [jwk("other")]
    assert keys.find("authority-1", "1.0", JUST_NOW).issuers == {"1.0": ISSUERS["1.0"]}
    assert keys.find("other", "2.0", JUST_NOW).issuers == {"2.0": ISSUERS["2.0"]}


def test_unknown_kids_cause_a_bounded_number_of_fetches(keys: SigningKeys, server: Server, clock: Clock) -> None:
    for number in range(50):
        with pytest.raises(Refused) as refused:
            keys.find(f"nobody's-{number}", "2.0", JUST_NOW)
        assert refused.value.reason is Reason.TOKEN_KEY
    assert len(server.asked) == ROUND
    clock.advance(hours=1)
    for number in range(50):  # they came in since, so that the authority may know them by now
        with pytest.raises((Refused, RetryLater)):
            keys.find(f"nobody's-{number}", "2.0", clock())
    assert len(server.asked) == 2 * ROUND


def test_a_token_with_a_new_kid_waits_for_the_next_request_to_the_authority(
    keys: SigningKeys, login: Login, server: Server, clock: Clock
) -> None:
    keys.find("authority-1", "2.0", JUST_NOW)
    login.keys["2.0"].append(jwk("rotated"))
    clock.advance(seconds=60)
    received = clock()
    with pytest.raises(RetryLater) as retry_later:
        keys.find("rotated", "2.0", received)
    assert retry_later.value.reason is Reason.SIGNING_KEYS
    assert retry_later.value.retry_after == MIN_REFETCH_INTERVAL - timedelta(seconds=60)
    assert len(server.asked) == ROUND
    clock.advance(seconds=240)
    assert keys.find("rotated", "2.0", received).key == rsa_key("rotated").public_key()
    assert len(server.asked) == 2 * ROUND


@pytest.mark.parametrize("version", ["1.0", "2.0"])
def test_a_rotation_between_the_two_lists_refuses_no_token(
    keys: SigningKeys, login: Login, clock: Clock, version: str
) -> None:
    newer = {"1.0": "2.0", "2.0": "1.0"}[version]
    login.keys[newer].append(jwk("rotated"))
    keys.find("authority-1", version, JUST_NOW)
    login.keys[version].append(jwk("rotated"))
    clock.advance(seconds=1)
    received = clock()
    assert keys.find("rotated", newer, received)
    with pytest.raises(RetryLater):
        keys.find("rotated", version, received)
    clock.advance(seconds=MIN_REFETCH_INTERVAL.total_seconds())
    assert keys.find("rotated", version, received).issuers == ISSUERS


def test_known_keys_are_used_while_the_authority_is_unavailable(keys: SigningKeys, login: Login, clock: Clock) -> None:
    keys.find("authority-1", "2.0", JUST_NOW)
    login.override = lambda _: RESET
    clock.advance(hours=23)
    assert keys.find("authority-1", "2.0", clock())


def test_a_key_that_was_withdrawn_is_trusted_for_a_day_at_most(keys: SigningKeys, login: Login, clock: Clock) -> None:
    keys.find("authority-1", "2.0", JUST_NOW)
    login.keys = {"1.0": [], "2.0": []}
    clock.advance(seconds=MAX_KEY_AGE.total_seconds() + 1)
    with pytest.raises(Refused):
        keys.find("authority-1", "2.0", clock())


def test_a_key_that_nobody_knew_within_the_hour_is_not_the_authoritys(
    keys: SigningKeys, login: Login, clock: Clock
) -> None:
    login.keys = {"1.0": [], "2.0": []}
    received = clock()
    clock.advance(seconds=UNKNOWN_KEY_REFUSED_WITHIN.total_seconds())
    with pytest.raises(Refused):
        keys.find("authority-1", "2.0", received)


def test_an_old_token_whose_key_may_have_been_rotated_is_dead_lettered_not_refused(
    keys: SigningKeys, login: Login, clock: Clock
) -> None:
    login.keys = {"1.0": [], "2.0": []}
    clock.advance(seconds=UNKNOWN_KEY_REFUSED_WITHIN.total_seconds() + 2)
    with pytest.raises(Undeliverable) as undeliverable:
        keys.find("authority-1", "2.0", JUST_NOW)
    assert undeliverable.value.reason is Reason.TOKEN_KEY


def test_a_withdrawn_key_expires_while_the_authority_is_unavailable(
    keys: SigningKeys, login: Login, clock: Clock
) -> None:
    keys.find("authority-1", "2.0", JUST_NOW)
    login.override = lambda _: ScriptedResponse(503)
    clock.advance(seconds=MAX_KEY_AGE.total_seconds() + 1)
    with pytest.raises(RetryLater):
        keys.find("authority-1", "2.0", JUST_NOW)


def test_an_unavailable_authority_is_asked_seldom_and_found_again(
    keys: SigningKeys, login: Login, server: Server, clock: Clock
) -> None:
    login.override = lambda _: ScriptedResponse(503)
    for _ in range(20):
        with pytest.raises(RetryLater) as retry_later:
            keys.find("authority-1", "2.0", JUST_NOW)
        assert retry_later.value.reason is Reason.SIGNING_KEYS
    assert len(server.asked) == 1
    login.override = lambda _: None
    clock.advance(seconds=RETRY_INTERVAL.total_seconds())
    assert keys.find("authority-1", "2.0", JUST_NOW)


@pytest.mark.parametrize(
    "odd",
    [
        RESET,
        ScriptedResponse(500),
        ScriptedResponse(404, b"{}"),
        ScriptedResponse(302, headers={"Location": "https://example.org/"}),
        ScriptedResponse(200, b"<html>gateway</html>"),
        ScriptedResponse(200, b""),
        ScriptedResponse(200, b"[]"),
        ScriptedResponse(200, b"{}"),
        ScriptedResponse(200, b"\xff"),
        ScriptedResponse(200, b'{"a":' * 50_000),
        ScriptedResponse(200, b" " * (2 << 20) + b"{}"),
        in_json({"issuer": None, "jwks_uri": 7, "keys": {}}),
        in_json({"keys": ["a"], "issuer": "i", "jwks_uri": ""}),
    ],
    ids=lambda odd: f"{odd.status} {odd.body[:20]!r}",
)
@pytest.mark.parametrize("place", ["openid-configuration", "keys"])
def test_whatever_else_the_authority_answers_the_token_waits(
    keys: SigningKeys, login: Login, odd: ScriptedResponse, place: str
) -> None:
    login.override = lambda request: odd if request.path.endswith(place) else None
    with pytest.raises(RetryLater) as retry_later:
        keys.find("authority-1", "2.0", JUST_NOW)
    assert retry_later.value.reason is Reason.SIGNING_KEYS


@pytest.mark.parametrize("address", ["http://127.0.0.1:9/keys", "file:///etc/passwd", "/common/discovery/keys"])
def test_keys_are_fetched_over_https_alone(keys: SigningKeys, login: Login, server: Server, address: str) -> None:
    login.override = lambda _: in_json({"issuer": ISSUERS["1.0"], "jwks_uri": address})
    with pytest.raises(RetryLater):
        keys.find("authority-1", "2.0", JUST_NOW)
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    "odd",
    [
        {},
        {"kid": 7},
        {"kid": "odd", "kty": "EC"},
        jwk("odd", use="enc"),
        jwk("odd", n=None),
        jwk("odd", n=7),
        jwk("odd", n=""),
        jwk("odd", n="%%%"),
        jwk("odd", n="é"),
        jwk("odd", e=[]),
        jwk("odd", e=""),
        jwk("odd", n="AQAB", e="AQAB"),
        jwk("odd", kid=["odd"]),
    ],
)
def test_a_malformed_entry_does_not_affect_the_other_keys(keys: SigningKeys, login: Login, odd: dict[str, Any]) -> None:
    login.keys["1.0"] = [odd, *login.keys["1.0"], odd]
    assert keys.find("authority-1", "2.0", JUST_NOW).issuers == ISSUERS
    with pytest.raises(Refused):
        keys.find("odd", "2.0", JUST_NOW)


def test_an_authority_with_another_certificate_is_unavailable(
    server: Server, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    with requests.Session() as stranger, pytest.raises(RetryLater):
        SigningKeys(server.url, stranger, clock).find("authority-1", "2.0", JUST_NOW)
    assert server.asked == []


def test_threads_that_need_a_key_at_once_fetch_it_once(keys: SigningKeys, server: Server) -> None:
    found: list[object] = []
    threads = [
        threading.Thread(target=lambda: found.append(keys.find("authority-1", "2.0", JUST_NOW))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(server.asked) == ROUND


def test_the_pause_after_a_failure_begins_at_its_end() -> None:
    """A hanging authority takes longer than the pause: otherwise every waiting call would ask at once."""
    clock = Clock()
    login = InProcess(lambda _: HANGS, clock)
    keys = SigningKeys("https://login.example", login.mounted("https://login.example"), clock)
    for _ in range(5):
        clock.advance(seconds=1)
        with pytest.raises(RetryLater):
            keys.find("authority-1", "2.0", NOW)
    assert len(login.asked) == 1


def test_a_hanging_authority_delays_one_caller_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "LOCK_PATIENCE", timedelta(0))
    failures: list[RetryLater] = []

    def hangs(_: RecordedRequest) -> ScriptedResponse:
        with pytest.raises(NotAttempted) as meanwhile:  # another invocation
            finder.find("authority-1", "2.0", NOW)
        failures.append(meanwhile.value)
        return HANGS

    clock = Clock()
    finder = SigningKeys("https://login.example", InProcess(hangs, clock).mounted("https://login.example"), clock)
    with pytest.raises(RetryLater):
        finder.find("authority-1", "2.0", NOW)
    assert [failure.reason for failure in failures] == [Reason.SIGNING_KEYS]
