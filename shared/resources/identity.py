"""The one identity of a resource, however Graph or a declaration names it (docs/graph.md, "Resource strings").

A notification, a declaration, a page that was read back and the resource itself name a thing in different ways: a
mail with or without its folder, a mailbox with or without its tenant, a drive below its site. Here each becomes the
same canonical path. Everything that compares, counts or orders resources compares identities, never spellings.
"""

import base64
import binascii
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from shared.resources.item_types import ITEM_TYPES, ItemType
from shared.resources.path import encoded, has_dot_segments, relative, segments, without_named_keys


@dataclass(frozen=True)
class Identity:
    """What a resource is: the raw parts of its canonical path. Equal for every way to name it.

    type: its row; None if there is none. ids: what the path says, by the names of the table: also the folder or the
    user that the identity leaves out.
    """

    parts: tuple[str, ...]
    type: ItemType | None = field(default=None, compare=False)
    ids: Mapping[str, str] = field(default_factory=dict, compare=False)

    @property
    def kind(self) -> str:
        """What it is, such as `ChatMessage`; "" for an unknown one."""
        return self.type.kind if self.type else ""

    @property
    def subject(self) -> str:
        """The canonical path relative to the Graph root, ids raw."""
        return "/".join(self.parts)

    @property
    def collection(self) -> str:
        """The path of what it is in, ids percent-encoded."""
        return encoded(self.parts[:-1])


@lru_cache(maxsize=4096)
def identify(path: str) -> Identity:
    """Return the identity of what a path names, in whichever of Graph's notations; `kind` is "" for an unknown one."""
    parts = _without_detours(segments(without_named_keys(relative(path))))
    for item_type, template in _BY_LENGTH.get(len(parts), ()):
        ids = _bound(template, parts)
        if ids is not None:
            return _rendered(item_type, ids)
    return Identity(tuple(_canonical_part(number, parts) for number in range(len(parts))))


def identify_entry(place: str, entry_id: str) -> Identity | None:
    """Return the identity of an entry in a declared resource, by its own id; None if the place does not say enough.

    A Teams message says itself where it is.
    """
    found = [(item_type, ids) for item_type, ids in _scope(place) if item_type.kind not in _NAME_THEIR_PLACE]
    if not entry_id or len(found) != 1 or has_dot_segments((*segments(place), entry_id)):
        return None
    item_type, ids = found[0]
    own = _PLACEHOLDER.findall(item_type.path)[-1]
    if set(_PLACEHOLDER.findall(item_type.path)) - ids.keys() - {own}:
        return None
    return _rendered(item_type, {**ids, own: _canonical_id(own, entry_id)})


def belongs(declared: str, item: Identity) -> bool | None:
    """Return whether a resource is of what is declared, by its whole path; None if the path does not say.

    A user principal name tells nothing about a GUID: resolve it first (`shared/graph/resolver.py`).
    """
    scope = _scope(declared)
    if item.type is None or not scope:
        return None
    return next((_agree(ids, item.ids) for item_type, ids in scope if item_type is item.type), False)


@lru_cache(maxsize=32_768)  # called for each declaration in each run
def kinds_in(declared: str) -> frozenset[str]:
    """Return the kinds of resources that a subscription to `declared` notifies of; none if it is not known."""
    return frozenset(item_type.kind for item_type, _ in _scope(declared))


def read_path(item: Identity, declared: str = "") -> str | None:
    """Return the path by which Graph is asked for a resource of what is declared; None if neither says.

    A mail of a declared folder is read in that folder: it may have been moved out of it. A transcript is read below
    the organizer of its meeting: whom the path or the declaration names, or else the id of the meeting.
    """
    named = next((ids for _, ids in _scope(declared)), {})
    if item.type is None:
        return None
    if item.kind == "Message" and "folder" in named:
        return encoded(("users", item.ids["user"], "mailFolders", named["folder"], "messages", item.parts[-1]))
    if not item.type.read:
        return encoded(item.parts)
    user = named.get("user") or item.ids.get("user") or _organizer(item.ids.get("meeting", ""))
    return encoded(tuple(_fill(item.type.read, {**item.ids, "user": user})) if user else item.parts)


def _organizer(meeting: str) -> str | None:
    """Return the GUID of a meeting's organizer; its id is Base64 of `1*{GUID}*0**{thread}` (reported)."""
    try:
        text = base64.b64decode(meeting + "=" * (-len(meeting) % 4), validate=True).decode()
    except (binascii.Error, ValueError):
        return None
    found = re.match(rf"1\*({_GUID})\*", text, re.IGNORECASE)
    return found[1].lower() if found else None


