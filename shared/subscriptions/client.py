"""The app's subscriptions at Graph: list, create, renew, re-key, replace, remove."""

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import msgspec

from shared import deadline
from shared.configuration.declaration import Declaration
from shared.errors import NotAttempted, Reason, Refused, RelayError, RetryLater
from shared.graph import client_state
from shared.graph.client import GraphClient, GraphRequestError, Json, Page
from shared.graph.rate_limits import LISTS, READS, WRITES, CallRateLimiter
from shared.keys.key import EncryptionKey
from shared.resources.catalog import SHORTEST_LIFETIME, longest_lifetime
from shared.subscriptions.marks import read_url
from shared.subscriptions.plan import carries_another_key, renews_with_more
from shared.subscriptions.recognition import is_of
from shared.subscriptions.subscription import Action, DesiredState, Outcome, Step, Subscription

_log = logging.getLogger("graph_relay.subscriptions")

DEBOUNCE = timedelta(minutes=10)
"""Minimum time between two renewals of a subscription on request of Graph (docs/graph.md, "Lifecycle notifications").
"""

_MOST_WRITES = 6
"""Writes of one replacement: the refused creation beside the old subscription, a stand-in, two deletions, the new
subscription, a new URL for the old one."""

_TO_RECREATE = timedelta(seconds=30)
"""Time that must be left to delete a subscription without a stand-in: the deletion may take this long, and the creation
must still begin."""

_MOST_PAGES = 10_000

_FIRST_PAGE = "subscriptions"

_OF_ENDPOINT = re.compile(
    r"validation request|\bnotification ?endpoint\b|\bnotification ?url\b(?! is required)", re.IGNORECASE
)
"""Graph also names `notificationUrl` as required if a PATCH changes nothing: then the endpoint is not at fault."""
_OF_EXPIRATION = re.compile(r"expir", re.IGNORECASE)
_OF_QUOTA = re.compile(r"limit|quota|maximum", re.IGNORECASE)

Wait = Callable[[timedelta | None], bool]
"""Waits for the given time and returns True; returns False at once if the wait budget is exhausted."""


@dataclass
class Listing:
    """The pages of a tenant's list of subscriptions read so far. link: to the next page; None: the list is complete."""

    began: datetime
    found: list[Subscription] = field(default_factory=list)
    link: str | None = _FIRST_PAGE
    followed: set[str] = field(default_factory=set)

    @property
    def pages(self) -> int:
        """The number of pages read."""
        return len(self.followed)

    def add(self, page: Page) -> None:
        """Add the page that the link leads to."""
        for entry in page.value:
            try:
                self.found.append(msgspec.json.decode(entry, type=Subscription))
            except msgspec.ValidationError as error:
                _log.warning("Graph lists a subscription in an unknown form; it is left alone: %s", error)
        if self.link is not None:
            self.followed.add(self.link)
        self.link = page.next_link

    def begin_again(self, now: datetime) -> None:
        """Discard the pages read."""
        self.began, self.found, self.link, self.followed = now, [], _FIRST_PAGE, set()


class SubscriptionConflict(GraphRequestError):
    """Graph already has a subscription for the resource and change types, which the app must not change."""

    def __init__(self, refusal: GraphRequestError, holder: Subscription, whose: str) -> None:
        host = urlsplit(holder.notification_url).hostname or "an event hub"
        message = f"subscription {holder.id} at {host}, {whose}, has the resource and change types already"
        super().__init__(refusal.status, refusal.code, message)


