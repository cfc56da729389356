"""Items without content: conversion to events by the item itself, or by reading from Graph.

Only a clientState proves such an item. So if the declaration asks for content, only what Graph confirms is delivered:
with `hydrate`, and for a rich subscription, which seldom sends items without content.
"""

import logging
import re
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
from shared.graph.rate_limits import ReadRateLimiter
from shared.graph.resolver import Resolver
from shared.readback.declared import selection
from shared.readback.hydration_failures import HydrationFailures
from shared.resources.identity import belongs, identify, read_path
from shared.resources.path import has_dot_segments, segments, with_query
from shared.resources.permissions import Purpose, is_policy_refusal, policies, remedy

_log = logging.getLogger("graph_relay.hydration")


SETTLES_WITHIN = timedelta(minutes=5)
"""For this time, an answer that contradicts the notification is not trusted: it may come from a lagging replica."""

ASK_AGAIN = timedelta(seconds=10)

_MESSAGE_ID = re.compile(r"[0-9]{1,16}")
"""Milliseconds since 1970."""


@dataclass(frozen=True)
class Hydration:
    """Reads resources for declarations with `hydrate` or `includeResourceData`.

    failures: stores declarations with unreadable resources; None: disabled.
    """

    graph: GraphClient
    clock: Callable[[], datetime]
    resolver: Resolver
    pace: ReadRateLimiter
    failures: HydrationFailures | None = None

    def event(self, notification: Notification, declaration: Declaration, tenant_id: str, received: datetime) -> Event:
        """Return the event of an item without content; if Graph no longer has the resource, a deletion.

        declaration: the one whose clientState the item carries. Only resources that are certainly within it are read: a
        stolen clientState must not choose what the app reads. A `resourceData` about another resource is dropped.

        If a policy of the tenant withholds the resource, despite the permission, the notification is delivered as a
        partial event: waiting for an administrator would be useless.

        For a declaration that includes resource data, an item is only a hint to read: an unreadable resource is not
        delivered, and of `resourceData` only type and id are used.

        A deletion is read, too: only the softly deleted message itself has its time, and so its order.

        Raises:
            Refused: Graph would read another resource than the item names, or nothing confirms the item.
            Undeliverable: Graph's answer is not a resource.
            RetryLater: the resource can't be read at present, or the answer contradicts the notification.
        """
        notification = _believable(notification, declaration)
        if not (declaration.hydrate or declaration.include_resource_data):
            return event_without_content(notification, tenant_id, received)
        if has_dot_segments(segments(notification.resource or "")):
            raise Refused(Reason.MALFORMED)
        path = self._path(notification, declaration, tenant_id)
        if path is None:
            return self._not_hydrated(notification, declaration, tenant_id, received)
        if declaration.include_resource_data:
            self.pace.take(declaration.id)
        deleted = notification.change_type == "deleted"
        try:
            content = self.graph.get_raw(tenant_id, with_query(path, selection(declaration.resource)))
        except GraphRequestError as refusal:
            return self._of_refusal(refusal, notification, declaration, tenant_id, received)
        self._check_agreement(read_resource(content), notification, received)
        if deleted:  # the message still exists, and shows whether it was restored
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
        elif _was_just_written(notification, received):
            self._wait_for_replicas(
                received, "Graph does not return a message that was deleted soon after its creation"
            )
        self._check_moved(notification, declaration, tenant_id)
        gone = msgspec.structs.replace(notification, change_type="deleted")
        return event_without_content(gone, tenant_id, received)

    def _check_moved(self, notification: Notification, declaration: Declaration, tenant_id: str) -> None:
        """Raise Refused if an item missing in the declared folder exists in another one; only its existence is read.

        It is not deleted, and its new location is not declared.
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
        """Wait after a notification: a read may come from a lagging replica (docs/graph.md, "Errors")."""
        if self.clock() - received < SETTLES_WITHIN:
            raise RetryLater(Reason.GRAPH_LAGS, contradiction, retry_after=ASK_AGAIN)

    def _path(self, notification: Notification, declaration: Declaration, tenant_id: str) -> str | None:
        """Return the path for reading the resource of a notification; None if it may not be within the declaration."""
        item, declared = identify(named_by(notification)), declaration.resource
        if belongs(declared, item) is None and item.type is not None:
            declared = self.resolver.resolved(tenant_id, declared)
        return read_path(item, declared) if belongs(declared, item) else None

    def _not_hydrated(
        self, notification: Notification, declaration: Declaration, tenant_id: str, received: datetime
    ) -> Event:
        telemetry.NOT_HYDRATED.add(1, {"reason": "place"})
        if self.failures is not None:
            self.failures.note(declaration, notification.resource or "", received)
        return _unconfirmed(notification, declaration, tenant_id, received)


def _unreadable(refusal: GraphRequestError, declaration: Declaration) -> RetryLater:
    if refusal.status != 403:
        return RetryLater(Reason.GRAPH_REFUSED, str(refusal))
    advice = remedy(declaration.resource, (Purpose.READ,), refusal.granted, declaration.consent)
    return RetryLater(Reason.GRAPH_REFUSED, f"{refusal}. {advice}")


def _was_just_written(notification: Notification, received: datetime) -> bool:
    """Whether a message is so new that a replica may not have it yet. Graph returns a softly deleted message, and the
    id of a message is the time of its creation (docs/graph.md, "Messages").
    """
    item = identify(named_by(notification))
    if item.kind != "ChatMessage" or not _MESSAGE_ID.fullmatch(item.parts[-1]):
        return False
    return int(item.parts[-1]) > (received - SETTLES_WITHIN).timestamp() * 1_000


def _is_older(read: Resource, notification: Notification) -> bool:
    """Whether the read version precedes the change, by their etags; False without etags."""
    fetched, notified = (
        version.sortable(tag) for tag in (read.version_tag, read_resource_data(notification).odata_etag)
    )
    return fetched is not None and notified is not None and len(fetched) == len(notified) and fetched < notified


def _withheld(
    notification: Notification, tenant_id: str, received: datetime, declaration: Declaration, refusal: GraphRequestError
) -> Event:
    telemetry.NOT_HYDRATED.add(1, {"reason": "policy"})
    needed = policies(declaration.resource)
    _log.warning("%s in tenant %s is not read back: %s. %s", declaration.resource, tenant_id, refusal, needed)
    return _unconfirmed(notification, declaration, tenant_id, received)


def _believable(notification: Notification, declaration: Declaration) -> Notification:
    """Return a notification without `resourceData` that is about another resource, or that only Graph could confirm."""
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
    """Return a notification with the resource's type and the non-empty values of `data`."""
    said = {"@odata.type": read_resource_data(notification).odata_type, **data}
    known = {name: value for name, value in said.items() if value}
    return msgspec.structs.replace(notification, resource_data=msgspec.Raw(msgspec.json.encode(known)))


def _unconfirmed(notification: Notification, declaration: Declaration, tenant_id: str, received: datetime) -> Event:
    """Return the event of the notification alone. Raises Refused if that is not sufficient."""
    if declaration.include_resource_data:
        raise Refused(Reason.NOT_CONFIRMED, "an item without content, and Graph does not let the app read the resource")
    return event_without_content(notification, tenant_id, received)
