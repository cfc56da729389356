"""The feed's answers in JSON, and its whole numbers."""

from typing import Any

import msgspec
from starlette.responses import Response

LARGEST_POSITION = 2**63 - 1


def in_json(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Return an answer with this value."""
    return Response(msgspec.json.encode(value), status, headers, media_type="application/json")


def whole_number(text: str) -> int:
    """Return a number that SQLite can hold. Raises ValueError."""
    number = int(text)
    if not 0 <= number <= LARGEST_POSITION:
        raise ValueError(text)
    return number