class SubscriptionsClient:
    """The app's subscriptions at Graph, within a share of Graph's limits; one object serves all threads."""

    def __init__(
        self,
        graph: GraphClient,
        clock: Callable[[], datetime],
        random_bytes: Callable[[int], bytes],
        before_creation: Callable[[Declaration], object],
    ) -> None:
        """before_creation: called with a declaration before it gets a subscription; if it raises, there is none."""
        self._graph = graph
        self._clock = clock
        self._random_bytes = random_bytes
        self._before_creation = before_creation
        self._pace = CallRateLimiter(clock)

    def now(self) -> datetime:
        """Return this client's time, UTC."""
        return self._clock()

    def list(self, tenant_id: str, wait: Wait = lambda _: False) -> list[Subscription]:
        """Return all subscriptions of the app in a tenant; call it once per run. Raises as `read_on`."""
        listing = Listing(self._clock())
        self.read_on(tenant_id, listing, wait)
        return listing.found

    def read_on(self, tenant_id: str, listing: Listing, wait: Wait) -> None:
        """Continue reading a list to its end. Raises RetryLater, GraphRequestError.

        If Graph or the app's own rate limit demands a pause between two pages, wait and continue. `listing` keeps the
        pages read, unless Graph refuses its link: then the next call begins at the first page.
        """
        while listing.link is not None:
            if listing.link in listing.followed or listing.pages == _MOST_PAGES:
                listing.begin_again(self._clock())
                raise RetryLater(Reason.GRAPH, "Graph's list of subscriptions has too many pages")
            try:
                page = self._page(tenant_id, listing.link, wait)
            except GraphRequestError as refusal:
                if not listing.followed or refusal.status not in (400, 404, 410):
                    raise
                listing.begin_again(self._clock())
                raise RetryLater(
                    Reason.GRAPH, f"a link to a page of the subscriptions was refused: {refusal}"
                ) from None
            listing.add(page)

    def _page(self, tenant_id: str, link: str, wait: Wait) -> Page:
        while True:
            try:
                self._pace.take(LISTS, tenant_id)
                return self._graph.get_page(tenant_id, link)
            except RetryLater as retry_later:
                if not wait(retry_later.retry_after):
                    raise

    def get(self, tenant_id: str, subscription_id: str, wait: Wait = lambda _: False) -> Subscription | None:
        """Return a subscription by its id, whether or not the list shows it; None if it no longer exists.

        Raises RetryLater, GraphRequestError.
        """
        while True:
            try:
                self._pace.take(READS, tenant_id)
                return self._read(self._graph.get(tenant_id, f"subscriptions/{subscription_id}"))
            except RetryLater as retry_later:
                if not wait(retry_later.retry_after):
                    raise
            except GraphRequestError as refusal:
                if refusal.status != 404:
                    raise
                return None

    def carry_out(self, step: Step, desired: DesiredState) -> Outcome:
        """Carry out one step. Never raises RelayError: one failing subscription must not stop the others."""
        try:
            self._pace.take(WRITES, step.tenant_id, _MOST_WRITES if step.action is Action.REPLACE else 1)
            return Outcome(step, self._do(step, desired))
        except RelayError as error:
            return Outcome(step, error=error)

    def to_reauthorize(self, tenant_id: str, subscription_id: str, declaration: Declaration) -> Subscription | None:
        """Return a subscription that Graph wants re-authorized; None if it was renewed within the last ten minutes
        (DEBOUNCE).

        Raises:
            Refused: the subscription is to another resource than the declared one.
            GraphRequestError: Graph refuses; 404: the subscription no longer exists.
            RetryLater: Graph is unavailable, or its limits allow no further call.
        """
        self._pace.take(READS, tenant_id)
        found = self._read(self._graph.get(tenant_id, f"subscriptions/{subscription_id}"))
        if not is_of(found, declaration):
            raise Refused(Reason.CLIENT_STATE, "an item names a subscription of another resource")
        life = longest_lifetime(declaration.resource, rich=declaration.include_resource_data)
        return None if found.expiration_date_time > self._clock() + life - DEBOUNCE else found

    def reauthorize(self, subscription: Subscription, declaration: Declaration) -> Subscription:
        """Renew, which also re-authorizes; return Graph's answer. Raises GraphRequestError, RetryLater.

        The certificate stays: a burst of these calls must not depend on the key store. A timer run re-keys the
        subscription.
        """
        path = f"subscriptions/{subscription.id}"
        self._pace.take(WRITES, declaration.tenant_id)
        return self._granted(declaration, lambda life: self._graph.patch(declaration.tenant_id, path, life))

    def _do(self, step: Step, desired: DesiredState) -> Subscription | None:
        match step:
            case Step(Action.REMOVE, _, _, Subscription() as old):
                self._remove(step, old)
                return None
            case Step(Action.CREATE, _, Declaration() as declaration):
                self._before_creation(declaration)
                return self._create(step.tenant_id, declaration, desired)
            case Step(
                action=Action.REPLACE, declaration=Declaration() as declaration, subscription=Subscription() as old
            ):
                return self._replace(step.tenant_id, old, declaration, desired)
            case Step(_, _, Declaration() as declaration, Subscription() as old):
                return self._patch(step.tenant_id, old, declaration, desired)
        raise AssertionError(step)

    def _remove(self, step: Step, old: Subscription) -> None:
        """Delete a subscription. If a step names a successor, delete only if Graph returns the successor by its id."""
        if step.instead is not None:
            self._graph.get(step.tenant_id, f"subscriptions/{step.instead}")
        self._graph.delete(step.tenant_id, f"subscriptions/{old.id}")

    def _replace(
        self, tenant_id: str, old: Subscription, declaration: Declaration, desired: DesiredState
    ) -> Subscription:
        """Create the successor, then delete the old subscription.

        Graph allows one subscription per resource and change types. If it refuses the successor, a stand-in with other
        change types is subscribed while the old one is deleted. If Graph allows no stand-in either (Teams allows one
        per resource), the old subscription gets the current URL, so that Graph validates the endpoint before the
        deletion, provided that there is time for both.
        """
        _certificate(declaration, desired.key)  # never delete what can't be created again
        made = self._beside(tenant_id, declaration, desired)
        if made is not None:
            self._graph.delete(tenant_id, f"subscriptions/{old.id}")
            return made
        stand_in = self._stand_in(tenant_id, declaration, desired)
        if stand_in is None:
            _check_time()
            self._redirect(tenant_id, old, declaration, desired)
            _check_time()
        self._graph.delete(tenant_id, f"subscriptions/{old.id}")
        made = self._create(tenant_id, declaration, desired)
        if stand_in is not None:
            self._graph.delete(tenant_id, f"subscriptions/{stand_in.id}")
        return made

    def _beside(self, tenant_id: str, declaration: Declaration, desired: DesiredState) -> Subscription | None:
        """Create a second subscription; None if Graph allows only one. Raises as `_create`."""
        try:
            return self._create(tenant_id, declaration, desired)
        except GraphRequestError as refusal:
            if refusal.status != 409 and not _is_over_quota(refusal):
                raise
            return None

    def _stand_in(self, tenant_id: str, declaration: Declaration, desired: DesiredState) -> Subscription | None:
        """Create a subscription with other change types; None if Graph allows none."""
        for toggled in ("deleted", "updated"):
            types = set(declaration.change_types) ^ {toggled}
            if types:
                other = msgspec.structs.replace(declaration, change_types=tuple(sorted(types)))
                try:
                    return self._beside(tenant_id, other, desired)
                except GraphRequestError as refusal:
                    if refusal.status != 400 or is_about_endpoint(refusal):
                        raise  # otherwise the resource has no such changes
        return None

    def _redirect(self, tenant_id: str, old: Subscription, declaration: Declaration, desired: DesiredState) -> None:
        """Give a subscription the current URL, which Graph validates first. Its clientState, and so that mark, stay."""
        url = desired.url_for(declaration, read_url(old.notification_url).minted_by)
        try:
            self._graph.patch(tenant_id, f"subscriptions/{old.id}", {"notificationUrl": url})
        except GraphRequestError as refusal:
            if not renews_with_more(declaration, refusal):
                raise  # otherwise Graph refuses the change; the subscription expires anyway

    def _create(self, tenant_id: str, declaration: Declaration, desired: DesiredState) -> Subscription:
        body: Json = {
            "changeType": ",".join(declaration.change_types),
            "resource": declaration.resource,
            "notificationUrl": desired.url_for(declaration),
            "lifecycleNotificationUrl": desired.url_for(declaration),
            "clientState": client_state.mint(
                desired.client_state_secret, tenant_id, declaration.id, self._random_bytes
            ),
            "includeResourceData": declaration.include_resource_data,
            "latestSupportedTlsVersion": "v1_2",
            **_certificate(declaration, desired.key),
        }
        made = self._granted(declaration, lambda life: self._graph.post(tenant_id, "subscriptions", body | life))
        return _with_key(made, body)

    def _patch(
        self, tenant_id: str, old: Subscription, declaration: Declaration, desired: DesiredState
    ) -> Subscription:
        """Renew. Graph accepts a certificate only with a new expiry (docs/graph.md, "Certificates")."""
        body = _certificate(declaration, desired.key) if carries_another_key(old, declaration, desired) else {}
        path = f"subscriptions/{old.id}"
        return _with_key(self._granted(declaration, lambda life: self._graph.patch(tenant_id, path, body | life)), body)

    def _granted(self, declaration: Declaration, ask: Callable[[Json], Json]) -> Subscription:
        """Request the longest lifetime; if Graph refuses it, one that every resource allows: the table may be
        outdated.
        """
        longest = longest_lifetime(declaration.resource, rich=declaration.include_resource_data)
        try:
            return self._read(ask(self._until(longest)))
        except GraphRequestError as refusal:
            if refusal.status != 400 or longest <= SHORTEST_LIFETIME or not _OF_EXPIRATION.search(str(refusal)):
                raise
            return self._read(ask(self._until(SHORTEST_LIFETIME)))

    def _until(self, life: timedelta) -> Json:
        moment = (self._clock() + life).astimezone(UTC)
        return {"expirationDateTime": moment.strftime("%Y-%m-%dT%H:%M:%SZ")}

    def _read(self, answer: Json) -> Subscription:
        try:
            return msgspec.convert(answer, Subscription)
        except msgspec.ValidationError:
            raise RetryLater(Reason.GRAPH, "Graph's answer is not a subscription") from None


