import json
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import axe_playwright_python  # its axe-core alone
import httpx
from azure.storage.queue import QueueClient
from playwright.sync_api import Locator, Page, expect

from local.azurite import Azurite
from local.feed.backlog import RelayQueue
from local.feed.server import RunningFeed, running
from local.feed.services import ConnectedServices
from tests.local.feed.relay import relay_that_says
from tests.local.feed.sender import CHANNEL, Sender, channel_message, chat_message, event
from tests.waiting import LIMIT

expect.set_options(timeout=LIMIT * 1000)


def cards(page: Page) -> Locator:
    return page.get_by_role("article")


def ready(page: Page) -> None:
    """Wait until the page listens: events sent from then on arrive live."""
    expect(page.locator("#link")).to_have_text("Live")


def test_an_empty_page_says_what_it_waits_for(page: Page) -> None:
    expect(page.get_by_role("heading", name="Waiting for the first message")).to_be_visible()
    expect(page.locator("#empty-steps")).to_contain_text("The feed is listening")


def test_a_message_appears_as_it_arrives_with_author_place_time_and_lag_and_stays(page: Page, sender: Sender) -> None:
    ready(page)
    sender.send(event(chat_message("Dock 3 is clear", author="Ada Marsh"), age=timedelta(minutes=3)))
    card = cards(page).first
    expect(card.locator(".author")).to_have_text("Ada Marsh")
    expect(card.locator(".avatar")).to_have_text("AM")
    expect(card.locator(".body")).to_have_text("Dock 3 is clear")
    expect(card.locator("time")).to_have_text(re.compile(r"\d\d:\d\d:\d\d$"))
    expect(card.locator(".lag")).to_contain_text("3 min")
    expect(page.get_by_role("heading", name="Waiting for the first message")).to_be_hidden()
    expect(page.locator("#figure-p50")).to_have_text("3 min")
    for drawn in (".bars", ".median"):
        expect(page.locator(f"#chart {drawn}")).to_have_attribute("d", re.compile("^M"))
    page.reload()
    expect(cards(page)).to_contain_text("Dock 3 is clear")


def test_an_edit_changes_the_message_in_place_and_says_so(page: Page, sender: Sender) -> None:
    ready(page)
    message = chat_message("at dock 3")
    sender.send(event(message), event(chat_message("another")))
    expect(cards(page)).to_have_count(2)
    edited = message | {
        "body": {"contentType": "text", "content": "at dock 5"},
        "lastEditedDateTime": "2026-11-23T10:00:00Z",
    }
    sender.send(event(edited, "Updated", revision=1))
    card = cards(page).nth(1)
    expect(card.locator(".body")).to_have_text("at dock 5")
    expect(card.locator(".mark")).to_have_text("edited")
    expect(card).to_have_class(re.compile("changed"))
    expect(cards(page)).to_have_count(2)


def test_a_deletion_leaves_a_struck_line_with_the_authors_name(page: Page, sender: Sender) -> None:
    message = chat_message("a secret", author="Jonas Reyes")
    sender.send(event(message))
    expect(cards(page)).to_contain_text("a secret")
    sender.send(event({"id": message["id"]} | message, "Deleted", revision=1, data={"id": message["id"]}, partial=True))
    expect(cards(page).locator("s")).to_have_text("This message was deleted")
    expect(cards(page)).to_contain_text("Jonas Reyes")
    expect(cards(page)).not_to_contain_text("a secret")


def test_a_reply_names_what_it_answers_and_the_root_counts_it(page: Page, sender: Sender) -> None:
    ready(page)
    root = channel_message("Who takes the early run?", author="Mårten Holm")
    sender.send(event(channel_message("I do", replyToId=root["id"])))
    expect(cards(page).locator(".reference")).to_have_text("in reply to an earlier message")
    sender.send(event(root))
    expect(cards(page).locator(".reference")).to_have_text("Mårten Holm Who takes the early run?")
    expect(cards(page).locator(".replies")).to_have_text("1 reply")


