"""The messages of a tenant and their changes, which a relay must deliver (docs/graph.md, "Messages")."""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote

import msgspec

from graph_simulator.clock import iso_of_milliseconds, milliseconds
from graph_simulator.world import Person, Place

Message = dict[str, Any]


@dataclass(frozen=True)
class Change:
    """One change of a message, with the message right after it."""

    tenant: str
    kind: str
    """created, updated or deleted"""
    place: Place
    path: str
    message: bytes
    """UTF-8 JSON"""
    text: str
    """The text of the body."""
    mentioned: frozenset[str]
    """Ids of mentioned people."""


@dataclass
class Entry:
    """A message in its present state, and its place."""

    place: Place
    path: str
    root: str | None
    message: Message
    changed: int
    """Milliseconds since 1970 of the last change, strictly increasing."""


class Conversation:
    """All messages of one tenant. Each action passes its change to `on_change`."""

    def __init__(self, tenant: str, clock: Callable[[], datetime], on_change: Callable[[Change], None]) -> None:
        self._tenant = tenant
        self._clock = clock
        self._on_change = on_change
        self._entries: dict[str, Entry] = {}
        self._places: dict[str, list[Entry]] = {}
        self._bodies: dict[str, Message] = {}

    def __iter__(self) -> Iterator[Entry]:
        return iter(tuple(self._entries.values()))

    def __contains__(self, path: str) -> bool:
        return path in self._entries

    def entry(self, path: str) -> Entry:
        """Return a message's entry.

        Raises:
            KeyError: there is no message at `path`.
        """
        return self._entries[path]

    def at(self, place: Place) -> list[Entry]:
        """Return the messages of a place, replies included, oldest first."""
        return self._places.get(place.path, [])

    def post(self, place: Place, draft: Message, root: str | None = None, at: int | None = None) -> Entry:
        """Write a message (`draft`: the fields that its author sets), or a reply to `root`.

        Its id is the time of its creation in milliseconds, `at` or now: the next free one in the chat, among the
        channel's roots or below the root. So replies below two roots may share an id
        (docs/graph.md, "Resource strings").
        """
        moment = milliseconds(self._clock()) if at is None else at
        while (path := message_path(place, str(moment), root)) in self._entries:
            moment += 1
        entry = Entry(place, path, root, _new_message(place, str(moment), root, draft), moment)
        self._entries[path] = entry
        self._places.setdefault(place.path, []).append(entry)
        self._tell("created", entry)
        return entry

    def edit(self, path: str, body: Message, mentions: list[Message] | None = None) -> Entry:
        """Change the text of a message."""
        entry = self._entries[path]
        moment = self._touch(entry)
        entry.message.update(body=body, mentions=mentions or [], lastEditedDateTime=iso_of_milliseconds(moment))
        return self._tell("updated", entry)

    def preview(self, path: str, attachment: Message) -> Entry:
        """Add an attachment that the service itself creates, such as the preview of a link."""
        entry = self._entries[path]
        self._touch(entry)
        entry.message["attachments"] = [*entry.message["attachments"], attachment]
        return self._tell("updated", entry)

    def delete(self, path: str) -> Entry:
        """Delete softly: the message remains, without its content."""
        entry = self._entries[path]
        moment = self._touch(entry)
        self._bodies[path] = {name: entry.message[name] for name in ("body", "attachments", "mentions")}
        entry.message.update(
            body={"contentType": entry.message["body"]["contentType"], "content": ""},
            attachments=[],
            mentions=[],
            deletedDateTime=iso_of_milliseconds(moment),
        )
        return self._tell("deleted", entry)

    def restore(self, path: str) -> Entry:
        """Undo a deletion."""
        entry = self._entries[path]
        self._touch(entry)
        entry.message.update(self._bodies.pop(path), deletedDateTime=None)
        return self._tell("updated", entry)

    def react(self, path: str, person: Person, reaction: str) -> Entry:
        """Add a person's reaction, or remove it if present; the text stays the same."""
        entry = self._entries[path]
        moment = iso_of_milliseconds(self._touch(entry))
        reactions = entry.message["reactions"]
        kept = [
            other
            for other in reactions
            if other["user"]["user"]["id"] != person.id or other["reactionType"] != reaction
        ]
        added = {
            "reactionType": reaction,
            "displayName": reaction.title() if reaction.isascii() else None,
            "reactionContentUrl": None,
            "createdDateTime": moment,
            "user": {
                "application": None,
                "device": None,
                "user": {"id": person.id, "displayName": None, "userIdentityType": "aadUser"},
            },
        }
        removed = len(kept) < len(reactions)
        entry.message["reactions"] = kept if removed else [*reactions, added]
        action = "reactionRemoved" if removed else "reactionAdded"
        history = {"modifiedDateTime": moment, "actions": action, "reaction": added}
        entry.message["messageHistory"] = [*entry.message["messageHistory"], history]
        return self._tell("updated", entry)

    def _touch(self, entry: Entry) -> int:
        """Advance a message's version, by a millisecond at least; return the new time."""
        entry.changed = max(milliseconds(self._clock()), entry.changed + 1)
        entry.message.update(lastModifiedDateTime=iso_of_milliseconds(entry.changed), etag=str(entry.changed))
        return entry.changed

    def _tell(self, kind: str, entry: Entry) -> Entry:
        encoded = msgspec.json.encode(entry.message)
        text = entry.message["body"]["content"]
        mentioned = frozenset(mention["mentioned"]["user"]["id"] for mention in entry.message["mentions"])
        self._on_change(Change(self._tenant, kind, entry.place, entry.path, encoded, text, mentioned))
        return entry


def message_path(place: Place, message_id: str, root: str | None = None) -> str:
    """Return a message's own path, ids raw."""
    if root is None:
        return f"{place.path}/messages/{message_id}"
    return f"{place.path}/messages/{root}/replies/{message_id}"


def _new_message(place: Place, message_id: str, root: str | None, draft: Message) -> Message:
    created = iso_of_milliseconds(int(message_id))
    set_path = "/".join(quote(part, safe="") for part in place.path.split("/"))
    identity = {"teamId": place.team, "channelId": place.channel} if place.team else None
    return {
        "@odata.context": f"https://graph.microsoft.com/$metadata#{set_path}/messages/$entity",
        "id": message_id,
        "replyToId": root,
        "etag": message_id,
        "messageType": "message",
        "createdDateTime": created,
        "lastModifiedDateTime": created,
        "lastEditedDateTime": None,
        "deletedDateTime": None,
        "subject": None,
        "summary": None,
        "chatId": place.chat,
        "importance": "normal",
        "locale": "en-us",
        "webUrl": None,
        "channelIdentity": identity,
        "policyViolation": None,
        "eventDetail": None,
        "from": None,
        "body": {"contentType": "text", "content": ""},
        "attachments": [],
        "mentions": [],
        "reactions": [],
        "messageHistory": [],
        "replies": [],
        "hostedContents": [],
        **copy.deepcopy(draft),
    }
