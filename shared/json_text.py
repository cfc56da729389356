"""JSON that is right by its grammar and still can't be read: strings that hold half of a surrogate pair.

A program that cuts a text in the middle of an emoji writes such strings; one of them must not cost its neighbours.
"""

import json


def mended(text: bytes) -> bytes:
    """Return `text`, UTF-8 JSON, with a question mark for every half of a surrogate pair.

    Raises ValueError, RecursionError if it isn't JSON at all.
    """
    return json.dumps(json.loads(text), ensure_ascii=False).encode("utf-8", "replace")