def test_a_reply_names_its_root_also_when_that_is_far_back(page: Page, sender: Sender) -> None:
    root = channel_message("Who takes the early run?", author="Mårten Holm")
    sender.send(event(root), *(event(chat_message()) for _ in range(70)))
    sender.send(event(channel_message("I do", replyToId=root["id"])))
    page.reload()
    reference = cards(page).first.locator(".reference")
    expect(reference).to_have_text("Mårten Holm Who takes the early run?")
    changed = root | {"body": {"contentType": "text", "content": "Who takes the late run?"}}
    sender.send(event(changed, "Updated", revision=1))
    expect(reference).to_have_text("Mårten Holm Who takes the late run?")


def test_reactions_system_events_partial_events_and_other_resources_have_their_own_look(
    page: Page, sender: Sender
) -> None:
    liked = [{"reactionType": kind} for kind in ("like", "like", "🚚", "constructor")]
    added = {
        "@odata.type": "#microsoft.graph.membersAddedEventMessageDetail",
        "members": [{"displayName": "Lin Okafor"}],
        "initiator": {"user": {"displayName": "Ada Marsh"}},
    }
    user = {
        "source": "/tenants/t/users",
        "subject": "users/5d",
        "type": "Microsoft.Graph.UserUpdated",
        "data": {"id": "5d"},
    }
    sender.send(event(chat_message("liked", reactions=liked)))
    sender.send(event(chat_message(messageType="systemEventMessage", eventDetail=added, author=None)))
    sender.send(event(chat_message(), data={"id": "1"}, partial=True))
    sender.send(event(chat_message()) | user)
    expect(cards(page)).to_have_count(4)
    expect(cards(page).nth(0)).to_contain_text("User updated · users/5d")
    expect(cards(page).nth(1).locator(".mark")).to_have_text("notification only")
    expect(cards(page).nth(2).locator(".line")).to_have_text("Members added · Lin Okafor · by Ada Marsh")
    expect(cards(page).nth(3).get_by_role("listitem")).to_have_text(["👍 2", "🚚 1", "constructor 1"])


def test_html_is_shown_with_mentions_attachments_emoji_code_and_links_without_scripts_and_styles(
    page: Page, sender: Sender
) -> None:
    html = (
        '<h1>Plan</h1><p><strong>Now</strong> <at id="0">Lin</at> <emoji alt="🔋"></emoji> <code>reset</code> '
        '<a href="https://example.com/plan">plan</a></p><ul><li>one</li></ul><attachment id="a"></attachment>'
        '<img src="https://graph.microsoft.com/v1.0/x/$value" alt="a photo">'
    )
    attachments = [
        {"id": "a", "contentType": "reference", "name": "audit.xlsx", "contentUrl": "https://example.com/audit.xlsx"},
        {"id": "b", "contentType": "messageReference", "content": json.dumps({"messagePreview": "quoted words"})},
    ]
    mentions = [{"id": 0, "mentioned": {"user": {"id": "l"}}}]
    sender.send(event(chat_message(html=html, attachments=attachments, mentions=mentions)))
    body = cards(page).locator(".body")
    expect(body.locator(".heading")).to_have_text("Plan")
    expect(body.locator("strong")).to_have_text("Now")
    expect(body.locator(".mention")).to_have_text("Lin")
    expect(body.locator(".emoji")).to_have_text("🔋")
    expect(body.locator("code")).to_have_text("reset")
    expect(body.get_by_role("link", name="plan", exact=True)).to_have_attribute("href", "https://example.com/plan")
    expect(body.get_by_role("link", name="audit.xlsx")).to_have_attribute("rel", "noopener noreferrer nofollow")
    expect(body.locator("blockquote")).to_contain_text("quoted words")
    expect(body.locator(".picture")).to_have_text("a photo")
    sender.send(
        event(chat_message(html="<p>plain</p><style>p{}</style><script>run()</script><title>t</title><!-- c -->"))
    )
    expect(body.first).to_have_text("plain")
    assert body.first.text_content() == "plain"


HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<svg onload=alert(1)><script>alert(1)</script><a href='javascript:alert(1)'>x</a></svg>",
    "<math><mtext></mtext><script>alert(1)</script></math>",
    "<a href='javascript:alert(1)'>click</a>",
    "<a href=' &#1;java&#10;script:alert(1)'>click</a>",
    "<a href='data:text/html,<script>alert(1)</script>'>click</a>",
    "<a href='//evil.example/x' onclick=alert(1)>click</a>",
    "<style>body{display:none}</style>",
    "<p style='position:fixed;inset:0' class='skip' id='stream' onmouseover=alert(1)>over</p>",
    "<link rel=stylesheet href='https://evil.example/x.css'><base href='https://evil.example/'>",
    "<iframe srcdoc='<script>parent.alert(1)</script>'></iframe><object data='x'></object><embed src=x>",
    "<form action='https://evil.example'><input name=a><button>go</button></form>",
    "<template><script>alert(1)</script></template><noscript><p title='</noscript><img src=x onerror=alert(1)>'>",
    "<math><mtext><table><mglyph><style><!--</style><img title='--&gt;&lt;img src=x onerror=alert(1)&gt;'>",
    "<constructor></constructor><__proto__>x</__proto__><toString>y</toString>",
    "<at id='0'><img src=x onerror=alert(1)></at><attachment id='<script>'></attachment>",
    "<emoji alt='<img src=x onerror=alert(1)>'></emoji>",
    "<div>" * 3_000 + "deep",
    "</div></article></main><script>alert(1)</script>",
]
CLEAN = """() => {
  const kept = new Set(['class', 'href', 'title', 'target', 'rel', 'dir', 'data-kind', 'aria-hidden']);
  const alive = new Set(('script style svg math img iframe object embed form input link base template').split(' '));
  const found = [];
  for (const element of document.querySelectorAll('.body, .body *, .card h3, .card h3 *, .author, .author *')) {
    if (alive.has(element.localName)) found.push(element.localName);
    for (const { name, value } of element.attributes) {
      if (!kept.has(name)) found.push(name);
      if (name === 'href' && !/^(https?|mailto):/.test(value)) found.push(value);
    }
  }
  return found;
}"""


def test_hostile_text_in_a_body_a_name_or_a_subject_is_not_executed(page: Page, sender: Sender) -> None:
    for text in HOSTILE:
        hostile: dict[str, Any] = {
            "subject": text,
            "attachments": [{"id": "a", "name": text, "contentUrl": "javascript:alert(1)", "contentType": text}],
            "reactions": [{"reactionType": text}],
            "mentions": [{"id": 0, "mentionText": text}],
        }
        sender.send(event(chat_message(html=text, author=text, **hostile)))
        sender.send(event(channel_message(text, author=text, eventDetail={"channelDisplayName": text})))
    expect(cards(page)).to_have_count(2 * len(HOSTILE))
    for link in page.locator(".body").get_by_text("click", exact=True).all():
        link.dispatch_event("click")
    for paragraph in page.locator(".body p").all():
        paragraph.dispatch_event("mouseover")
    assert page.evaluate(CLEAN) == []
    assert page.locator("body").is_visible()
    expect(cards(page).locator("h3").filter(has_text="<script>alert(1)</script>").first).to_be_visible()


def test_resources_of_any_shape_do_not_stop_the_page(page: Page, sender: Sender) -> None:
    odd = [
        {"body": 7, "from": [], "reactions": [None, 3], "mentions": {"a": 1}, "attachments": "x"},
        {
            "body": {"content": {"a": 1}},
            "createdDateTime": "never",
            "eventDetail": {"@odata.type": 5, "members": [None]},
        },
        {"body": {"content": None}, "messageType": {}, "subject": {"toString": 1}},
        {
            "body": {"contentType": "html", "content": 5},
            "attachments": [{"contentType": "messageReference", "content": "{"}],
        },
    ]
    for data in odd:
        sender.send(event(chat_message(), data=data))
    sender.send(event(chat_message("the last one is well")))
    expect(cards(page)).to_have_count(len(odd) + 1)
    expect(cards(page).first).to_contain_text("the last one is well")


