"""The content of queue messages."""

import json
from xml.etree import ElementTree

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import Reason, Undeliverable
from shared.messages.envelope import (
    ChangeBatch,
    DeadLetter,
    Envelope,
    ItemBatch,
    LifecycleBatch,
    ReadbackPage,
    read,
    read_dead_letter,
    write,
)
from shared.messages.packing import sealed
from tests.builders import NOW, TENANT, lifecycle

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


@given(items)
def test_any_item_survives_the_queue_as_ascii_json(item: dict[str, object]) -> None:
    text = written(json.dumps(item, ensure_ascii=False).encode("utf-8"))
    assert text.isascii()
    message = ElementTree.fromstring(ElementTree.tostring(with_text(text))).text
    assert message == text
    back = read(message)
    assert isinstance(back, ChangeBatch)
    assert [json.loads(bytes(read_item)) for read_item in back.items] == [item]


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
def test_any_text_is_an_envelope_or_undeliverable(text: str) -> None:
    for reader in (read, read_dead_letter):
        with pytest.raises(Undeliverable) as undeliverable:
            reader(text)
        assert undeliverable.value.reason is Reason.MALFORMED


@pytest.mark.parametrize(
    "text",
    ["", "null", "{}", "[" * 100_000, '{"kind": "other", "received": "2031-02-03T04:05:06Z", "items": []}', "\ud800"],
    ids=lambda text: repr(text[:20]),
)
def test_what_this_app_did_not_write_is_undeliverable(text: str) -> None:
    with pytest.raises(Undeliverable):
        read(text)


def written(item: bytes) -> str:
    return write(ChangeBatch(NOW, (msgspec.Raw(sealed(msgspec.Raw(item), TENANT).text),)))


def written_or_escaped(content: ItemBatch | ReadbackPage | DeadLetter) -> str:
    text = write(content)
    assert text.isascii()
    return text


def with_text(text: str) -> ElementTree.Element:
    element = ElementTree.Element("MessageText")
    element.text = text
    return element
