r"""JSON that is right by its grammar and still can't be read: strings that hold half of a surrogate pair.

A program that cuts a text in the middle of an emoji writes such strings; one of them must not cost its neighbours.
"""

import re

# `\u` counts as an escape after an even number of backslashes only.
_LONE_FIRST_HALF = re.compile(rb"(?<!\\)((?:\\\\)*)\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])")
_LONE_SECOND_HALF = re.compile(rb"(?<!\\u[dD][89abAB][0-9a-fA-F]{2})(?<!\\)((?:\\\\)*)\\u[dD][c-fC-F][0-9a-fA-F]{2}")
_REPLACEMENT = rb"\1\\ufffd"


def mended(text: bytes) -> bytes:
    """Return JSON with the replacement character for every half of a surrogate pair, and otherwise as it was.

    Reads the text twice and builds nothing from it: whoever sends it may mean harm.
    """
    return _LONE_SECOND_HALF.sub(_REPLACEMENT, _LONE_FIRST_HALF.sub(_REPLACEMENT, text))