@lru_cache(maxsize=4096)
def _scope(declared: str) -> tuple[tuple[ItemType, Mapping[str, str]], ...]:
    """Return the types that a declared path stands for, each with the ids that the path names."""
    parts = _without_detours(segments(without_named_keys(relative(declared).partition("?")[0])))
    words = tuple(part.partition("(")[0] if _IS_FUNCTION.match(part) else part for part in parts)
    found = []
    for item_type, template in _DECLARED.get(len(words), ()):
        ids = _bound(template, words)
        if ids is not None:
            found.append((item_type, ids))
    return tuple(found)


def _bound(template: tuple[str, ...], parts: tuple[str, ...]) -> dict[str, str] | None:
    """Return the ids in a path, by their names in a template that it fits; None if it does not."""
    ids: dict[str, str] = {}
    for word, part in zip(template, parts, strict=True):
        if word.startswith("{"):
            if not part or _IS_FUNCTION.match(part):
                return None
            ids[word[1:-1]] = _canonical_id(word[1:-1], part)
        elif word != part.lower():
            return None
    return ids


def _rendered(item_type: ItemType, ids: Mapping[str, str]) -> Identity:
    return Identity(tuple(_fill(item_type.path, ids)), item_type, ids)


def _fill(template: str, ids: Mapping[str, str]) -> Iterator[str]:
    for word in template.split("/"):
        yield ids[word[1:-1]] if word.startswith("{") else word


def _agree(declared: Mapping[str, str], named: Mapping[str, str]) -> bool | None:
    """Whether two paths name the same ids wherever both name one."""
    both = declared.keys() & named.keys()
    different = [name for name in both if _comparable(name, declared[name]) != _comparable(name, named[name])]
    if not different:
        return True
    aliased = [name for name in different if name == "user" and ("@" in declared[name]) != ("@" in named[name])]
    return None if aliased == different else False


def _comparable(name: str, value: str) -> str:
    """Ids are case-sensitive, but for those of the directory and of Teams."""
    return value.casefold() if name in ("user", "team", "chat", "channel", "group") else value


def _canonical_id(name: str, raw: str) -> str:
    """Write an id as it is always written here: GUIDs in lower case, a mailbox without its tenant."""
    if _GUID_FORM.fullmatch(raw) or _SITE_FORM.fullmatch(raw):
        return raw.lower()
    if name == "user":
        guid, at, tenant = raw.partition("@")
        if at and _GUID_FORM.fullmatch(guid) and _GUID_FORM.fullmatch(tenant):
            return guid.lower()
        return raw.lower() if at else raw
    return raw.lower() if name == "folder" and _WELL_KNOWN_FOLDER.fullmatch(raw) else raw


def _canonical_part(number: int, parts: tuple[str, ...]) -> str:
    """A part of an unknown path: names hold letters only and come in any case; ids hold digits."""
    part = parts[number]
    if part.isascii() and part.isalpha():
        return part.lower()
    return _canonical_id("user" if number and parts[number - 1].lower() == "users" else "", part)


def _without_detours(parts: tuple[str, ...]) -> tuple[str, ...]:
    """Drop the folders above a folder, and the group of a calendar: the last one alone has an id of its own."""
    if not any(part.lower() in ("childfolders", "calendargroups") for part in parts):
        return parts
    kept: list[str] = []
    for part in parts:
        kept.append(part)
        match [word.lower() for word in kept[-4:]]:
            case ["mailfolders" | "contactfolders", _, "childfolders", _]:
                kept[-3:] = [part]
            case ["calendargroups", _, "calendars", _]:
                kept[-4:] = kept[-2:]
    return tuple(kept)


_PLACEHOLDER = re.compile(r"\{(\w+)\}")
_GUID = r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}"
_GUID_FORM = re.compile(_GUID, re.IGNORECASE)
_SITE_FORM = re.compile(rf"[^,/]+,{_GUID},{_GUID}", re.IGNORECASE)
_WELL_KNOWN_FOLDER = re.compile(r"[a-z]{1,30}", re.IGNORECASE)
_IS_FUNCTION = re.compile(r"getall|getevents|getattendance|delta(?:\(|$)|microsoft\.graph\.|\$|\w+\(", re.IGNORECASE)
"""A segment that is called, or counts: no id."""

_NAME_THEIR_PLACE = frozenset({"ChatMessage"})


def _by_length(pairs: Iterator[tuple[ItemType, str]]) -> dict[int, list[tuple[ItemType, tuple[str, ...]]]]:
    found: dict[int, list[tuple[ItemType, tuple[str, ...]]]] = {}
    for item_type, path in pairs:
        template = tuple(path.split("/"))
        found.setdefault(len(template), []).append((item_type, template))
    return found


_BY_LENGTH = _by_length(
    (item_type, path) for item_type in ITEM_TYPES for path in (item_type.path, *item_type.spellings)
)
_DECLARED = _by_length((item_type, path) for item_type in ITEM_TYPES for path in item_type.declared)
