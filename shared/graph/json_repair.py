r"""JSON that is right by its grammar and still can't be read: strings that hold half of a surrogate pair.

A program that cuts a text in the middle of an emoji writes such strings; one of them must not cost its neighbours.
"""

import re
from itertools import islice

MOST_HALVES = 10_000
"""A text with more of them was not cut, it was made so; it stays as it is."""

_FIRST = rb"\\u[dD][89abAB][0-9a-fA-F]{2}"
_SECOND = rb"\\u[dD][c-fC-F][0-9a-fA-F]{2}"
_LONE_HALF = re.compile(rb"%b(?!%b)|%b(?<!%b%b)" % (_FIRST, _SECOND, _SECOND, _FIRST, _SECOND))


def repaired(text: bytes) -> bytes:
    """Return JSON with the replacement character for every half of a surrogate pair, and otherwise as it was.

    Goes through the text twice and builds nothing from it but a copy: whoever sends it may mean harm.
    """
    # Without the escaped backslashes, each of those that are left begins an escape.
    escapes = text.replace(rb"\\", b"\0\0")
    copy = bytearray(text)
    for half in islice(_LONE_HALF.finditer(escapes), MOST_HALVES):
        copy[half.start() : half.end()] = rb"\ufffd"
    return bytes(copy)