def is_about_endpoint(refusal: RelayError | None) -> bool:
    """Whether Graph could not validate the endpoint (docs/graph.md, "Handshake"): then every creation fails."""
    return isinstance(refusal, GraphRequestError) and refusal.status == 400 and bool(_OF_ENDPOINT.search(str(refusal)))


def _is_over_quota(refusal: GraphRequestError) -> bool:
    """Whether a 403 is about a quota. Another 403 may be about a withdrawn permission: then nothing is deleted."""
    return refusal.status == 403 and bool(_OF_QUOTA.search(refusal.message))


def _with_key(answer: Subscription, given: Json) -> Subscription:
    """Return Graph's answer with the given key, if the answer does not show one."""
    if answer.encryption_certificate_id or "encryptionCertificateId" not in given:
        return answer
    return msgspec.structs.replace(answer, encryption_certificate_id=str(given["encryptionCertificateId"]))


def _check_time() -> None:
    """Raises NotAttempted if the time left may not suffice for a deletion and the creation after it."""
    if deadline.left() < _TO_RECREATE:
        raise NotAttempted(Reason.POSTPONED, "there is no time to delete the subscription and to create it again")


def _certificate(declaration: Declaration, key: EncryptionKey | None) -> Json:
    """Raises RetryLater if a key is needed and none is available."""
    if not declaration.include_resource_data:
        return {}
    if key is None:
        raise RetryLater(Reason.KEY_STORE, "there is no encryption key at present")
    return {"encryptionCertificate": key.public_certificate, "encryptionCertificateId": key.key_id}
