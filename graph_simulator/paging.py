"""Answers in pages with opaque links; a page may be short or empty and link on (docs/graph.md, "Reading back")."""

import random
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any

from graph_simulator.refusal import Refusal, bad_request

EMPTY_SHARE = 0.1
SHORT_SHARE = 0.1
PAGE_LINK_LIFE = timedelta(hours=1)
DELTA_LINK_LIFE = timedelta(days=7)


@dataclass(frozen=True)
class Cursor:
    """The state behind a link: the rest of a list, or (`left` is None) the end of a delta round."""

    link: str
    expires: datetime
    left: Sequence[Any] | None
    size: int
    since: int | None
    """Milliseconds since 1970; the last change of a delta round, None outside delta queries."""
    options: Mapping[str, str]


class Pager:
    """Returns pages and remembers their links. The same link gives the same items again.

    `loops`: whether a link leads to its own page. `forgets`: whether delta links are outdated.
    """

    def __init__(
        self,
        clock: Callable[[], datetime],
        chance: random.Random,
        loops: Callable[[], bool] = lambda: False,
        forgets: Callable[[], bool] = lambda: False,
    ) -> None:
        self._clock = clock
        self._chance = chance
        self._cursors: dict[str, Cursor] = {}
        self._loops = loops
        self._forgets = forgets

    def page(
        self,
        link: str,
        items: Sequence[Any],
        size: int,
        since: int | None = None,
        options: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """Return the first page of `items`, at most `size` long; `link` is the absolute URL to which a token is added.

        With `since` the list is a delta round: its last page has a `deltaLink` for the next round.
        """
        taken = self._length(size, len(items))
        answer: dict[str, Any] = {"@odata.count": taken, "value": list(items[:taken])}
        if taken < len(items):
            cursor = Cursor(link, self._clock() + PAGE_LINK_LIFE, items[taken:], size, since, options or {})
            answer["@odata.nextLink"] = self._link(cursor, "$skiptoken")
        elif since is not None:
            cursor = Cursor(link, self._clock() + DELTA_LINK_LIFE, None, size, since, options or {})
            answer["@odata.deltaLink"] = self._link(cursor, "$deltatoken")
        return answer

    def link_to(self, link: str, items: Sequence[Any], size: int) -> str:
        """Return a link whose page begins with `items`."""
        return self._link(Cursor(link, self._clock() + PAGE_LINK_LIFE, items, size, None, {}), "$skiptoken")

    def next_page(self, token: str) -> dict[str, Any]:
        """Return the page of a `$skiptoken`.

        Raises:
            Refusal: 400, the token is unknown or outdated.
        """
        cursor = self._cursors.get(token)
        if cursor is None or cursor.left is None or cursor.expires <= self._clock():
            raise bad_request("Skip token is not valid.", "BadRequest")
        if self._loops():
            return {"@odata.count": 0, "value": [], "@odata.nextLink": f"{cursor.link}?$skiptoken={token}"}
        return self.page(cursor.link, cursor.left, cursor.size, cursor.since, cursor.options)

    def delta_start(self, token: str) -> Cursor:
        """Return the end of the round that issued a `$deltatoken`.

        Raises:
            Refusal: 410, the token is unknown or outdated: start over.
        """
        cursor = self._cursors.get(token)
        if cursor is None or cursor.left is not None or cursor.expires <= self._clock() or self._forgets():
            raise Refusal(HTTPStatus.GONE, "syncStateNotFound", "The sync state is not found; start over.")
        return cursor

    def _length(self, size: int, available: int) -> int:
        """Return the size of the page: occasionally smaller than possible, if more items follow."""
        drawn = self._chance.random()
        if available and drawn < EMPTY_SHARE:
            return 0
        if available > 1 and drawn < EMPTY_SHARE + SHORT_SHARE:
            return self._chance.randint(1, min(size, available - 1))
        return min(size, available)

    def _link(self, cursor: Cursor, parameter: str) -> str:
        now = self._clock()
        self._cursors = {token: held for token, held in self._cursors.items() if held.expires > now}
        token = secrets.token_urlsafe(24)
        self._cursors[token] = cursor
        return f"{cursor.link}?{parameter}={token}"
