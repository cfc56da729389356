"""`send-test`: deliver a made-up event to a destination, exactly as the app delivers real ones."""

from collections.abc import Iterable

import click

from ops.report import ExitCode, Report, ReportTable, as_json, finish
from ops.samples import samples
from shared.configuration.destinations import DEFAULT
from shared.relay import relay

_TYPE = "Microsoft.Graph.ChatMessageCreated"


class TestDelivery(Report):
    """The destination's response to the event. failure: why it was not accepted; "" if it was."""

    destination: str
    type: str
    event: str
    failure: str

    @property
    def exit_code(self) -> ExitCode:
        """Attention if the destination does not accept the event."""
        return ExitCode.ATTENTION if self.failure else ExitCode.FINE

    def shown(self) -> Iterable[str | ReportTable]:
        """Yield a sentence or two."""
        if self.failure:
            yield f"{self.destination} does not accept a {self.type}: {self.failure}"
            yield "See docs/destination.md; `doctor` checks the rest."
        else:
            yield f"{self.destination} accepted a {self.type}, id {self.event}"
            yield "Its tenant is 00000000-0000-0000-0000-000000000000, which does not exist."


@click.command("send-test")
@click.option("--destination", default=DEFAULT, show_default=True, help="The name of the destination.")
@click.option(
    "--type", "type_", default=_TYPE, show_default=True, help="The type of the event; docs/samples.json has all."
)
@as_json
def send_test(destination: str, type_: str, *, as_json: bool) -> None:
    """Send a sample event to a destination, signed and in its mode. Nothing is recorded."""
    known = {event.type: event for event in samples()}
    if type_ not in known:
        raise click.BadParameter("expected a type of docs/samples.json", param_hint="--type")
    invalid = next((setting.invalid for setting in relay().outboxes.settings if setting.name == destination), "")
    if invalid:
        finish(TestDelivery(destination, type_, "", f"its entry is invalid: {invalid}"), as_json=as_json)
    if destination not in relay().destinations:
        names = ", ".join(relay().destinations)
        raise click.BadParameter(f"expected one of {names}", param_hint="--destination")
    event = known[type_]
    delivery = relay().destinations[destination].deliver([event])
    finish(TestDelivery(destination, type_, event.id, str(delivery.failure or "")), as_json=as_json)
