"""Items that carry no content: events of what they say, or of what Graph says of what they name.

Only a clientState vouches for such an item. So where the declaration asks for content, nothing is told but what Graph
confirms: with `hydrate`, and for a rich subscription, which sends an item without content only now and then.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import msgspec

from shared import telemetry
from shared.configuration.declaration import Declaration, declaration_id
from shared.delivery import version
from shared.delivery.event import Event, event_of_content, event_without_content, named_by
from shared.delivery.resource import Resource, read_resource
from shared.errors import Reason, Refused, RetryLater
from shared.graph.client import GraphClient, GraphRequestError
from shared.graph.notification import Notification, read_resource_data
from shared.graph.pace import Pace
from shared.graph.resolver import Resolver
from shared.readback.declared import selection
from shared.readback.unread import Unread
from shared.resources.identity import belongs, identify, read_path
from shared.resources.path import has_dot_segments, segments, with_query
from shared.resources.permissions import Purpose, is_policy_refusal, policies, remedy

_log = logging.getLogger("graph_relay.hydration")


SETTLES_WITHIN = timedelta(minutes=5)
"""How long an answer that contradicts the notification is not believed: it may come from a replica that lags."""

ASK_AGAIN = timedelta(seconds=10)


@dataclass(frozen=True)
class Hydration:
    """Reads resources for those declarations that say `hydrate`, or include resource data.

    unread: notes what could not be; None: nobody does.
    """

    graph: GraphClient
    clock: Callable[[], datetime]
    resolver: Resolver
    pace: Pace
    unread: Unread | None = None

    def event(self, notification: Notification, declaration: Declaration, tenant_id: str, received: datetime) -> Event:
        """Return the event of an item without content; what Graph no longer has makes a deletion.

        declaration: the one whose clientState the item carries. Only what is certain to be within it is read: whoever
        has learnt a clientState must not choose what we read. A `resourceData` that is about another resource is
        dropped.

        What a policy of the tenant withholds, besides the permission, is delivered as the notification told it: nothing
        is gained by waiting for an administrator, and the event says that it is partial.

        For a declaration that includes resource data, an item is no more than a hint to read: what can't be read is not
        told, and of `resourceData` no more than type and id.

        A deletion is read like the rest: only the message itself, softly deleted, says when that was, and so what it
        follows and what follows it.

        Raises:
            Refused: its path would have Graph read something else than it names, or nothing confirms what it says.
            Undeliverable: Graph's answer is not a resource.
            RetryLater: it can't be read at present, or the answer contradicts the notification.
        """
        notification = _believable(notification, declaration)
        if not (declaration.hydrate or declaration.include_resource_data):
            return event_without_content(notification, tenant_id, received)
        if has_dot_segments(segments(notification.resource or "")):
            raise Refused(Reason.MALFORMED)
        path = self._path(notification, declaration, tenant_id)
        if path is None:
            return self._unread(notification, declaration, tenant_id, received)
        if declaration.include_resource_data:
            self.pace.take(declaration.id)
        deleted = notification.change_type == "deleted"
        try:
            content = self.graph.get_raw(tenant_id, with_query(path, selection(declaration.resource)))
        except GraphRequestError as refusal:
            return self._of_refusal(refusal, notification, declaration, tenant_id, received)
        self._check_agreement(read_resource(content), notification, received)
        if deleted:  # and there it is: it says itself whether it was restored since
            notification = msgspec.structs.replace(notification, change_type=None)
        return event_of_content(content, notification, tenant_id, received)

    def _of_refusal(
        self,
        refusal: GraphRequestError,
        notification: Notification,
        declaration: Declaration,
        tenant_id: str,
        received: datetime,
    ) -> Event:
        if refusal.status == 403 and is_policy_refusal(
            declaration.resource, refusal.inner_code, refusal.message, refusal.granted
        ):
            return _withheld(notification, tenant_id, received, declaration, refusal)
        if refusal.status != 404 or refusal.is_about_mailbox:
            raise _unreadable(refusal, declaration) from None
        if notification.change_type != "deleted":
            self._wait_for_replicas(received, "Graph does not return the resource that it says has changed")
        self._check_moved(notification, declaration, tenant_id)
        gone = msgspec.structs.replace(notification, change_type="deleted")
        return event_without_content(gone, tenant_id, received)

    def _check_moved(self, notification: Notification, declaration: Declaration, tenant_id: str) -> None:
        """Raise Refused if what is no longer in the declared folder lives in another one: only whether it does is read.

        It is not gone, and what it has become is not declared.
        """
        item = identify(named_by(notification))
        anywhere = read_path(item) if item.kind == "Message" else None
        if anywhere is None or anywhere == self._path(notification, declaration, tenant_id):
            return
        try:
            self.graph.get_raw(tenant_id, with_query(anywhere, "$select=id"))
        except GraphRequestError as refusal:
            if refusal.status == 404 and not refusal.is_about_mailbox:
                return
            raise _unreadable(refusal, declaration) from None
        raise Refused(Reason.NOT_CONFIRMED, "it has left the declared folder")

    def _check_agreement(self, read: Resource, notification: Notification, received: datetime) -> None:
        if notification.change_type == "deleted" and not read.deleted_date_time:
            self._wait_for_replicas(received, "Graph still returns the resource that it says was deleted")
        if _is_older(read, notification):
            self._wait_for_replicas(received, "Graph still returns an earlier version of the resource")

    def _wait_for_replicas(self, received: datetime, contradiction: str) -> None:
        """Not at once after a notification: a read may meet a replica that lags (docs/graph.md, "Errors")."""
        if self.clock() - received < SETTLES_WITHIN:
            raise RetryLater(Reason.GRAPH_LAGS, contradiction, retry_after=ASK_AGAIN)

    def _path(self, notification: Notification, declaration: Declaration, tenant_id: str) -> str | None:
        """Return where Graph is asked for what a notification names; None if that is not certain to be declared."""
        item, declared = identify(named_by(notification)), declaration.resource
        if belongs(declared, item) is None and item.type is not None:
            declared = self.resolver.resolved(tenant_id, declared)
        return read_path(item, declared) if belongs(declared, item) else None

    def _unread(
        self, notification: Notification, declaration: Declaration, tenant_id: str, received: datetime
    ) -> Event:
        telemetry.NOT_HYDRATED.add(1, {"reason": "place"})
        if self.unread is not None:
            self.unread.note(declaration, notification.resource or "", received)
        return _unconfirmed(notification, declaration, tenant_id, received)


def _unreadable(refusal: GraphRequestError, declaration: Declaration) -> RetryLater:
    if refusal.status != 403:
        return RetryLater(Reason.GRAPH_REFUSED, str(refusal))
    advice = remedy(declaration.resource, (Purpose.READ,), refusal.granted, declaration.consent)
    return RetryLater(Reason.GRAPH_REFUSED, f"{refusal}. {advice}")


def _is_older(read: Resource, notification: Notification) -> bool:
    """Whether what was read is from before the change, by the etags of both; without them nobody can tell."""
    have, told = (version.sortable(tag) for tag in (read.version_tag, read_resource_data(notification).odata_etag))
    return have is not None and told is not None and len(have) == len(told) and have < told


def _withheld(
    notification: Notification, tenant_id: str, received: datetime, declaration: Declaration, refusal: GraphRequestError
) -> Event:
    telemetry.NOT_HYDRATED.add(1, {"reason": "policy"})
    needed = policies(declaration.resource)
    _log.warning("%s in tenant %s is not read back: %s. %s", declaration.resource, tenant_id, refusal, needed)
    return _unconfirmed(notification, declaration, tenant_id, received)


def _believable(notification: Notification, declaration: Declaration) -> Notification:
    """Return a notification without the data that another resource has, or that only Graph could confirm."""
    if _contradicts_itself(notification, declaration):
        return _with_data(notification, {})
    if declaration.include_resource_data:
        data = read_resource_data(notification)
        return _with_data(notification, {"@odata.id": data.odata_id, "id": data.id})
    return notification


def _contradicts_itself(notification: Notification, declaration: Declaration) -> bool:
    """Whether `resource` and `resourceData` name different resources. Some items repeat the declared path instead."""
    data, named = read_resource_data(notification), segments(notification.resource or "")
    repeated = declaration_id("", notification.resource or "") == declaration_id("", declaration.resource)
    names = {data.id, *segments(data.odata_id)[-1:], *(() if repeated else named[-1:])} - {""}
    return len({name.lower() for name in names}) > 1


def _with_data(notification: Notification, data: dict[str, str]) -> Notification:
    """Return a notification that says of the resource what kind it is and, of `data`, what is not empty."""
    said = {"@odata.type": read_resource_data(notification).odata_type, **data}
    known = {name: value for name, value in said.items() if value}
    return msgspec.structs.replace(notification, resource_data=msgspec.Raw(msgspec.json.encode(known)))


def _unconfirmed(notification: Notification, declaration: Declaration, tenant_id: str, received: datetime) -> Event:
    """Return the event of what the notification says itself. Raises Refused where that is not enough."""
    if declaration.include_resource_data:
        raise Refused(Reason.NOT_CONFIRMED, "an item without content, and Graph does not let the app read the resource")
    return event_without_content(notification, tenant_id, received)
