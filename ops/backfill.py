"""`backfill`: have the app read a time range of a resource back from Graph."""

from collections.abc import Iterable
from datetime import datetime

import click

from ops.report import Report, ReportTable, as_json, finish, when
from ops.time_argument import Moment
from shared.configuration.values import GUID
from shared.messages.envelope import ReadbackPage, write
from shared.readback.pages import can_read
from shared.relay import relay, utc_now
from shared.resources.delta_query import delta_path

READABLE = (
    "/teams/getAllMessages, /chats/getAllMessages, /teams/ID/channels/getAllMessages, /users/ID/chats/getAllMessages, "
    "/teams/ID/channels/ID/messages, /chats/ID/messages, the path of one message, or what has a delta query such as "
    "/users, /groups, /drives/ID/root and /users/ID/mailFolders/ID/messages"
)


class RequestedBackfill(Report):
    """What has been queued."""

    tenant: str
    resource: str
    since: datetime
    until: datetime

    def shown(self) -> Iterable[str | ReportTable]:
        """Yield one sentence."""
        changed = (
            f"changed after {when(self.since)} and before {when(self.until)}"
            if delta_path(self.resource) is None
            else "changed since it was last compared: a delta query has no time range"
        )
        yield (
            f"Queued: {self.resource} of tenant {self.tenant}, {changed}. What was not delivered before is delivered "
            "as the pages are read; `watch` shows it."
        )


@click.command()
@click.option("--resource", required=True, help="The path of what to read, declared or not.")
@click.option("--since", type=Moment(), required=True, help="Start: a time, or a duration before now such as 36h.")
@click.option("--until", type=Moment(), help="End. [default: now]")
@click.option("--tenant", help="The tenant's GUID. [default: GRAPH_TENANT_ID]")
@as_json
def backfill(resource: str, since: datetime, until: datetime | None, tenant: str | None, *, as_json: bool) -> None:
    """Read a time range back from Graph.

    Delivers what the ledger does not contain.

    The app does the work, page by page, and may be restarted meanwhile.
    """
    now = utc_now()
    until = until or now
    tenant_id = (tenant or relay().settings.tenant_id).lower()
    if not can_read(resource):
        raise click.BadParameter(f"can't be read back; expected {READABLE}", param_hint="--resource")
    if not GUID.fullmatch(tenant_id):
        raise click.BadParameter("expected a GUID", param_hint="--tenant")
    if since >= until:
        raise click.BadParameter("expected a time before --until", param_hint="--since")
    relay().queues.send(write(ReadbackPage(now, tenant_id, resource, since, until)))
    finish(RequestedBackfill(tenant_id, resource, since, until), as_json=as_json)