def test_choosing_a_place_shows_only_its_messages_and_marks_what_is_new_elsewhere(page: Page, sender: Sender) -> None:
    renamed = {"@odata.type": "#microsoft.graph.channelRenamedEventMessageDetail", "channelDisplayName": "Night shift"}
    sender.send(event(channel_message(messageType="systemEventMessage", eventDetail=renamed)))
    sender.send(event(channel_message("in the channel")), event(chat_message("in the chat", author="Ada Marsh")))
    expect(cards(page)).to_have_count(3)
    rail = page.get_by_role("navigation", name="Chats and channels")
    rail.get_by_role("button", name="Night shift").click()
    expect(cards(page)).to_have_count(2)
    expect(page.get_by_role("heading", level=2, name="# Night shift")).to_be_visible()
    sender.send(event(chat_message("meanwhile", author="Ada Marsh")))
    expect(rail.get_by_role("button", name=re.compile("^Ada"))).to_contain_text("1 new")
    expect(cards(page)).to_have_count(2)
    page.reload()
    expect(cards(page)).to_have_count(2)
    rail.get_by_role("button", name="Everything").click()
    expect(cards(page)).to_have_count(4)


def test_what_is_new_in_a_place_that_the_page_does_not_know_yet_is_marked(page: Page, sender: Sender) -> None:
    sender.send(event(channel_message("in the channel")))
    rail = page.get_by_role("navigation", name="Chats and channels")
    rail.get_by_role("button").nth(1).click()
    expect(cards(page)).to_have_count(1)
    sender.send(event(chat_message("the first one here", author="Ada Marsh")))
    expect(rail.get_by_role("button", name=re.compile("^Ada"))).to_contain_text("1 new")
    rail.get_by_role("button", name=re.compile("^Ada")).click()
    expect(rail.get_by_role("button", name=re.compile("^Ada"))).not_to_contain_text("new")


def test_a_reader_who_scrolled_down_is_not_moved_and_sees_how_much_is_new(page: Page, sender: Sender) -> None:
    page.emulate_media(reduced_motion="no-preference")  # cards arrive and the list scrolls in motion
    sender.send(*(event(chat_message(f"earlier {n}")) for n in range(40)))
    expect(cards(page)).to_have_count(40)
    page.locator("main").evaluate("main => main.scrollTo(0, 900)")
    page.wait_for_function("document.querySelector('main').scrollTop > 800")
    newer = page.locator("#newer")
    sent = 0
    while not newer.is_visible():
        sent += 1
        sender.send(event(chat_message(f"later {sent}")))
        page.wait_for_timeout(100)
    sender.send(event(chat_message("the latest")))
    expect(newer).to_have_text(re.compile(r"\d+ newer messages? ↑"))
    newer.click()
    expect(cards(page).first).to_contain_text("the latest")
    expect(newer).to_be_hidden()


def test_a_thousand_messages_leave_a_small_document_and_can_be_paged_back(page: Page, sender: Sender) -> None:
    ready(page)
    for batch in range(34):
        sender.send(*(event(chat_message(f"message {batch * 30 + n}")) for n in range(30)))
    expect(cards(page).first).to_contain_text("message 1019")
    expect(page.locator("#figure-messages")).to_have_text("1,020")
    assert cards(page).count() <= 240
    for _ in range(6):
        last = cards(page).last.get_attribute("data-position")
        page.get_by_role("button", name="Older messages").click()
        page.wait_for_function(
            "last => document.querySelector('#stream').lastElementChild.dataset.position < last", arg=last
        )
    assert cards(page).count() <= 240


