"""The path of a resource, in any of Graph's notations (docs/graph.md, "Resource strings")."""

import re
from functools import lru_cache
from urllib.parse import quote, unquote

_SEGMENT = re.compile(r"([^/(]+)\('((?:[^']|'')*)'\)|([^/]+)")


def segments(resource: str) -> tuple[str, ...]:
    """Split a path, `messages('1')` or `messages/1`, with or without a leading slash or a query, into raw parts."""
    parts: list[str] = []
    for name, key, plain in _SEGMENT.findall(resource.partition("?")[0]):
        parts += [name, unquote(key.replace("''", "'"))] if name else [unquote(plain)]
    return tuple(parts)


@lru_cache(maxsize=4096)
def encoded(parts: tuple[str, ...]) -> str:
    """Join raw parts to a percent-encoded path."""
    return "/".join(quote(part, safe="") for part in parts)


def with_query(path: str, query: str) -> str:
    """Append a query, if there is one."""
    return f"{path}?{query}" if query else path


def has_dot_segments(parts: tuple[str, ...]) -> bool:
    """Whether a path of these raw parts contains `.` or `..`, which an HTTP client resolves before it sends."""
    return any(part in (".", "..") for part in parts)


def relative(path: str) -> str:
    """Return a path below the Graph root: `@odata.id` may be a whole URL, or begin with the version of the API."""
    found = _ROOT.match(path)
    return path[found.end() :] if found else path


def without_named_keys(path: str) -> str:
    """Write `name(key='value')` as `name('value')`, with what could be taken for a path in it percent-encoded."""
    return _NAMED_KEY.sub(lambda found: f"{found[1]}('{quote(unquote(found[2]), safe='')}')", path)


_ROOT = re.compile(r"(?:https://[^/?]+)?/*(?:v1\.0|beta)/", re.IGNORECASE)

_NAMED_KEY = re.compile(r"\b((?!get)\w+)\(\w+='((?:[^']|'')*)'\)", re.IGNORECASE)
