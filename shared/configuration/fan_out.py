"""Validation of declarations that fan out over the members of a list (`forEach`)."""

from collections.abc import Sequence

from shared.configuration.values import InvalidValue
from shared.resources.member_sources import MemberSource, find_source, shown

MEMBER, PARENT = "{id}", "{parent}"
"""Placeholders in a template: the id of a member, and that of the member of the outer list."""


def check_fan_out(resource: str, sources: Sequence[str], *, read_back: bool) -> None:
    """Check the lists of a declaration, the outer one first, and its resource. Raises InvalidValue."""
    if not sources:
        if read_back or MEMBER in resource or PARENT in resource:
            raise InvalidValue("forEach: missing; expected a list, because {id}, {parent} and readBack need one")
        return
    if len(sources) > 2:
        raise InvalidValue("forEach: nested too deep; expected a list, or two: the second of each member of the first")
    kinds = [_kind(source) for source in sources]
    if MEMBER in sources[0]:
        raise InvalidValue("forEach: the first list contains {id}; expected the id itself, or two lists")
    if len(sources) > 1:
        _check_place("forEach: the second list", sources[1], MEMBER, kinds[0])
    _check_place("resource", resource, MEMBER, kinds[-1])
    if len(sources) > 1 and PARENT in resource:
        _check_place("resource", resource, PARENT, kinds[0])
    elif PARENT in resource:
        raise InvalidValue("resource: {parent} is the id of the outer member; expected two lists in forEach")


def _kind(source: str) -> MemberSource:
    kind = find_source(source) if source.isprintable() else None
    if kind is None:
        raise InvalidValue(f"forEach: {source[:100]!r} is none of {shown()}")
    return kind


def _check_place(name: str, path: str, place: str, kind: MemberSource) -> None:
    """Check that the placeholder is a whole segment, occurs once, and follows a collection of the kind of the
    members.
    """
    parts = path.partition("?")[0].strip("/").split("/")
    expected = " or ".join(f"{collection}/{place}" for collection in kind.within)
    if path.count(place) != 1 or place not in parts[1:]:
        raise InvalidValue(f"{name}: expected {expected} in it, once")
    before = parts[parts.index(place) - 1].lower()
    if before not in kind.within:
        raise InvalidValue(f"{name}: {place} stands behind {before}, and is of {kind.within[0]}; expected {expected}")
