"""Drafts of messages as people write them: plain, with mentions or attachments, long; and the service's messages."""

import html
import random
import uuid
from typing import Any

from graph_simulator import prose
from graph_simulator.world import Person, Place, World

Draft = dict[str, Any]

LONG = 20_000
HUGE = 110_000
SYSTEM_EVENT = "<systemEventMessage/>"


def sender(person: Person, tenant: str) -> Draft:
    """Return the `from` of a message."""
    user = {"id": person.id, "displayName": person.name, "userIdentityType": "aadUser", "tenantId": tenant}
    return {"application": None, "device": None, "user": user}


def plain(text: str) -> Draft:
    """Return a body of plain text."""
    return {"contentType": "text", "content": text}


def markup(content: str) -> Draft:
    """Return a body of HTML."""
    return {"contentType": "html", "content": content}


def draft(world: World, place: Place, chance: random.Random, answer: bool = False) -> Draft:
    """Return a draft for a place; `answer`: the draft is a reply."""
    person = chance.choice(place.members)
    if not answer and chance.random() < 0.02:
        return system_event(person, chance.choice(place.members), place)
    text = prose.reply(chance) if answer else prose.sentence(chance)
    return {"from": sender(person, world.tenant), "body": plain(text)} | _embellishment(text, place, chance, answer)


def _embellishment(text: str, place: Place, chance: random.Random, answer: bool) -> Draft:
    """Return additions to plain text: a mention, an attachment; most often nothing."""
    kind = chance.random()
    embellished: Draft = {}
    if kind < 0.12:
        embellished = mention(text, chance.choice(place.members))
    elif kind < 0.20:
        embellished = attachment(text, chance)
    elif kind < 0.22:
        embellished = {"body": markup(_paragraphs(prose.report(chance, LONG + chance.randrange(LONG))))}
    elif kind < 0.222:
        embellished = {"body": plain(prose.report(chance, HUGE))}
    elif kind < 0.26:
        embellished = {"importance": chance.choice(("high", "urgent"))}
    elif kind < 0.32 and place.team and not answer:
        embellished = {"subject": chance.choice(prose.SUBJECTS).capitalize()}
    return embellished


def mention(text: str, person: Person) -> Draft:
    """Return body and mentions that address a person; such a message is always HTML."""
    mentioned = {"application": None, "device": None, "conversation": None, "tag": None,
                 "user": {"id": person.id, "displayName": person.name, "userIdentityType": "aadUser"}}  # fmt: skip
    content = f'<p><at id="0">{html.escape(person.name)}</at>&nbsp;{html.escape(text)}</p>'
    return {
        "body": markup(content),
        "mentions": [{"id": 0, "mentionText": person.name, "mentioned": mentioned}],
    }


def attachment(text: str, chance: random.Random) -> Draft:
    """Return body and attachments of a message with a file."""
    file = _file(chance, chance.choice(("calibration.pdf", "balcony.jpg", "渡し船.xlsx", "parts list.docx")))
    content = f'<p>{html.escape(text)}</p><attachment id="{file["id"]}"></attachment>'
    return {"body": markup(content), "attachments": [file]}


def link_preview(chance: random.Random) -> Draft:
    """Return the card that the service adds for a link some moments after a message was sent."""
    card = _file(chance, None)
    return card | {
        "contentType": "application/vnd.microsoft.card.thumbnail",
        "contentUrl": None,
        "content": '{"title":"Tides and winds","text":"The harbour, tomorrow"}',
    }


def system_event(initiator: Person, member: Person, place: Place) -> Draft:
    """Return a message of the service itself: a member was added, a topic changed."""
    who = {"application": None, "device": None, "user": {"id": initiator.id, "displayName": None}}
    detail: Draft = {"@odata.type": "#microsoft.graph.membersAddedEventMessageDetail",
                     "visibleHistoryStartDateTime": "0001-01-01T00:00:00Z", "initiator": who,
                     "members": [{"id": member.id, "displayName": None}]}  # fmt: skip
    if place.chat:
        detail = {"@odata.type": "#microsoft.graph.chatRenamedEventMessageDetail", "chatId": place.chat,
                  "chatDisplayName": place.title, "initiator": who}  # fmt: skip
    return {"messageType": "systemEventMessage", "body": markup(SYSTEM_EVENT), "eventDetail": detail}


def edited(body: Draft, chance: random.Random) -> Draft:
    """Return a body with an added remark."""
    addendum = chance.choice(prose.ADDENDA)
    if body["contentType"] == "html":
        return markup(f"{body['content']}<p>{html.escape(addendum)}</p>")
    return plain(f"{body['content']} {addendum}")


def _paragraphs(text: str) -> str:
    return "".join(f"<p>{html.escape(paragraph)}</p>" for paragraph in text.split("\n"))


def _file(chance: random.Random, name: str | None) -> Draft:
    return {
        "id": str(uuid.UUID(int=chance.getrandbits(128), version=4)),
        "contentType": "reference",
        "contentUrl": f"https://example.org/files/{name}",
        "content": None,
        "name": name,
        "thumbnailUrl": None,
        "teamsAppId": None,
    }
