"""What lies on the queue."""

import json
from collections import Counter
from itertools import pairwise
from xml.etree import ElementTree

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import Reason, Undeliverable
from shared.messages.envelope import (
    MESSAGE_LIMIT,
    ChangeBatch,
    DeadLetter,
    Envelope,
    ItemBatch,
    LifecycleBatch,
    ReadbackPage,
    Sealed,
    pack,
    read,
    read_dead_letter,
    sealed,
    write,
)
from tests.builders import NOW, OTHER_TENANT, TENANT, change, lifecycle, rich

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
items = st.dictionaries(st.text(), json_values, max_size=4)
tenants = st.sampled_from([TENANT, OTHER_TENANT, "third"])
posts = st.lists(st.tuples(items, tenants), max_size=15)
token_texts = st.text("abcXYZ019-_.", min_size=1, max_size=200)
token_pairs = st.lists(st.tuples(tenants, token_texts), max_size=6)
limits = st.integers(200, 4000)


def packed(
    post: list[tuple[dict[str, object], str]], tokens: list[tuple[str, str]] | None, limit: int
) -> list[tuple[ChangeBatch, list[Sealed]]]:
    """Envelopes, each with the sealed items that it should hold."""
    desired = [sealed(msgspec.Raw(json.dumps(item, ensure_ascii=False).encode()), tenant) for item, tenant in post]
    envelopes = pack(ChangeBatch, NOW, desired, tokens, limit)
    left = iter(desired)
    return [(envelope, [next(left) for _ in envelope.items]) for envelope in envelopes]


@given(posts, token_pairs, limits)
def test_packing_loses_nothing_adds_nothing_and_keeps_the_order(
    post: list[tuple[dict[str, object], str]], tokens: list[tuple[str, str]], limit: int
) -> None:
    held = [bytes(item) for envelope, _ in packed(post, tokens, limit) for item in envelope.items]
    assert [json.loads(item) for item in held] == [item for item, _ in post]


@given(posts, token_pairs | st.none(), limits)
def test_only_an_envelope_of_a_single_item_exceeds_the_limit(
    post: list[tuple[dict[str, object], str]], tokens: list[tuple[str, str]] | None, limit: int
) -> None:
    for envelope, _ in packed(post, tokens, limit):
        assert envelope.items
        assert len(write(envelope)) <= limit or len(envelope.items) == 1


@given(posts, token_pairs, limits)
def test_an_envelope_has_the_tokens_of_exactly_its_items_tenants(
    post: list[tuple[dict[str, object], str]], tokens: list[tuple[str, str]], limit: int
) -> None:
    for envelope, held in packed(post, tokens, limit):
        speaking = {one.tenant for one in held}
        assert envelope.tokens is not None
        assert Counter(envelope.tokens) == Counter(token for tenant, token in tokens if tenant in speaking)


@given(posts)
def test_that_graph_got_no_token_is_kept_in_every_envelope(post: list[tuple[dict[str, object], str]]) -> None:
    assert all(envelope.tokens is None for envelope, _ in packed(post, None, 500))


@given(posts, token_pairs, limits)
def test_no_two_neighbours_would_have_fitted_into_one(
    post: list[tuple[dict[str, object], str]], tokens: list[tuple[str, str]], limit: int
) -> None:
    envelopes = packed(post, tokens, limit)
    for (_, one), (_, following) in pairwise(envelopes):
        (both,) = pack(ChangeBatch, NOW, [*one, following[0]], tokens, 10**9)
        assert len(write(both)) > limit - 2  # the estimate counts a comma too many, of items and of tokens


@given(items)
def test_any_item_survives_the_queue_equal_as_json_in_ascii_that_xml_can_hold(item: dict[str, object]) -> None:
    text = written(json.dumps(item, ensure_ascii=False).encode("utf-8"))
    assert text.isascii()
    message = ElementTree.fromstring(ElementTree.tostring(with_text(text))).text
    assert message == text
    back = read(message)
    assert isinstance(back, ChangeBatch)
    assert [json.loads(bytes(one)) for one in back.items] == [item]


