"""Items that carry no content: events of what they say, or read from Graph where their declaration asks for it."""

import logging
from dataclasses import dataclass
from datetime import datetime

import msgspec

from shared import telemetry
from shared.configuration.declaration import Declaration
from shared.delivery.event import Event, event_of_content, event_without_content
from shared.errors import Reason, Refused, RetryLater
from shared.graph.client import GraphClient, GraphRequestError
from shared.graph.notification import Notification
from shared.resources.matching import is_certainly_within
from shared.resources.path import encoded, has_dot_segments, segments
from shared.resources.permissions import is_policy_refusal, policies

_log = logging.getLogger("graph_relay.hydration")


@dataclass(frozen=True)
class Hydration:
    """Reads resources for those declarations that say `hydrate`."""

    graph: GraphClient

    def event(
        self, notification: Notification, declaration: Declaration | None, tenant_id: str, received: datetime
    ) -> Event:
        """Return the event of an item without content; what Graph no longer has makes a deletion.

        declaration: the one whose clientState the item carries; None if it is declared no more. Only what is certain
        to be within it is read: whoever has learnt a clientState must not choose what we read.

        What a policy of the tenant withholds, besides the permission, is delivered as the notification told it: nothing
        is gained by waiting for an administrator, and the event says that it is partial.

        A deletion is read like the rest: only the message itself, softly deleted, says when that was, and so what it
        follows and what follows it.

        Raises:
            Refused: its path would have Graph read something else than it names.
            Undeliverable: Graph's answer is not a resource.
            RetryLater: it can't be read at present.
        """
        if declaration is None or not declaration.hydrate:
            return event_without_content(notification, tenant_id, received)
        path = segments(notification.resource or "")
        if has_dot_segments(path):
            raise Refused(Reason.MALFORMED)
        if not is_certainly_within(declaration.resource, notification.resource or ""):
            return event_without_content(notification, tenant_id, received)
        try:
            content = self.graph.get_raw(tenant_id, encoded(path))
        except GraphRequestError as refusal:
            if refusal.status == 403 and is_policy_refusal(
                declaration.resource, refusal.inner_code, refusal.message, refusal.granted
            ):
                return _withheld(notification, tenant_id, received, declaration, refusal)
            if refusal.status != 404:
                raise RetryLater(Reason.GRAPH_REFUSED, str(refusal)) from None
            gone = msgspec.structs.replace(notification, change_type="deleted")
            return event_without_content(gone, tenant_id, received)
        if notification.change_type == "deleted":  # and there it is: it says itself whether it was restored since
            notification = msgspec.structs.replace(notification, change_type=None)
        return event_of_content(content, notification, tenant_id, received)


def _withheld(
    notification: Notification, tenant_id: str, received: datetime, declaration: Declaration, refusal: GraphRequestError
) -> Event:
    telemetry.NOT_HYDRATED.add(1)
    needed = policies(declaration.resource)
    _log.warning("%s in tenant %s is not read back: %s. %s", declaration.resource, tenant_id, refusal, needed)
    return event_without_content(notification, tenant_id, received)
