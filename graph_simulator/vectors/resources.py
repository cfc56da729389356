"""Resources as Graph returns them: the decrypted contents of the vectors, and their paths in notifications."""

from typing import Any

from graph_simulator.vectors.case import to_json
from graph_simulator.vectors.derivation import Draw
from graph_simulator.vectors.world import World

CHAT_MESSAGE = "#Microsoft.Graph.ChatMessage"


def message(draw: Draw, chat: str, text: str = "Hello", **changes: Any) -> dict[str, Any]:
    """Return a message of a chat, different each time, with `changes`."""
    message_id = f"19{draw.digits(11)}"
    return {
        "@odata.context": f"https://graph.microsoft.com/$metadata#chats('{chat}')/messages/$entity",
        "id": message_id,
        "replyToId": None,
        "etag": message_id,
        "messageType": "message",
        "createdDateTime": "2031-02-03T04:05:01.25Z",
        "lastModifiedDateTime": "2031-02-03T04:05:01.25Z",
        "lastEditedDateTime": None,
        "deletedDateTime": None,
        "subject": None,
        "summary": None,
        "chatId": chat,
        "importance": "normal",
        "locale": "en-us",
        "webUrl": None,
        "channelIdentity": None,
        "policyViolation": None,
        "eventDetail": None,
        "from": {"application": None, "device": None,
                 "user": {"id": draw.guid(), "displayName": "Ada", "userIdentityType": "aadUser"}},
        "body": {"contentType": "text", "content": text},
        "attachments": [],
        "mentions": [],
        "reactions": [],
        "replies": [],
        "hostedContents": [],
        **changes,
    }  # fmt: skip


def channel_message(draw: Draw, world: World, root: str | None = None, channel: str = "") -> dict[str, Any]:
    """Return a message of a channel, or a reply to `root`."""
    channel = channel or world.channel
    return {
        **message(draw, "", "Hello, channel"),
        "@odata.context": f"https://graph.microsoft.com/$metadata#teams('{world.team}')/channels('{channel}')/messages/$entity",
        "replyToId": root,
        "chatId": None,
        "channelIdentity": {"teamId": world.team, "channelId": channel},
    }


def path_of(written: dict[str, Any]) -> str:
    """Return a message's path in notifications."""
    if written["chatId"]:
        return f"chats('{written['chatId']}')/messages('{written['id']}')"
    place = written["channelIdentity"]
    messages = f"teams('{place['teamId']}')/channels('{place['channelId']}')/messages"
    root = written["replyToId"]
    return f"{messages}('{root}')/replies('{written['id']}')" if root else f"{messages}('{written['id']}')"


def presence(user: str) -> bytes:
    """Return a user's presence."""
    return to_json(
        {
            "@odata.context": "https://graph.microsoft.com/$metadata#communications/presences/$entity",
            "id": user,
            "availability": "Away",
            "activity": "Away",
            "statusMessage": None,
        }
    )


def transcript(draw: Draw, meeting: str, organizer: str) -> dict[str, Any]:
    """Return the transcript of a meeting."""
    transcript_id = f"MSMjMCMj{draw.digits(20)}"
    path = f"users/{organizer}/onlineMeetings('{meeting}')/transcripts('{transcript_id}')"
    return {
        "@odata.context": f"https://graph.microsoft.com/$metadata#users('{organizer}')/onlineMeetings('{meeting}')/transcripts/$entity",
        "id": transcript_id,
        "meetingId": meeting,
        "transcriptContentUrl": f"https://graph.microsoft.com/v1.0/{path}/content",
        "createdDateTime": "2031-02-03T04:01:00.0000000Z",
        "endDateTime": "2031-02-03T04:04:30.0000000Z",
        "meetingOrganizer": {"application": None, "device": None, "user": {"id": organizer, "displayName": None}},
    }


def selected_mail(draw: Draw, user: str) -> dict[str, Any]:
    """Return a mail with two selected properties."""
    mail_id = f"AAMkAD{draw.digits(24)}="
    return {
        "@odata.context": f"https://graph.microsoft.com/$metadata#users('{user}')/messages/$entity",
        "@odata.etag": f'W/"CQAAABYAAAB{draw.digits(12)}"',
        "id": mail_id,
        "receivedDateTime": "2031-02-03T04:04:58Z",
        "subject": "Tides and winds",
    }
