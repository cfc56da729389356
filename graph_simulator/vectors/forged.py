"""Forgeries: tokens, clientStates, resources and replays. Each is correct except in one respect."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

from graph_simulator.vectors import rules
from graph_simulator.vectors.case import NOW, Case, Expected, Item, accept, collection, reject, to_json
from graph_simulator.vectors.genuine import Written, rich, rich_chat_message
from graph_simulator.vectors.resources import CHAT_MESSAGE, channel_message, message, path_of
from graph_simulator.vectors.rules import Rule, should
from graph_simulator.vectors.tokens import REFUSED
from graph_simulator.vectors.world import FIRST, SECOND, World

MANY_TOKENS = 300

_STATE = Rule(
    "clientState must be the one that was set for the subscription; else the item is not Graph's.", rules.NOTIFICATION
)
_EACH_TENANT = Rule(
    "There is a token for each app and tenant that has an item; an item without one is not proven.", rules.COLLECTION
)
_NO_TOKEN = Rule("A rich notification is proven by a validation token.", rules.RICH)
_PLACE = should(
    "A subscription tells of its own resource; a clientState is no proof for any other.", rules.SUBSCRIPTION
)
_ANY_FAILED = Rule(
    "A token that fails makes the collection suspicious: refuse all of it, or each item that no good token covers.",
    rules.RICH,
)
_ONCE = Rule("Delivery is at least once: expect the same notification again.", rules.DELIVERY)


def forged(world: World) -> Iterator[Case]:
    """Return every forgery and replay."""
    yield from _tokens(world)
    yield from _missing_tokens(world)
    yield from _client_states(world)
    yield from _places(world)
    yield from _replays(world)


def _tokens(world: World) -> Iterator[Case]:
    for token in REFUSED:
        name = f"token-{token.name}"
        reason = "token_missing" if token.anonymous else str(token.reason)
        written = rich_chat_message(world, world.draw(name))
        yield _one(name, f"A bad token. {token.description}", token.rule, written, [token.token(world.mint())], reason)


def _missing_tokens(world: World) -> Iterator[Case]:
    draw = world.draw("missing tokens")
    genuine = rich_chat_message(world, draw)
    good = world.token()
    yield _one("token-none", "A rich item and no token.", _NO_TOKEN, genuine, [], "token_missing")
    yield Case(
        "token-list-absent",
        "A rich item, and validationTokens absent.",
        _NO_TOKEN,
        to_json({"value": [rich_chat_message(world, draw).item]}),
        (reject("token_missing"),),
    )
    yield Case(
        "token-list-null",
        "validationTokens is null: Graph could get no token for the app.",
        _NO_TOKEN,
        collection([rich_chat_message(world, draw).item], None),
        (reject("tokens_null"),),
    )
    yield Case(
        "token-list-a-string",
        "validationTokens is one string, not a list.",
        _NO_TOKEN,
        collection([rich_chat_message(world, draw).item], good),
        (reject("token_missing"),),
    )
    yield Case(
        "token-list-of-numbers",
        "validationTokens holds what is no string.",
        _NO_TOKEN,
        collection([rich_chat_message(world, draw).item], [7, None, [good]]),
        (reject("token_missing"),),
    )
    yield _one(
        "token-of-another-tenant",
        "A genuine token, for another tenant of the app.",
        _EACH_TENANT,
        rich_chat_message(world, draw),
        [world.token(SECOND)],
        "token_missing",
    )
    garbage = [f"{number}.b.c" for number in range(MANY_TOKENS)]
    yield _one(
        "token-hundreds-that-are-none",
        f"{MANY_TOKENS} texts that are no tokens.",
        _NO_TOKEN,
        rich_chat_message(world, draw),
        garbage,
        "token_missing",
    )
    first, second = (
        rich_chat_message(world, draw),
        rich(world, draw, message(draw, world.chat), "all-chats-second-tenant"),
    )
    yield Case(
        "token-of-one-tenant-of-two",
        "Two tenants, and a token for one of them.",
        _EACH_TENANT,
        collection([first.item, second.item], [good]),
        (accept(first.plain), reject("token_missing")),
    )
    forged_token = world.mint(world.tenants[SECOND]).token(azp=world.client_id)
    yield Case(
        "token-good-beside-bad-of-another-tenant",
        "A good token for one tenant, a forged one for the other.",
        _ANY_FAILED,
        collection([first.item, second.item], [good, forged_token]),
        (Expected("either", plain=first.plain), reject("token_publisher")),
    )
    forged_token = world.mint().token(aud=world.tenants[FIRST])
    yield Case(
        "token-good-beside-bad",
        "A good token and a forged one, both for the item's tenant.",
        _ANY_FAILED,
        collection([first.item], [forged_token, good]),
        (Expected("either", plain=first.plain),),
    )


def _client_states(world: World) -> Iterator[Case]:
    draw = world.draw("clientStates")
    state = world.subscriptions["all-chats"].client_state
    of_second = world.subscriptions["all-chats-second-tenant"].client_state
    changed = state[:-1] + ("A" if state[-1] != "A" else "B")
    table: tuple[tuple[str, str, dict[str, Any]], ...] = (
        ("absent", "No clientState.", {}),
        ("null", "clientState is null.", {"clientState": None}),
        ("empty", "An empty clientState.", {"clientState": ""}),
        ("wrong", "A guess of the right length.", {"clientState": f"{'A' * 22}.{'B' * 16}.{'C' * 43}"}),
        ("wrong-last-character", "All but the last character is right.", {"clientState": changed}),
        ("random", "A guess of another form.", {"clientState": draw.base64(48)}),
        ("made-with-another-secret", "Of the right form, made with another secret.",
         {"clientState": world.client_state(world.tenants[FIRST], "/chats/getAllMessages", draw, draw.octets(32))}),
        ("of-another-tenant", "The clientState of another tenant's subscription to the same resource.",
         {"clientState": of_second}),
        ("in-upper-case", "The right one in upper case.", {"clientState": state.upper()}),
        ("one-character-more", "The right one and a letter more.", {"clientState": state + "A"}),
        ("one-character-less", "The right one without its last letter.", {"clientState": state[:-1]}),
        ("space-behind", "The right one and a space.", {"clientState": f"{state} "}),
        ("beyond-ascii", "Letters beyond ASCII, as many as the right one has.", {"clientState": "ä" * len(state)}),
        ("kelvin-sign", "A letter whose lower case is an ASCII letter.", {"clientState": "\u212a" * len(state)}),
        ("nul-behind", "The right one and a NUL.", {"clientState": state + "\0"}),
        ("longest", "255 letters, the most that a notification has.", {"clientState": "A" * 255}),
        ("unknown-subscription", "A subscription that nobody made, and a guess.",
         {"subscriptionId": draw.guid(), "clientState": "guess"}),
    )  # fmt: skip
    for name, description, changes in table:
        rich_item = {**rich_chat_message(world, draw).item, **changes}
        basic = {**world.item("all-chats", path_of(message(draw, world.chat)), CHAT_MESSAGE, draw), **changes}
        lifecycle = {**world.lifecycle("reauthorizationRequired"), **changes}
        items = [rich_item, basic, lifecycle]
        if not changes:
            for item in items:
                del item["clientState"]
        yield Case(
            f"client-state-{name}",
            f"{description} A rich, a basic and a lifecycle item.",
            _STATE,
            collection(items, [world.token()]),
            (reject("client_state"),) * len(items),
        )
    of_channel = {"clientState": world.subscriptions["one-channel"].client_state}
    of_another = [
        rich_chat_message(world, draw, **of_channel).item,
        world.item("all-chats", path_of(message(draw, world.chat)), CHAT_MESSAGE, draw, **of_channel),
    ]
    yield Case(
        "client-state-of-another-subscription",
        "The clientState of another subscription of the tenant, to another resource. A rich and a basic item.",
        _STATE,
        collection(of_another, [world.token()]),
        (reject("client_state"),) * len(of_another),
    )
    good, bad = rich_chat_message(world, draw), rich_chat_message(world, draw, clientState=changed)
    last = rich_chat_message(world, draw)
    yield Case(
        "client-state-wrong-between-two-good",
        "The items around a forged one are unharmed.",
        _STATE,
        collection([good.item, bad.item, last.item], [world.token()]),
        (accept(good.plain), reject("client_state"), accept(last.plain)),
    )
    elsewhere = rich_chat_message(world, draw, tenantId=world.tenants[SECOND])
    yield _one(
        "client-state-under-another-tenant",
        "The right clientState; tenantId is another, with a token.",
        _STATE,
        elsewhere,
        [world.token(), world.token(SECOND)],
        "client_state",
    )


def _places(world: World) -> Iterator[Case]:
    draw = world.draw("places")
    chat, other_chat = message(draw, world.chat), message(draw, world.other_chat)
    channel, other_channel = channel_message(draw, world), channel_message(draw, world, channel=world.other_channel)
    for name, description, subscription, written in (
        ("chat-under-another-chat", "One chat's subscription, another chat's message.", "one-chat", other_chat),
        (
            "channel-under-another-channel",
            "One channel's subscription, another's message.",
            "one-channel",
            other_channel,
        ),
        ("chat-under-a-channel", "One channel's subscription, a chat's message.", "one-channel", chat),
        ("channel-under-a-chat", "One chat's subscription, a channel's message.", "one-chat", channel),
        ("channel-under-all-chats", "The subscription to all chats, a channel's message.", "all-chats", channel),
        ("chat-under-all-channels", "The subscription to all channels, a chat's message.", "all-channels", chat),
    ):
        full = rich(world, draw, written, subscription).item
        bare = world.item(subscription, path_of(written), CHAT_MESSAGE, draw)
        yield Case(
            f"resource-{name}",
            f"{description} With content and without.",
            _PLACE,
            collection([full, bare], [world.token()]),
            (reject("resource"),) * 2,
        )
    content = rich(world, draw, other_chat, "one-chat", resource=path_of(chat))
    yield _one(
        "resource-content-of-another-chat",
        "resource names the right chat, the content another.",
        _PLACE,
        content,
        [world.token()],
        "resource",
    )


def _replays(world: World) -> Iterator[Case]:
    draw = world.draw("replays")
    first = rich_chat_message(world, draw)
    once = (accept(first.plain), Expected("duplicate"), Expected("duplicate"))
    yield Case(
        "replay-within-a-body",
        "One item three times, and its token twice.",
        _ONCE,
        collection([first.item] * 3, [world.token()] * 2),
        once,
    )
    original = message(draw, world.other_chat)
    sent = [rich(world, draw, original) for _ in range(2)]
    yield Case(
        "replay-encrypted-anew",
        "One version of a message, encrypted twice.",
        _ONCE,
        collection([written.item for written in sent], [world.token()]),
        (accept(sent[0].plain), Expected("duplicate")),
    )
    edited = {**original, "etag": "1928000000000", "lastModifiedDateTime": "2031-02-03T04:05:04Z"}
    versions = [rich(world, draw, original), rich(world, draw, edited, changeType="updated")]
    yield Case(
        "replay-is-no-edit",
        "Two versions of one message: the second is news.",
        _ONCE,
        collection([version.item for version in versions], [world.token()]),
        tuple(accept(version.plain) for version in versions),
    )
    case = _one(
        "replay-of-last-week",
        "A genuine body that comes again a week later.",
        Rule("A token is not accepted on or after exp, but for a leeway of minutes.", f"{rules.JWT}#section-4.1.4"),
        rich_chat_message(world, draw),
        [world.token()],
        "token_lifetime",
    )
    yield replace(case, received=NOW + timedelta(days=7))
    stolen = [_foreign_item(world), rich(world, draw, message(draw, world.chat), "all-chats-second-tenant").item]
    yield Case(
        "replay-of-a-token",
        "A genuine token beside a stranger's items.",
        _EACH_TENANT,
        collection(stolen, [world.token()]),
        (reject("client_state"), reject("token_missing")),
    )


def _foreign_item(world: World) -> Item:
    draw = world.draw("a stranger's item")
    return rich_chat_message(world, draw, clientState=draw.base64(48)).item


def _one(name: str, description: str, rule: Rule, written: Written, tokens: Sequence[str], reason: str) -> Case:
    return Case(name, description, rule, collection([written.item], tokens), (reject(reason),))
