"""The app's outcome of every case matches the manifest; a changed expectation is detected."""

import base64
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import msgspec
import pytest

from shared.configuration.declaration import declaration_id
from shared.graph import client_state
from tests.vectors.receiver import App, Case, Outcome, Vectors, complaint

SEALED = ("data", "dataKey", "dataSignature")


@pytest.fixture(scope="session")
def outcomes(app: App, vectors: Vectors) -> dict[str, Outcome]:
    """The app's outcome of each case, by name."""
    return {case["name"]: app.outcome(case) for case in vectors.manifest["cases"]}


def test_the_app_passes_every_case(vectors: Vectors, outcomes: dict[str, Outcome]) -> None:
    complaints = {
        case["name"]: complaint(vectors, case["expected"], outcomes[case["name"]]) for case in vectors.manifest["cases"]
    }
    assert {name: what for name, what in complaints.items() if what} == {}


def test_every_other_expectation_is_contradicted(vectors: Vectors, outcomes: dict[str, Outcome]) -> None:
    believed = [
        (case["name"], wrong)
        for case in vectors.manifest["cases"]
        for wrong in wrong_expectations(case["expected"])
        if not complaint(vectors, wrong, outcomes[case["name"]])
    ]
    assert believed == []


@dataclass(frozen=True)
class AlteredVectors(Vectors):
    """The set with one octet of one file changed."""

    path: str = ""
    place: int = 0

    def read(self, path: str) -> bytes:
        octets = super().read(path)
        if path != self.path:
            return octets
        return octets[: self.place] + bytes([octets[self.place] ^ 1]) + octets[self.place + 1 :]


def test_no_octet_of_an_expected_text_can_be_changed(vectors: Vectors, outcomes: dict[str, Outcome]) -> None:
    believed = []
    for case in vectors.manifest["cases"]:
        for path in expected_files(case):
            for place in (0, len(vectors.read(path)) // 2, len(vectors.read(path)) - 1):
                altered = AlteredVectors(vectors.directory, path, place)
                if not complaint(altered, case["expected"], outcomes[case["name"]]):
                    believed.append((path, place))
    assert believed == []


def test_no_octet_of_what_proves_or_seals_an_item_can_be_changed(vectors: Vectors, app: App) -> None:
    (case,) = (case for case in vectors.manifest["cases"] if case["name"] == "rich-chat-message")
    body = vectors.read(case["request"]["body"])
    document = msgspec.json.decode(body)
    (item,), (token,) = document["value"], document["validationTokens"]
    believed = []
    for text in (token, item["clientState"], *(item["encryptedContent"][field] for field in SEALED)):
        first = body.index(text.encode())
        # The last characters of Base64 may hold bits without meaning.
        for place in range(first, first + len(text) - 4, len(text) // 5):
            altered = AlteredVectors(vectors.directory, case["request"]["body"], place)
            outcome = replace(app, vectors=altered).outcome(case)
            if not complaint(vectors, case["expected"], outcome):
                believed.append(place)
    assert believed == []


def test_client_states_are_those_that_the_app_would_mint(vectors: Vectors) -> None:
    """The generator imports nothing of the app: it follows the schema's description."""
    secret = base64.b64decode(vectors.manifest["clientStateSecret"])
    for subscription in vectors.manifest["subscriptions"]:
        random = base64.urlsafe_b64decode(subscription["clientState"].partition(".")[0] + "==")
        named = declaration_id(subscription["tenantId"], subscription["resource"])
        minted = client_state.mint(secret, subscription["tenantId"], named, partial(drawn, random))
        assert minted == subscription["clientState"]


def drawn(random: bytes, size: int) -> bytes:
    assert len(random) == size
    return random


def wrong_expectations(expected: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Return each way to change one value of an expectation."""
    yield {**expected, "status": [201]}
    if "body" in expected:
        yield {**expected, "contentType": "application/json"}
        return
    items = expected["items"]
    yield {**expected, "items": [*items, {"verdict": "accept"}]}
    for place, item in enumerate(items):
        yield {**expected, "items": items[:place] + items[place + 1 :]}
        for wrong in wrong_items(item):
            yield {**expected, "items": [*items[:place], wrong, *items[place + 1 :]]}


def wrong_items(item: dict[str, Any]) -> Iterator[dict[str, Any]]:
    verdicts = {"accept", "reject", "duplicate"} - {item["verdict"]}
    if item["verdict"] != "either":
        yield from ({**item, "verdict": verdict} for verdict in verdicts)
    if "reason" in item:
        yield {**item, "reason": "token" if item["reason"] != "token" else "content"}
        yield {**item, "detail": "token_issuer" if item["detail"] != "token_issuer" else "token_publisher"}
    if "lifecycleEvent" in item:
        yield {**item, "lifecycleEvent": "missed" if item["lifecycleEvent"] != "missed" else "subscriptionRemoved"}
    if "plainText" in item and item["verdict"] == "accept":
        yield {"verdict": "accept"}


def expected_files(case: Case) -> list[str]:
    """Return the paths of the expected outputs of a case."""
    expected = case["expected"]
    if "body" in expected:
        return [expected["body"]]
    return [item["plainText"] for item in expected["items"] if "plainText" in item]
