r"""Repairs JSON strings with lone surrogates (`\uD83D` alone), which parsers reject although the grammar allows them.

A program that truncates a text within an emoji writes such strings; one of them must not make a whole body unreadable.
"""

import re
from itertools import islice

MAX_REPAIRS = 10_000
"""A text with more lone surrogates is an attack, not an accident; the rest is left unrepaired."""

_HIGH = rb"\\u[dD][89abAB][0-9a-fA-F]{2}"
_LOW = rb"\\u[dD][c-fC-F][0-9a-fA-F]{2}"
_LONE_SURROGATE = re.compile(rb"%b(?!%b)|%b(?<!%b%b)" % (_HIGH, _LOW, _LOW, _HIGH, _LOW))


def repaired(text: bytes) -> bytes:
    """Return JSON with every lone surrogate replaced by U+FFFD.

    Reads the text twice and makes one copy: anybody can send one, so the cost is bounded.
    """
    # Blank out escaped backslashes: each remaining backslash begins an escape.
    escapes = text.replace(rb"\\", b"\0\0")
    copy = bytearray(text)
    for match in islice(_LONE_SURROGATE.finditer(escapes), MAX_REPAIRS):
        copy[match.start() : match.end()] = rb"\ufffd"
    return bytes(copy)
