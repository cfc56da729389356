"""The metrics and spans of this app. `shared.exporting` sets up their export.

Every constant is an OpenTelemetry instrument; without a provider, instruments do nothing and cost almost nothing.
"""

from contextlib import AbstractContextManager

from opentelemetry import metrics, propagate, trace
from opentelemetry.trace import Span

_meter = metrics.get_meter("graph_relay")

RECEIVED = _meter.create_counter("graph_relay.received", "item", "Notifications received from Graph")
REFUSED = _meter.create_counter("graph_relay.refused", "item", "Notifications not proven, by reason")
QUEUED = _meter.create_counter("graph_relay.queued", "item", "Notifications made durable before the 202")
DELIVERED = _meter.create_counter("graph_relay.delivered", "item", "Events the destination has accepted")
RETRIED = _meter.create_counter("graph_relay.retried", "item", "Notifications queued again, by reason")
DEAD_LETTERED = _meter.create_counter("graph_relay.dead_lettered", "item", "Notifications dead-lettered, by reason")
NOT_HYDRATED = _meter.create_counter(
    "graph_relay.not_hydrated", "item", "Events without the content that hydrate asks for, which a policy withholds"
)
SKIPPED = _meter.create_counter(
    "graph_relay.skipped", "place", "Users and teams that Graph refuses to read back, among all of a tenant"
)
PINGS = _meter.create_counter("graph_relay.pings", "item", "Notifications that only say that a drive or list changed")
UNSELECTED = _meter.create_counter(
    "graph_relay.unselected", "item", "Events that the filters of all destinations leave out"
)
DUPLICATES = _meter.create_counter("graph_relay.duplicates", "item", "Notifications of events already delivered")
LIFECYCLE = _meter.create_counter("graph_relay.lifecycle", "item", "Lifecycle notifications, by event")
SUSPICIOUS_TOKENS = _meter.create_counter(
    "graph_relay.suspicious_tokens", "token", "Validation tokens that failed beside a valid one, by reason"
)
RECOVERED = _meter.create_counter("graph_relay.recovered", "item", "Events that were read back, not pushed")
RECONCILED = _meter.create_counter("graph_relay.reconciled", "action", "Subscription changes, by action, outcome")
WORKED_OFF = _meter.create_counter(
    "graph_relay.worked_off", "message", "Messages that renew_timer handled because the queue trigger did not run"
)
UNACCOUNTED = _meter.create_gauge(
    "graph_relay.unaccounted", "item", "Notifications that were queued, never handled, and are no longer on the queue"
)
TIMER_RUNS = _meter.create_counter("graph_relay.timer_runs", "run", "Completed runs of the timer")
ACKNOWLEDGE_SECONDS = _meter.create_histogram("graph_relay.acknowledge_seconds", "s", "From request to response")
QUEUE_AGE_SECONDS = _meter.create_histogram("graph_relay.queue_age_seconds", "s", "From receipt to processing")
LAG_SECONDS = _meter.create_histogram("graph_relay.lag_seconds", "s", "From receipt to delivery")
QUEUE_LENGTH = _meter.create_gauge("graph_relay.queue_length", "message", "Messages queued, including hidden ones")
QUEUE_WAITING_SECONDS = _meter.create_gauge(
    "graph_relay.queue_waiting_seconds", "s", "Since the receipt of the oldest visible message"
)
DEAD_LETTERS = _meter.create_gauge("graph_relay.dead_letters", "message", "Dead letters that wait for a person")
KEY_AGE_SECONDS = _meter.create_gauge("graph_relay.key_age_seconds", "s", "Age of the current encryption key")
SILENCE_SECONDS = _meter.create_gauge(
    "graph_relay.silence_seconds", "s", "Since the last notification of each declared subscription"
)
SUBSCRIPTION_SECONDS_LEFT = _meter.create_gauge(
    "graph_relay.subscription_seconds_left", "s", "Time to the expiry of each declared subscription"
)
ACCESS = _meter.create_gauge("graph_relay.access", "1", "Whether the app could use what it needs: 1, else 0")

_tracer = trace.get_tracer("graph_relay")


def span(name: str, *parents: str) -> AbstractContextManager[Span]:
    """Open a span. `parents`: the `traceparent`s (W3C Trace Context) of the spans, in another process, that caused it;
    the first is its parent, it has links to the others.
    """
    causes = [propagate.extract({"traceparent": parent}) for parent in parents if parent]
    first, others = next(iter(causes), None), causes[1:]
    links = [trace.Link(trace.get_current_span(context).get_span_context()) for context in others]
    return _tracer.start_as_current_span(
        name, first, links=links, record_exception=False, set_status_on_exception=False
    )


def traceparent() -> str:
    """Return the `traceparent` of the current span; "" if nothing is traced."""
    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    return carrier.get("traceparent", "")