def test_a_page_that_lost_its_feed_marks_its_figures_as_old_reconnects_by_itself_and_catches_up(
    blank: Page, secret: str, tmp_path: Path, unused_port: int
) -> None:
    page = blank
    with running(secret, tmp_path / "feed.db", port=unused_port) as feed:
        page.goto(feed.url)
        ready(page)
    expect(page.locator("#link")).to_contain_text(re.compile(r"Reconnecting · figures as of \d\d:\d\d:\d\d"))
    expect(page.locator("body")).to_have_class("stale")
    assert page.title().startswith("(!) Not connected")
    with running(secret, tmp_path / "feed.db", port=unused_port) as feed:
        Sender(feed.url, secret).send(event(chat_message("sent meanwhile")))
        ready(page)
        expect(cards(page)).to_contain_text("sent meanwhile")
        page.goto("about:blank")


def test_refusals_and_dead_letters_of_the_relay_stay_in_view_when_it_stops(
    blank: Page, secret: str, tmp_path: Path
) -> None:
    page = blank
    metrics = [
        {"name": "graph_relay.refused", "attributes": {"reason": "client_state"}, "value": 1234},
        {"name": "graph_relay.dead_lettered", "attributes": {"reason": "some_new_reason"}, "value": 2},
        {"name": "graph_relay.received", "attributes": {}, "value": 5678},
    ]
    with relay_that_says(metrics) as (url, stop), running(secret, tmp_path / "feed.db", relay=url) as feed:
        page.goto(feed.url)
        panel = page.get_by_role("complementary", name="The relay and what was refused")
        expect(panel).to_contain_text("By the relay1,234The clientState is not the app's")
        expect(panel).to_contain_text("Dead-lettered by the relay2Some new reason")
        expect(panel).to_contain_text("5,678received")
        expect(page.locator("#step-relay")).to_have_attribute("data-done", "yes")
        stop()
        expect(panel).to_contain_text("The relay does not answer at the moment")
        expect(panel).to_contain_text("The clientState is not the app's")
        page.goto("about:blank")


def test_nothing_overflows_at_any_width(page: Page, sender: Sender) -> None:
    long = "https://example.com/" + "unbroken" * 60
    sender.send(
        event(channel_message(long, author="N" * 80, mentions=[_mention("a very long name of a channel " * 3)]))
    )
    expect(cards(page)).to_have_count(1)
    for width in (320, 390, 720, 1000, 1440):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def _mention(name: str) -> dict[str, Any]:
    return {"id": 0, "mentionText": name, "mentioned": {"conversation": {"id": CHANNEL, "displayName": name}}}


def test_everything_can_be_reached_with_the_keyboard(page: Page, sender: Sender) -> None:
    sender.send(event(channel_message("by keyboard", author="Ada Marsh")))
    expect(cards(page)).to_have_count(1)
    expect(page.get_by_role("navigation", name="Chats and channels").get_by_role("button")).to_have_count(2)
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the messages")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Everything")).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=2, name=re.compile("^# "))).to_be_visible()


def test_a_search_finds_text_authors_and_ids_and_stays_in_the_address(page: Page, sender: Sender) -> None:
    wanted = chat_message("the 100% blue crate", author="Lin Okafor")
    sent = event(wanted)
    sender.send(sent, event(chat_message("the 100 grey crates", author="Ada Marsh")))
    expect(cards(page)).to_have_count(2)
    page.keyboard.press("/")
    for text in ("100% BLUE", "lin ok", wanted["id"], sent["id"]):
        page.locator("#search").fill(text)
        expect(cards(page)).to_have_count(1)
        expect(cards(page)).to_contain_text("blue crate")
        page.wait_for_function("text => new URLSearchParams(location.hash.slice(1)).get('q') === text", arg=text)
    page.reload()
    expect(cards(page)).to_have_count(1)
    expect(page.locator("#search")).to_have_value(sent["id"])
    page.locator("#search").press("Escape")
    expect(cards(page)).to_have_count(2)


