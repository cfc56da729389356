"""Unpaired surrogates are replaced; everything else stays the same, byte for byte."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shared.graph.json_repair import MAX_REPAIRS, repaired

HALF = r"\ud83d"
pieces = st.sampled_from(
    [
        "\\\\",
        "\\\\\\\\",
        r"\ud83d",
        r"\uD83D",
        r"\ude00",
        r"\uDE00",
        r"\udfff",
        r"\ud800",
        "ud83d",
        "u",
        "d",
        "é",
        "🎈",
        r"\"",
        r"\n",
        r"\u0041",
        r"\\u",
        "\N{REPLACEMENT CHARACTER}",
    ]
)
strings = st.lists(pieces, max_size=12).map("".join)


def whole(value: Any) -> Any:
    """Return what Python reads, which allows unpaired surrogates, with the replacement character for each."""
    match value:
        case str():
            return "".join("\ufffd" if "\ud800" <= character <= "\udfff" else character for character in value)
        case list():
            return [whole(part) for part in value]
        case dict():
            return {whole(name): whole(part) for name, part in value.items()}
    return value


@given(strings, strings)
@example(r"\ud83d\ude00", r"\\ud83d")
@example(r"\ud83d\ud83d\ude00\ude00", r"\\\ud83d\\\ude00")
@example(r"\ud83d\\\ude00", "\\\\ud83d\\ude00")
def test_each_half_is_replaced_and_each_pair_stays(name: str, value: str) -> None:
    text = f'{{"n{name}": ["{value}", 1.50, 1e999, null]}}'.encode()
    assert json.loads(repaired(text)) == whole(json.loads(text))
    assert len(repaired(text)) == len(text)
    msgspec.json.decode(repaired(text).replace(b"1e999", b"1"))


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists).map(json.dumps))
def test_what_holds_no_half_stays_as_it_was(text: str) -> None:
    assert repaired(text.encode()) == text.encode()


@given(st.binary())
@example(b"\\ud83d")
@example(b"\\")
def test_any_bytes_stay_as_long_as_they_were(text: bytes) -> None:
    assert len(repaired(text)) == len(text)


@given(strings)
def test_what_is_repaired_needs_no_more_of_it(value: str) -> None:
    once = repaired(f'"{value}"'.encode())
    assert repaired(once) == once


@pytest.mark.parametrize("halves", [MAX_REPAIRS, MAX_REPAIRS + 1])
def test_a_text_made_of_halves_is_not_repaired_beyond_a_limit(halves: int) -> None:
    text = repaired(f'"{HALF * halves}"'.encode())
    assert text.count(rb"\ufffd") == min(halves, MAX_REPAIRS)
