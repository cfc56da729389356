"""Reads of messages: one message, a chat's, a team's, a user's, and deltas (docs/graph.md, "Reading back")."""

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from graph_simulator.clock import milliseconds
from graph_simulator.conversation import Conversation, Entry, Message, message_path
from graph_simulator.paging import Pager
from graph_simulator.query import Filter, only, page_size, parse_filter
from graph_simulator.refusal import bad_request, forbidden, not_found
from graph_simulator.world import Place, World

DEFAULT_PAGE, LARGEST_PAGE = 20, 50
LARGEST_EXPORT_PAGE = 1_000
DELTA_REACH = timedelta(days=240)
REPLIES_AT_ONCE = 1_000
CONTEXT = "https://graph.microsoft.com/v1.0/$metadata#Collection(chatMessage)"

Options = Mapping[str, str]
Answer = dict[str, Any]


class Reads:
    """The reads of one tenant's messages. `link` is always the URL that continues the read, without a query."""

    def __init__(
        self,
        world: World,
        conversation: Conversation,
        pager: Pager,
        clock: Callable[[], datetime],
        late: timedelta,
        lags: Callable[[datetime], bool] = lambda _: False,
        *,
        checks_licences: bool = True,
    ) -> None:
        self._world = world
        self._conversation = conversation
        self._pager = pager
        self._clock = clock
        self._late = late
        self._lags = lags
        self._checks_licences = checks_licences

    def message(self, place_path: str, message_id: str, root: str | None = None) -> Message:
        """Return one message, at once even if it is too new for lists, unless the replica lags.

        Raises:
            Refusal: 404.
        """
        place = self._place(place_path)
        path = message_path(place, message_id, root)
        if path not in self._conversation or self._lags(_created(message_id)):
            raise not_found("The message was not found.")
        return self._conversation.entry(path).message

    def of_chat(self, place_path: str, options: Options, link: str) -> Answer:
        """Return a chat's messages, newest first. Like Graph, ignores a filter without the matching `$orderby`."""
        if "$skiptoken" in options:
            return self._paged(self._pager.next_page(options["$skiptoken"]))
        only(options, "$top", "$orderby", "$filter")
        order = options.get("$orderby", "createdDateTime desc").lower().split()
        if len(order) != 2 or order[0] not in {"createddatetime", "lastmodifieddatetime"} or order[1] != "desc":
            raise bad_request("Only descending order by one date is supported.", "BadRequest")
        chosen = parse_filter(options.get("$filter", ""), senders=False)
        if "$orderby" not in options or chosen.property != order[0]:
            chosen = Filter()
        entries = self._visible(self._conversation.at(self._place(place_path)), chosen)
        by_creation = order[0] == "createddatetime"
        entries.sort(key=lambda entry: int(entry.message["id"]) if by_creation else entry.changed, reverse=True)
        return self._page(link, entries, page_size(options, DEFAULT_PAGE, LARGEST_PAGE))

    def of_team(self, team_id: str, options: Options, link: str) -> Answer:
        """Return all messages of a team's channels, replies included."""
        if team_id.lower() not in self._world.teams:
            raise not_found("The team was not found.")
        return self._export(self._world.channels_of(team_id.lower()), options, link, LARGEST_EXPORT_PAGE)

    def of_user(self, user_id: str, options: Options, link: str) -> Answer:
        """Return all messages of the chats of a user; each message comes up once per participant."""
        return self._export(self._chats(user_id), options, link, LARGEST_PAGE)

    def user_delta(self, user_id: str, options: Options, link: str) -> Answer:
        """Return the new messages in a user's chats since the last round."""

        def changed(since: int, chosen: Filter) -> list[Message]:
            entries = [entry for place in self._chats(user_id) for entry in self._conversation.at(place)]
            return [entry.message for entry in self._visible(entries, chosen) if entry.changed > since]

        return self._delta(options, link, changed)

    def channel_delta(self, place_path: str, options: Options, link: str) -> Answer:
        """Return a channel's new root messages since the last round; replies only on request."""
        place = self._place(place_path)

        def changed(since: int, chosen: Filter, with_replies: bool) -> list[Message]:
            visible = self._visible(self._conversation.at(place), Filter())
            replies: dict[str, list[Entry]] = {}
            for entry in visible:
                if entry.root is not None:
                    replies.setdefault(entry.root, []).append(entry)
            roots = [entry for entry in visible if entry.root is None]
            if not with_replies:
                return [root.message for root in roots if root.changed > since and chosen.admits(root)]
            chains = [(root, replies.get(root.message["id"], [])) for root in roots]
            return [
                self._chain(root, answers, link)
                for root, answers in chains
                if any(entry.changed > since and chosen.admits(entry) for entry in (root, *answers))
            ]

        with_replies = self._first_options(options).get("$expand") == "replies"
        return self._delta(options, link, lambda since, chosen: changed(since, chosen, with_replies), expandable=True)

    def replies(self, place_path: str, root: str, options: Options, link: str) -> Answer:
        """Return the replies below a root message."""
        if "$skiptoken" in options:
            return self._paged(self._pager.next_page(options["$skiptoken"]))
        only(options, "$top")
        entries = [entry for entry in self._conversation.at(self._place(place_path)) if entry.root == root]
        return self._page(link, self._visible(entries, Filter()), page_size(options, DEFAULT_PAGE, LARGEST_PAGE))

    def _export(self, places: Iterable[Place], options: Options, link: str, most: int) -> Answer:
        if "$skiptoken" in options:
            return self._paged(self._pager.next_page(options["$skiptoken"]))
        only(options, "$top", "$filter")
        chosen = parse_filter(options.get("$filter", ""))
        if chosen.property == "createddatetime":
            raise bad_request("Only lastModifiedDateTime can be filtered.", "BadRequest")
        entries = [entry for place in places for entry in self._conversation.at(place)]
        return self._page(link, self._visible(entries, chosen), page_size(options, DEFAULT_PAGE, most))

    def _delta(
        self,
        options: Options,
        link: str,
        changed: Callable[[int, Filter], list[Message]],
        expandable: bool = False,
    ) -> Answer:
        if "$skiptoken" in options:
            return self._paged(self._pager.next_page(options["$skiptoken"]))
        first = self._first_options(options)
        only(first, "$top", "$filter", "$skip", *(("$expand",) if expandable else ()))
        chosen = parse_filter(first.get("$filter", ""), operators=("gt",), senders=False)
        since = milliseconds(self._clock() - DELTA_REACH)
        if "$deltatoken" in options:
            since = self._pager.delta_start(options["$deltatoken"]).since or since
        reach = self._reach()
        messages = changed(since, chosen)
        size = page_size(first, DEFAULT_PAGE, LARGEST_PAGE)
        return self._paged(self._pager.page(link, messages, size, reach, dict(first)))

    def _first_options(self, options: Options) -> Options:
        """Return the query options of a delta's first call, which its links repeat."""
        if "$deltatoken" in options:
            return self._pager.delta_start(options["$deltatoken"]).options
        return options

    def _chain(self, root: Entry, answers: list[Entry], link: str) -> Message:
        message = {**root.message, "replies": [entry.message for entry in answers[:REPLIES_AT_ONCE]]}
        if len(answers) > REPLIES_AT_ONCE:
            rest = [entry.message for entry in answers[REPLIES_AT_ONCE:]]
            base = link.removesuffix("/delta")
            message["replies@odata.nextLink"] = self._pager.link_to(
                f"{base}/{root.message['id']}/replies", rest, LARGEST_PAGE
            )
        return message

    def _visible(self, entries: Iterable[Entry], chosen: Filter) -> list[Entry]:
        """Return messages that pass a filter and are old enough for the store behind lists."""
        return [entry for entry in entries if entry.changed <= self._reach() and chosen.admits(entry)]

    def _reach(self) -> int:
        """Return the last completed millisecond: no message can be added to it any more."""
        return milliseconds(self._clock() - self._late) - 1

    def _page(self, link: str, entries: list[Entry], size: int) -> Answer:
        return self._paged(self._pager.page(link, [entry.message for entry in entries], size))

    def _paged(self, page: Answer) -> Answer:
        return {"@odata.context": CONTEXT, **page}

    def _place(self, path: str) -> Place:
        for place in self._world.places.values():
            if place.path.lower() == path.lower():
                return place
        raise not_found("The channel or chat was not found.")

    def _chats(self, user_id: str) -> list[Place]:
        person = self._world.named(user_id)
        if person is None:
            raise not_found("The user was not found.")
        if self._checks_licences and not person.licensed:
            raise forbidden("The user has no licence for Microsoft Teams.")
        return self._world.chats_of(person)


def _created(message_id: str) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=int(message_id))