def test_a_filter_shows_what_matches_also_of_what_arrives_later(page: Page, sender: Sender) -> None:
    message, kept = chat_message("soon gone"), chat_message("stays")
    sender.send(event(message), event(kept))
    page.get_by_label("Show").select_option("Deleted")
    expect(page.get_by_role("heading", name="No message matches")).to_be_visible()
    sender.send(event(message, "Deleted", revision=1, data={"id": message["id"]}, partial=True))
    expect(cards(page)).to_have_count(1)
    expect(cards(page)).to_contain_text("This message was deleted")


def test_a_paused_page_keeps_what_is_in_view_and_counts_the_rest(page: Page, sender: Sender) -> None:
    ready(page)
    sender.send(event(chat_message("before")))
    expect(cards(page)).to_have_count(1)
    page.keyboard.press("p")
    expect(page.get_by_role("button", name="Resume")).to_have_attribute("aria-pressed", "true")
    sender.send(event(chat_message("meanwhile")))
    expect(page.locator("#newer")).to_have_text("1 newer message ↑")
    expect(cards(page)).to_have_count(1)
    page.get_by_role("button", name="Resume").click()
    expect(cards(page)).to_have_count(2)


def test_a_message_is_inspected_by_keyboard_and_has_an_address_of_its_own(page: Page, sender: Sender) -> None:
    ready(page)
    sent = event(chat_message("inspect me"), age=timedelta(seconds=3))
    sender.send(event(chat_message("older")))
    sender.send(sent)
    sender.send(sent)
    expect(cards(page)).to_have_count(2)
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("k")
    expect(cards(page).first).to_be_focused()
    page.keyboard.press("Enter")
    inspector = page.get_by_role("dialog")
    expect(inspector).to_contain_text(sent["id"])
    expect(inspector).to_contain_text("Received here, stored, answered 204")
    expect(inspector).to_contain_text("Received here again")
    expect(inspector).to_contain_text("HMAC-SHA256")
    shown = json.loads(inspector.get_by_label("The CloudEvent as JSON").text_content() or "")
    assert shown["data"] == sent["data"]
    assert {name: shown[name] for name in ("id", "source", "subject", "type", "version")} == {
        name: sent[name] for name in ("id", "source", "subject", "type", "version")
    }
    page.reload()
    expect(inspector).to_contain_text(sent["id"])
    page.keyboard.press("Escape")
    expect(inspector).to_be_hidden()
    expect(page).not_to_have_url(re.compile("message="))


def test_what_the_feed_refused_is_shown_with_its_reasons_and_can_be_inspected(page: Page, sender: Sender) -> None:
    sender.send_body(b"[]", webhook_signature="v1,AAAA")
    sender.send_body(b"{}")
    panel = page.get_by_role("complementary", name="The relay and what was refused")
    expect(panel).to_contain_text("The signature is invalid")
    expect(panel).to_contain_text("Not a batch of events")
    expect(panel).to_contain_text("No relay was named")
    page.get_by_label("Show").select_option("failed")
    failures = page.get_by_role("region", name="Failed")
    failures.get_by_role("link", name="The signature is invalid").click()
    expect(page.get_by_role("dialog")).to_contain_text("Answer401")
    page.reload()
    expect(page.get_by_role("dialog")).to_contain_text("Answer401")
    page.keyboard.press("Escape")
    expect(page).not_to_have_url(re.compile("failure="))


def test_an_outage_is_in_front_with_its_cause_and_ends(page: Page, sender: Sender) -> None:
    ready(page)
    trouble = page.locator("#trouble")
    expect(trouble).to_be_hidden()
    page.get_by_role("button", name="Destination down (503)").click()
    expect(trouble).to_contain_text("Broken on purpose: Destination down (503)")
    expect(page.locator("#link")).to_have_text("Fault on")
    assert page.title().startswith("(!) Fault on")
    assert sender.send(event(chat_message())).status_code == 503
    page.get_by_role("button", name="Destination down (503)").click()
    expect(trouble).to_be_hidden()
    expect(page.locator("#link")).to_have_text("Live")
    assert sender.send(event(chat_message())).status_code == 204


