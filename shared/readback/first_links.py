"""The delta link of a declaration before its subscription: what the subscription announces is then after the link.

Obtained later, a link omits the changes in between; a notification of a drive or list does not even name them.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from shared.configuration.declaration import Declaration
from shared.graph.client import GraphClient, GraphRequestError
from shared.readback.checkpoints import Checkpoints
from shared.readback.delta import from_now_on
from shared.readback.pages import read_by, unreadable
from shared.resources.delta_query import latest
from shared.resources.permissions import remedy_of_reading

_log = logging.getLogger("graph_relay.backfill")


@dataclass(frozen=True)
class FirstLinks:
    """Obtains first delta links; one object serves all threads."""

    graph: GraphClient
    checkpoints: Checkpoints
    clock: Callable[[], datetime]

    def obtain(self, declaration: Declaration) -> None:
        """Store a link that begins now, unless there is one, or Graph offers none for this resource.

        If Graph refuses, the first query of a drive or list lists what changed, once it is allowed to. Raises
        RetryLater if Graph or storage is unavailable.
        """
        resource = read_by(declaration)
        if not latest(resource) or unreadable(declaration) or self.checkpoints.delta_link(declaration.id):
            return
        asked = self.clock()
        try:
            page = from_now_on(declaration.tenant_id, resource, self.graph)
        except GraphRequestError as refusal:
            advice = remedy_of_reading(resource, refusal.granted) if refusal.status == 403 else ""
            _log.warning(
                "Changes of %s in tenant %s can't be read: %s. %s",
                *(declaration.resource, declaration.tenant_id, refusal, advice or "`ops doctor` says what to do"),
            )
            return
        if page.delta_link:
            self.checkpoints.save_first_delta_link(declaration.id, page.delta_link, asked)
