"""Paths of resources in Graph's many spellings (docs/graph.md, "Resource strings")."""

from urllib.parse import quote

from hypothesis import given
from hypothesis import strategies as st

from shared.resources.path import encoded, segments

raw_ids = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


@given(st.lists(st.tuples(st.sampled_from(["chats", "messages", "users"]), raw_ids), min_size=1, max_size=4))
def test_quoted_and_plain_spellings_have_the_same_parts(pairs: list[tuple[str, str]]) -> None:
    parts = tuple(part for pair in pairs for part in pair)
    quoted = "/".join(f"{name}('{quote(key, safe='').replace(chr(39), chr(39) * 2)}')" for name, key in pairs)
    assert segments(quoted) == segments("/" + encoded(parts)) == parts


def test_a_quote_in_an_id_is_doubled_in_quotes() -> None:
    assert segments("users('o''brien')/messages('a/b')") == ("users", "o'brien", "messages", "a/b")


@given(st.text())
def test_any_text_is_split_and_can_stand_in_a_url(text: str) -> None:
    assert encoded(segments(text)).isascii()


def test_a_long_hostile_path_is_split_at_once() -> None:
    for unit in ("a", "('", "a('", "')", "/", "''"):
        segments(unit * 300_000)