def test_the_size_of_the_relays_queue_and_the_cause_are_shown(
    blank: Page, secret: str, tmp_path: Path, azurite: Azurite
) -> None:
    page = blank
    queue = QueueClient.from_connection_string(azurite.connection_string, "waiting-messages")
    queue.create_queue()
    for _ in range(3):
        queue.send_message("a message", visibility_timeout=60)
    metrics = [{"name": "graph_relay.retried", "attributes": {"reason": "destination_gone"}, "value": 1}]
    with relay_that_says(metrics) as (url, _):
        services = ConnectedServices(relay=url, queue=RelayQueue(azurite.connection_string, "waiting-messages"))
        with running(secret, tmp_path / "feed.db", services=services) as feed:
            page.goto(feed.url)
            ready(page)
            metrics[0]["value"] = 5
            expect(page.locator("#trouble")).to_contain_text("3 queue messages waiting")
            expect(page.locator("#trouble")).to_contain_text("The destination answers 410 Gone")
            page.goto("about:blank")
    queue.delete_queue()


AXE = Path(axe_playwright_python.__file__).with_name("axe.min.js").read_text(encoding="utf-8")


WIDTHS = (390, 900, 1440)


def test_axe_finds_no_fault_at_any_width_in_light_and_dark(page: Page, sender: Sender) -> None:
    sender.send_body(b"[]", webhook_signature="v1,AAAA")
    sender.send(*(event(channel_message(f"message {n}", importance="high")) for n in range(4)))
    expect(cards(page)).to_have_count(4)
    page.evaluate(AXE)
    page.get_by_role("button", name="Destination down (503)").click()
    expect(page.locator("#trouble")).to_be_visible()
    examine(page)
    cards(page).first.locator(".permalink").click()
    expect(page.get_by_role("dialog")).to_contain_text("CloudEvent")
    examine(page)
    page.keyboard.press("Escape")
    page.get_by_label("Show").select_option("failed")
    expect(page.get_by_role("heading", name="Refused by this feed")).to_be_visible()
    examine(page)


def examine(page: Page) -> None:
    """Run axe at each width; in dark only the rule that depends on colours. What passes is not described."""
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme="light")
        assert page.evaluate(VIOLATIONS, {}) == []
        assert page.evaluate(SMALL) == []
        page.emulate_media(color_scheme="dark")
        assert page.evaluate(VIOLATIONS, {"runOnly": ["color-contrast"]}) == []


VIOLATIONS = """async (options) =>
    (await axe.run(document, { resultTypes: ["violations"], ...options })).violations.map(({ id, nodes }) =>
    [id, ...nodes.slice(0, 3).map(({ html, failureSummary }) => [html.slice(0, 120), failureSummary])])"""

SMALL = """() => [...document.querySelectorAll("body *")].flatMap((element) => {
    const box = element.getBoundingClientRect();
    if (!box.width || !element.checkVisibility() || element.closest(".unseen, .skip")) return [];
    const html = element.outerHTML.slice(0, 99);
    const found = [];
    const hasText = [...element.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim());
    if (hasText && parseFloat(getComputedStyle(element).fontSize) < 12) found.push(["text", html]);
    const isTarget = element.matches("button, a, input, select");
    if (isTarget && (box.height < 23.9 || box.width < 23.9)) found.push(["target", html, box.height]);
    return found;
})"""


def test_the_page_needs_no_other_origin(feed: RunningFeed) -> None:
    for file in (Path(__file__).parents[3] / "local/feed/page").iterdir():
        assert not re.search(r"(?:src|href|url|import)\s*[=(]?\s*[\"'(]?https?://", file.read_text(encoding="utf-8")), (
            file.name
        )
    assert httpx.get(feed.url).headers["content-type"].startswith("text/html")
