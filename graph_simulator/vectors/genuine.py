"""What Graph sends: basic, rich and lifecycle notifications, alone and mixed, in every known spelling."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from graph_simulator.vectors import resources, rules
from graph_simulator.vectors.case import Case, Item, accept, act, collection, to_json
from graph_simulator.vectors.derivation import Draw
from graph_simulator.vectors.resources import CHAT_MESSAGE, channel_message, message, path_of
from graph_simulator.vectors.rules import Rule, should
from graph_simulator.vectors.tokens import ACCEPTED
from graph_simulator.vectors.world import FIRST, SECOND, THIRD, World

LIFECYCLE_EVENTS = ("reauthorizationRequired", "subscriptionRemoved", "missed")
A_HUNDRED = 100

_BASIC = Rule("clientState must be the one that was set; a basic notification carries no token.", rules.NOTIFICATION)
_RICH = Rule("Prove the token, unwrap dataKey, check dataSignature, decrypt data.", rules.RICH)
_LIFECYCLE = Rule(
    "A lifecycle notification has a clientState and no resource; act on it by its event.", rules.LIFECYCLE
)
_MANY = Rule(
    "A collection holds one item or many, of any subscriptions and tenants that share the URL.", rules.COLLECTION
)
_ENTITY_PATH = Rule(
    "resource is a path relative to the Graph root; either form of a key is the same.", rules.ODATA_URLS
)


@dataclass(frozen=True)
class Written:
    """An item that Graph wrote, and its decrypted content, if any."""

    item: Item
    plain: bytes | None = None


def genuine(world: World) -> Iterator[Case]:
    """Return every case without a fault."""
    yield from _basic(world)
    yield from _rich(world)
    yield from _tokens(world)
    yield from _keys(world)
    yield from _lifecycle(world)
    yield from _collections(world)
    yield from _spellings(world)


def rich(world: World, draw: Draw, written: dict[str, Any], subscription: str = "all-chats", **changes: Any) -> Written:
    """Return the rich notification of a message."""
    plain = to_json(written)
    item = world.item(
        subscription,
        path_of(written),
        CHAT_MESSAGE,
        draw,
        **{"changeType": "created", "encryptedContent": world.enclose(plain, draw), **changes},
    )
    return Written(item, plain)


def rich_chat_message(world: World, draw: Draw, **changes: Any) -> Written:
    """Return the rich notification of a new message of a chat."""
    return rich(world, draw, message(draw, world.other_chat), **changes)


def rich_of(world: World, draw: Draw, subscription: str, resource: str, odata_type: str, plain: bytes) -> Written:
    """Return the rich notification of any resource."""
    item = world.item(subscription, resource, odata_type, draw, encryptedContent=world.enclose(plain, draw))
    return Written(item, plain)


def _basic(world: World) -> Iterator[Case]:
    draw = world.draw("basic")
    user, group, mail = world.users[0], draw.guid(), f"AAMkAD{draw.digits(24)}="
    chat, channel = message(draw, world.chat), channel_message(draw, world)
    reply = channel_message(draw, world, root=channel["id"])
    etag = {"@odata.etag": f'W/"CQAAABYAAAB{draw.digits(12)}"'}
    outlook = f"Users/{user}"
    table: tuple[tuple[str, str, str, str, dict[str, Any]], ...] = (
        ("chat-message", "one-chat", path_of(chat), CHAT_MESSAGE, {}),
        ("channel-message", "one-channel", path_of(channel), CHAT_MESSAGE, {}),
        ("reply", "one-channel", path_of(reply), CHAT_MESSAGE, {}),
        ("mail", "mail", f"{outlook}/Messages/{mail}", "#Microsoft.Graph.Message", etag),
        ("event", "events", f"{outlook}/Events/{mail}", "#Microsoft.Graph.Event", etag),
        ("contact", "contacts", f"{outlook}/Contacts/{mail}", "#Microsoft.Graph.Contact", etag),
        ("user", "users", f"Users/{user}", "#Microsoft.Graph.User", {"organizationId": world.tenants[FIRST]}),
        ("group", "groups", f"Groups/{group}", "#Microsoft.Graph.Group", {"organizationId": world.tenants[FIRST]}),
        ("group-members", "groups", f"Groups/{group}", "#Microsoft.Graph.Group",
         {"members@delta": [{"id": user}, {"id": draw.guid(), "@removed": "deleted"}]}),
    )  # fmt: skip
    for name, subscription, resource, odata_type, more in table:
        item = world.item(subscription, resource, odata_type, draw)
        item["resourceData"] |= more
        yield _case(f"basic-{name}", f"A basic notification: {name.replace('-', ' ')}.", _BASIC, Written(item))
    for name, resource, odata_type in (
        ("file", f"drives/{world.drive}/root", "#Microsoft.Graph.DriveItem"),
        ("list", f"sites/{world.site}/lists/{world.list}", "#Microsoft.Graph.ListItem"),
    ):
        item = world.item("files" if name == "file" else "list", resource, odata_type, draw)
        item["resourceData"] = {"@odata.type": odata_type}
        yield _case(f"basic-{name}", f"A basic notification that names a whole {name}'s place.", _BASIC, Written(item))
    deleted = world.item("users", f"Users/{user}", "#Microsoft.Graph.User", draw, changeType="deleted")
    yield _case("basic-user-deleted", "A user who was deleted for good.", _BASIC, Written(deleted))
    bare = world.item("one-chat", path_of(chat), CHAT_MESSAGE, draw, encryptedContent=None)
    yield _case(
        "basic-from-a-rich-subscription",
        "encryptedContent is null: read the resource by its id.",
        should("encryptedContent is optional; an item without it is a basic one.", rules.NOTIFICATION),
        Written(bare),
    )


def _rich(world: World) -> Iterator[Case]:
    draw = world.draw("rich")
    user, meeting = world.users[0], f"MSo{draw.digits(20)}"
    new, in_channel = message(draw, world.chat), channel_message(draw, world)
    edited = {
        **new,
        "etag": "1928000000000",
        "lastModifiedDateTime": "2031-02-03T04:05:04Z",
        "lastEditedDateTime": "2031-02-03T04:05:04Z",
        "body": {"contentType": "text", "content": "Hello!"},
    }
    gone = {
        **edited,
        "etag": "1928000001000",
        "deletedDateTime": "2031-02-03T04:05:05Z",
        "body": {"contentType": "text", "content": ""},
    }
    reply = channel_message(draw, world, root=in_channel["id"])
    spoken = resources.transcript(draw, meeting, user)
    mail = resources.selected_mail(draw, world.users[1])
    event = {
        **message(draw, world.other_chat),
        "messageType": "systemEventMessage",
        "from": None,
        "body": {"contentType": "html", "content": "<systemEventMessage/>"},
        "eventDetail": {
            "@odata.type": "#microsoft.graph.chatRenamedEventMessageDetail",
            "chatId": world.other_chat,
            "chatDisplayName": "Harbour",
        },
    }
    for name, description, written in (
        ("chat-message", "A new message of a chat.", rich(world, draw, new)),
        ("chat-message-edited", "A message that was edited.", rich(world, draw, edited, changeType="updated")),
        ("chat-message-deleted", "A message that was deleted: it has no text any more.",
         rich(world, draw, gone, changeType="deleted")),
        ("chat-message-of-one-chat", "A message, sent for a subscription to its chat alone.",
         rich(world, draw, message(draw, world.chat), "one-chat")),
        ("channel-message", "A new message of a channel.", rich(world, draw, in_channel, "all-channels")),
        ("reply", "A reply, sent for a subscription to its channel alone.", rich(world, draw, reply, "one-channel")),
        ("system-message", "A message that nobody wrote: from is null.", rich(world, draw, event)),
    ):  # fmt: skip
        yield _case(f"rich-{name}", description, _RICH, written, [world.token()])
    yield _case(
        "rich-presence",
        "Somebody's presence.",
        _RICH,
        rich_of(
            world,
            draw,
            "presence",
            f"communications/presences('{user}')",
            "#Microsoft.Graph.presence",
            resources.presence(user),
        ),
        [world.token(version="1.0")],
    )
    yield _case(
        "rich-transcript",
        "The transcript of a meeting.",
        Rule(_RICH.text, rules.TRANSCRIPTS),
        rich_of(
            world,
            draw,
            "transcripts",
            f"communications/onlineMeetings('{meeting}')/transcripts('{spoken['id']}')",
            "#Microsoft.Graph.callTranscript",
            to_json(spoken),
        ),
        [world.token()],
    )
    yield _case(
        "rich-mail",
        "A mail: the selected properties alone.",
        Rule(_RICH.text, rules.OUTLOOK),
        rich_of(
            world,
            draw,
            "mail-with-content",
            f"Users/{world.users[1]}/Messages/{mail['id']}",
            "#Microsoft.Graph.Message",
            to_json(mail),
        ),
        [world.token(version="1.0")],
    )


def _tokens(world: World) -> Iterator[Case]:
    for token in ACCEPTED:
        name = f"token-{token.name}"
        written = rich_chat_message(world, world.draw(name))
        yield _case(name, f"A good token. {token.description}", token.rule, written, [token.token(world.mint())])
    name = "token-signed-by-the-previous-key"
    yield _case(
        name,
        "A good token, signed with the key that was published before the present one.",
        Rule("Every key of the metadata is good: keys rotate.", rules.SIGNING_KEYS),
        rich_chat_message(world, world.draw(name)),
        [world.mint(signing_key=1).token()],
    )
    name = "token-of-both-versions"
    yield _case(
        name,
        "Two good tokens for one tenant.",
        _MANY,
        rich_chat_message(world, world.draw(name)),
        [world.token(FIRST, "1.0"), world.token(FIRST, "2.0")],
    )
    name = "token-without-content"
    chat = message(world.draw(name), world.chat)
    yield _case(
        name,
        "A basic notification with a token, which it does not need.",
        _BASIC,
        Written(world.item("one-chat", path_of(chat), CHAT_MESSAGE, world.draw(name))),
        [world.token()],
    )


def _keys(world: World) -> Iterator[Case]:
    named = Rule("encryptionCertificateId selects the private key.", rules.ENCRYPTED_CONTENT)
    thumbprint = should("Without a known id, the thumbprint names the certificate.", rules.ENCRYPTED_CONTENT)
    current, previous, large = world.keys
    for name, description, rule, key, changes in (
        ("current", "The present key, by its id.", named, current, {}),
        ("previous", "The key before, by its id: Graph goes on using it for a while.", named, previous, {}),
        ("3072-bits", "A key of 3,072 bits, by its id.", named, large, {}),
        ("by-thumbprint-alone", "No id; the thumbprint is that of a known key.", thumbprint, previous,
         {"encryptionCertificateId": None}),
        ("by-thumbprint-in-lower-case", "No id; the thumbprint in lower case.", thumbprint, large,
         {"encryptionCertificateId": None, "encryptionCertificateThumbprint": large.recipient.thumbprint.lower()}),
        ("by-id-without-thumbprint", "The id alone.", named, previous, {"encryptionCertificateThumbprint": None}),
        ("by-id-against-thumbprint", "The id of one key and the thumbprint of another: the id decides.", named, current,
         {"encryptionCertificateThumbprint": previous.recipient.thumbprint}),
    ):  # fmt: skip
        draw = world.draw(f"key-{name}")
        written = message(draw, world.other_chat)
        content = {**world.enclose(to_json(written), draw, key), **changes}
        yield _case(
            f"key-{name}", description, rule, rich(world, draw, written, encryptedContent=content), [world.token()]
        )


def _lifecycle(world: World) -> Iterator[Case]:
    for event in LIFECYCLE_EVENTS:
        name = f"lifecycle-{event}"
        subscription = "mail" if event == "missed" else "all-chats"
        yield Case(
            name,
            f"The lifecycle event {event}.",
            _LIFECYCLE,
            to_json({"value": [world.lifecycle(event, subscription)]}),
            (act(event),),
        )
    items = [world.lifecycle(event, "mail") for event in LIFECYCLE_EVENTS]
    yield Case(
        "lifecycle-all-at-once",
        "All three events in one body.",
        _MANY,
        collection(items),
        tuple(act(event) for event in LIFECYCLE_EVENTS),
    )
    item = world.lifecycle("missed", "mail", resourceData=None, resource=None, encryptedContent=None, changeType=None)
    yield Case(
        "lifecycle-with-nulls",
        "Every member that it does not have is null.",
        Rule("Members of a notification are nullable.", rules.NOTIFICATION),
        collection([item]),
        (act("missed"),),
    )
    item = world.lifecycle("reauthorizationRequired", changeType="updated", resource="chats/getAllMessages")
    yield Case(
        "lifecycle-with-change-type",
        "changeType beside lifecycleEvent, as old samples have it.",
        should("lifecycleEvent makes a lifecycle notification, whatever stands beside it.", rules.LIFECYCLE),
        collection([item]),
        (act("reauthorizationRequired"),),
    )


def _collections(world: World) -> Iterator[Case]:
    draw = world.draw("collections")
    yield Case("collection-empty", "No items.", _MANY, collection([]))
    yield Case("collection-empty-without-tokens", "No items, and validationTokens absent.", _MANY, b'{"value":[]}')
    hundred = [rich_chat_message(world, draw) for _ in range(A_HUNDRED)]
    yield _many("collection-a-hundred-rich", "A hundred rich items under one token.", hundred, [world.token()])
    basic = [
        Written(
            world.item(
                "mail", f"Users/{world.users[0]}/Messages/AAMkAD{draw.digits(24)}=", "#Microsoft.Graph.Message", draw
            )
        )
        for _ in range(A_HUNDRED)
    ]
    yield _many("collection-a-hundred-basic", "A hundred basic items.", basic, [])
    tenants = [
        rich_chat_message(world, draw),
        rich(world, draw, message(draw, world.chat), "all-chats-second-tenant"),
        rich(world, draw, message(draw, world.chat), "all-chats-third-tenant"),
    ]
    tokens = [world.token(FIRST), world.token(SECOND, "1.0"), world.token(THIRD)]
    yield _many("collection-of-three-tenants", "Three tenants, and a token for each.", tenants, tokens)
    yield _many(
        "collection-of-three-tenants-tokens-reversed",
        "The order of the tokens is not that of the items.",
        tenants,
        tokens[::-1],
    )
    chat = message(draw, world.chat)
    mixed = [
        Written(world.item("one-chat", path_of(chat), CHAT_MESSAGE, draw)),
        rich_chat_message(world, draw),
        rich(world, draw, channel_message(draw, world), "all-channels"),
    ]
    body = collection([*(message.item for message in mixed), world.lifecycle("subscriptionRemoved")], [world.token()])
    yield Case(
        "collection-basic-rich-lifecycle",
        "A basic, two rich and a lifecycle item.",
        _MANY,
        body,
        (*(accept(message.plain) for message in mixed), act("subscriptionRemoved")),
    )


def _spellings(world: World) -> Iterator[Case]:
    draw = world.draw("spellings")
    ignored = Rule("Members that are not understood are ignored.", rules.ODATA_JSON)
    item = rich_chat_message(world, draw)
    more = {**item.item, "sequenceHint": {"epoch": 7, "notes": ["nobody has documented this yet"]}}
    yield Case(
        "spelling-unknown-members",
        "Members that nobody has documented, everywhere.",
        ignored,
        collection([more], [world.token()], **{"@odata.context": "x", "next": None}),
        (accept(item.plain),),
    )
    guid = Rule("GUIDs compare without regard to case.", rules.GUIDS)
    item = rich_chat_message(world, draw)
    upper = {
        **item.item,
        "subscriptionId": item.item["subscriptionId"].upper(),
        "tenantId": item.item["tenantId"].upper(),
    }
    yield _case(
        "spelling-guids-in-upper-case",
        "subscriptionId and tenantId in upper case.",
        guid,
        Written(upper, item.plain),
        [world.token()],
    )
    chat = message(draw, world.chat)
    plain_key = f"chats/{world.chat}/messages/{chat['id']}"
    for name, description, resource in (
        ("keys-as-segments", "Ids as segments of the path.", plain_key),
        ("leading-slash", "A slash before the path.", f"/{plain_key}"),
        (
            "words-in-upper-case",
            "The words of the path in another case.",
            f"Chats('{world.chat}')/Messages('{chat['id']}')",
        ),
    ):
        written = rich(world, draw, chat, "one-chat", resource=resource)
        yield _case(f"spelling-{name}", description, _ENTITY_PATH, written, [world.token()])
    dates = Rule("A date-time may have any offset and up to seven digits of fraction.", rules.NOTIFICATION)
    for name, value in (("offset", "2031-02-02T21:00:00-08:00"), ("no-fraction", "2031-02-03T05:00:00Z")):
        written = rich_chat_message(world, draw, subscriptionExpirationDateTime=value)
        yield _case(
            f"spelling-date-with-{name}",
            f"subscriptionExpirationDateTime is {value}.",
            dates,
            written,
            [world.token(version="1.0")],
        )
    item = rich_chat_message(world, draw)
    lacking = {name: value for name, value in item.item.items() if name not in ("id", "resourceData")}
    yield _case(
        "spelling-optional-members-absent",
        "id and resourceData are absent.",
        Rule("id and resourceData are optional.", rules.NOTIFICATION),
        Written(lacking, item.plain),
        [world.token()],
    )
    item = rich_chat_message(world, draw)
    spaced = b" \r\n\t" + to_json({"validationTokens": [world.token()], "value": [item.item]}).replace(
        b',"', b' ,\n  "'
    )
    yield Case(
        "spelling-whitespace",
        "Whitespace between tokens, and the members in another order.",
        Rule("Whitespace is allowed between tokens; members have no order.", f"{rules.JSON}#section-2"),
        spaced,
        (accept(item.plain),),
    )
    item = rich_chat_message(world, draw)
    escaped = to_json({"value": [item.item], "validationTokens": [world.token()]})
    escaped = escaped.replace(b"/", rb"\/").replace(b"clientState", rb"client\u0053tate")
    yield Case(
        "spelling-escapes",
        "Escapes where none are needed, in a name too.",
        Rule("An escape stands for its character, in any string.", f"{rules.JSON}#section-7"),
        escaped,
        (accept(item.plain),),
    )


def _case(name: str, description: str, rule: Rule, written: Written, tokens: Sequence[str] = ()) -> Case:
    return Case(name, description, rule, collection([written.item], tokens), (accept(written.plain),))


def _many(name: str, description: str, written: Sequence[Written], tokens: Sequence[str]) -> Case:
    body = collection([message.item for message in written], tokens)
    return Case(name, description, _MANY, body, tuple(accept(message.plain) for message in written))