@pytest.mark.parametrize("between", [b" ", b"\t", b"\r\n", b"\n"])
def test_whitespace_between_tokens_that_xml_changes_changes_no_item(between: bytes) -> None:
    text = written(between.join([b'{"a":', b'"\xc3\xa9"', b"}"]))
    message = ElementTree.fromstring(ElementTree.tostring(with_text(text))).text
    assert message is not None
    back = read(message)
    assert isinstance(back, ChangeBatch)
    assert json.loads(bytes(back.items[0])) == {"a": "é"}


def test_numbers_and_spelling_survive_untouched() -> None:
    item = b'{"n": 1.50, "big": 12345678901234567890123, "e": "\\u00e9", "deep": [[[{}]]]}'
    back = read(written(item))
    assert isinstance(back, ChangeBatch)
    assert bytes(back.items[0]) == item


def test_a_post_of_a_thousand_items_makes_few_messages_within_the_limit() -> None:
    desired = [sealed(msgspec.Raw(msgspec.json.encode(change())), TENANT) for _ in range(1000)]
    envelopes = pack(ChangeBatch, NOW, desired, [(TENANT, "x" * 1500)])
    total = sum(len(write(envelope)) for envelope in envelopes)
    assert all(len(write(envelope)) <= MESSAGE_LIMIT for envelope in envelopes)
    assert len(envelopes) <= total // (MESSAGE_LIMIT * 0.9) + 1


def test_forty_rich_notifications_cost_four_messages_at_most() -> None:
    desired = [sealed(msgspec.Raw(msgspec.json.encode(rich())), TENANT) for _ in range(40)]
    assert len(pack(ChangeBatch, NOW, desired, [(TENANT, "x" * 1500)])) <= 4


@pytest.mark.parametrize(
    "envelope",
    [
        ChangeBatch(NOW, (msgspec.Raw(b"{}"),), ("a.b.c",), 3),
        ChangeBatch(NOW, (), None),
        LifecycleBatch(NOW, (msgspec.Raw(msgspec.json.encode(lifecycle())),)),
        ReadbackPage(
            NOW, TENANT, "chats/getAllMessages", NOW, NOW, "https://graph.microsoft.com/v1.0/x?$skiptoken=é", 2
        ),
    ],
    ids=lambda envelope: type(envelope).__name__,
)
def test_what_was_written_is_read(envelope: Envelope) -> None:
    assert read(written_or_escaped(envelope)) == envelope
    dead = DeadLetter(Reason.KEY_UNKNOWN, NOW, envelope)
    assert read_dead_letter(written_or_escaped(dead)) == dead


@given(st.text())
def test_any_text_is_an_envelope_or_unreadable(text: str) -> None:
    for reader in (read, read_dead_letter):
        with pytest.raises(Undeliverable) as undeliverable:
            reader(text)
        assert undeliverable.value.reason is Reason.MALFORMED


@pytest.mark.parametrize(
    "text",
    ["", "null", "{}", "[" * 100_000, '{"kind": "other", "received": "2031-02-03T04:05:06Z", "items": []}', "\ud800"],
    ids=lambda text: repr(text[:20]),
)
def test_what_this_app_did_not_write_is_unreadable(text: str) -> None:
    with pytest.raises(Undeliverable):
        read(text)


def written(item: bytes) -> str:
    return write(ChangeBatch(NOW, (msgspec.Raw(sealed(msgspec.Raw(item), TENANT).item),)))


def written_or_escaped(content: ItemBatch | ReadbackPage | DeadLetter) -> str:
    text = write(content)
    assert text.isascii()
    return text


def with_text(text: str) -> ElementTree.Element:
    element = ElementTree.Element("MessageText")
    element.text = text
    return element
