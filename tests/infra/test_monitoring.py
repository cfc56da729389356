"""Alerts and the workbook use existing metrics, and every alert has its page in the runbook."""

import json
import re
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote_plus

import click
import pytest
import requests

from ops.cli import ops
from shared import telemetry
from shared.errors import Reason
from shared.messages.retry import JITTER, SCHEDULE
from shared.subscriptions import silence
from shared.subscriptions.endpoint import probe
from tests.infra import kusto
from tests.infra.bicep import INFRA

RUNBOOK = INFRA.parent / "docs" / "runbook"
ALERTS: list[dict[str, Any]] = json.loads((INFRA / "alerts.json").read_text(encoding="utf-8"))
METRIC_ALERTS: list[dict[str, Any]] = json.loads((INFRA / "metric-alerts.json").read_text(encoding="utf-8"))
PROFILES = {"cheap", "middle", "gateway", "dedicated"}
WORKBOOK: dict[str, Any] = json.loads((INFRA / "workbook.json").read_text(encoding="utf-8"))
GAUGES = set(re.findall(r'_gauge\(\s*"(graph_relay\.\w+)"', Path(telemetry.__file__).read_text(encoding="utf-8")))
METRICS = set(re.findall(r'"(graph_relay\.\w+)"', Path(telemetry.__file__).read_text(encoding="utf-8")))
EACH = pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: str(alert["name"]))


def queries() -> list[str]:
    """Return the queries of the workbook."""
    return [item["content"]["query"] for item in WORKBOOK["items"] if item["type"] == 3]


def every_query() -> list[str]:
    """Return the queries of the alerts and of the workbook."""
    return [alert["query"] for alert in ALERTS] + [query.replace("{TimeRange:grain}", "5m") for query in queries()]


@pytest.mark.parametrize("alert", [*ALERTS, *METRIC_ALERTS], ids=lambda alert: str(alert["name"]))
def test_alert_has_a_page_that_says_what_it_means_and_what_to_do(alert: dict[str, Any]) -> None:
    page = (RUNBOOK / f"{alert['name']}.md").read_text(encoding="utf-8")
    assert [line for line in page.splitlines() if line.startswith("## ")] == ["## What it means", "## Look", "## Do"]
    assert alert["title"].casefold() == page.splitlines()[0].removeprefix("# ").casefold()
    heading = " ".join(page.partition("## ")[0].split())
    assert re.search(rf" Severity {alert['severity']} \(\w+\)\. {re.escape(alert['description'])}$", heading)


@EACH
def test_alert_is_one_that_azure_takes(alert: dict[str, Any]) -> None:
    assert alert["severity"] in range(5)
    assert alert["window"] in ("PT5M", "PT10M", "PT15M", "PT30M", "PT45M", *(f"PT{hours}H" for hours in range(1, 7)))
    assert set(alert["profiles"]) <= PROFILES


def test_what_graph_waits_for_is_measured_once_in_each_profile_before_it_counts() -> None:
    named = [profile for alert in METRIC_ALERTS for profile in alert["profiles"]]
    assert sorted(named) == sorted(PROFILES)
    for alert in METRIC_ALERTS:
        second = {"ms": 1_000, "s": 1}[alert["unit"]]
        # If a share s of all answers takes 3 s or more, the mean is at least 3 s times s (Markov): below a tenth.
        assert float(alert["mean"]) / (3 * second) == pytest.approx(0.05)
        assert float(alert["slowest"]) == 3 * second


def test_our_own_handshake_is_no_stranger_at_the_firewall() -> None:
    (alert,) = (alert for alert in ALERTS if alert["name"] == "gateway-blocks")
    (pattern,) = re.findall(r"matches regex @'([^']+)'", alert["query"])
    asked: list[str] = []

    class Asking(requests.Session):
        def send(self, request: requests.PreparedRequest, **_: Any) -> requests.Response:
            asked.append(str(request.path_url))
            raise requests.ConnectionError

    probe("https://relay.example.org/api/notifications", Asking())
    assert re.search(pattern, asked[0])
    assert re.search(pattern, unquote_plus(asked[0]))  # however the firewall logs it
    assert not re.search(pattern, "/api/notifications?validationToken=Validation%3a+Testing+client+application")


def test_a_disconnecting_caller_is_not_counted_as_a_failure_of_the_app_and_many_are() -> None:
    (alert,) = (alert for alert in ALERTS if alert["name"] == "function-failed")
    assert "BadHttpRequestException" in alert["query"]
    assert "caller = OperationName == 'notify_http' and OperationId in (broken)" in alert["query"]
    assert "failures > iff(caller, 100, 0)" in alert["query"]


def test_a_message_that_a_host_took_down_with_it_is_not_late_yet() -> None:
    (alert,) = (alert for alert in ALERTS if alert["name"] == "lag")
    lease = 600  # of a message that a host had in progress when it ended (docs/host.md)
    (longest,) = re.findall(r"longest > (\d+)", alert["query"])
    assert int(longest) > lease + 60


@EACH
def test_alert_asks_for_metrics_there_are(alert: dict[str, Any]) -> None:
    assert set(re.findall(r"graph_relay\.\w+", alert["query"])) <= METRICS


def test_a_gauge_is_queried_by_its_sum() -> None:
    asked = [query for query in every_query() if any(gauge in query for gauge in GAUGES)]
    assert len(asked) > len(GAUGES)
    assert [query for query in asked if re.search(r"\b(Min|Max)\b", query)] == []


def test_a_standing_trouble_is_looked_for_longer_than_its_signs_are_apart() -> None:
    windows = {alert["name"]: int(re.sub(r"\D", "", alert["window"])) for alert in ALERTS if "H" in alert["window"]}
    longest_wait = SCHEDULE[-1] * (1 + JITTER) / timedelta(hours=1)
    assert windows["destination-gone"] > longest_wait
    assert windows["retries"] > 2 * longest_wait  # two of them, to show that it lasts


def test_the_app_is_missed_where_there_is_no_row_at_all() -> None:
    (alert,) = (alert for alert in ALERTS if alert["name"] == "no-heartbeat")
    # Without `by` the result has a row even without data.
    counting = r"summarize (\w+) = countif\([^)]+\) \| where \1 == 0$"
    assert re.search(counting, alert["query"])


def test_a_few_refused_items_with_our_client_state_raise_an_alert() -> None:
    (alert,) = (alert for alert in ALERTS if alert["name"] == "refused")
    strange = set(re.findall(r"reason in \('(\w+)', '(\w+)'\)", alert["query"])[0])
    assert strange == {Reason.CLIENT_STATE, Reason.MALFORMED}
    assert "iff(strange, 100, 5)" in alert["query"]


@pytest.mark.process
def test_queries_are_ones_that_kusto_takes_and_wrong_ones_are_found() -> None:
    wrong = [
        "AppMetric | count",
        "AppMetrics | where Nam == 'graph_relay.refused'",
        "AppMetrics | sumarize sum(Sum)",
        "AppMetrics | where Name == 1 +",
        "AppMetrics | summarize sum(Name)",
    ]
    asked = [*every_query(), *wrong]  # in one process: it takes seconds to start
    found = dict(zip(asked, kusto.complaints(asked), strict=True))
    assert [query for query, complaints in found.items() if complaints] == wrong, found


def test_every_function_is_watched_for_failures() -> None:
    (alert,) = (alert for alert in ALERTS if alert["name"] == "function-failed")
    rooms = {path.parent.name for path in INFRA.parent.glob("*/function.py")}
    assert set(re.findall(r"'(\w+)'", alert["query"].partition("OperationName in (")[2].partition(")")[0])) == rooms


def test_every_page_belongs_to_an_alert() -> None:
    assert {path.stem for path in RUNBOOK.glob("*.md")} - {"README"} == {
        alert["name"] for alert in [*ALERTS, *METRIC_ALERTS]
    }


def test_index_of_the_runbook_links_every_page() -> None:
    index = (RUNBOOK / "README.md").read_text(encoding="utf-8")
    names = [alert["name"] for alert in [*ALERTS, *METRIC_ALERTS]]
    assert re.findall(r"\]\(([\w-]+)\.md\)", index) == list(dict.fromkeys(names))


def test_workbook_shows_every_metric() -> None:
    assert set(re.findall(r"graph_relay\.\w+", " ".join(queries()))) == METRICS


def test_workbook_is_of_the_form_that_azure_draws() -> None:
    assert WORKBOOK["version"] == "Notebook/1.0"
    names = [item["name"] for item in WORKBOOK["items"] if item["type"] != 1]
    assert len(set(names)) == len(names)
    assert {item["content"]["timeContextFromParameter"] for item in WORKBOOK["items"] if item["type"] == 3} == {
        "TimeRange"
    }


def test_silence_is_found_by_the_words_of_its_warning() -> None:
    (alert,) = (alert for alert in ALERTS if alert["name"] == "silence")
    words = re.findall(r"Message has '([^']+)'", alert["query"])
    assert words
    assert words[0] in Path(silence.__file__).read_text(encoding="utf-8")


def test_commands_of_the_runbook_are_ones_that_the_command_line_takes() -> None:
    pages = " ".join(path.read_text(encoding="utf-8") for path in sorted(RUNBOOK.glob("*.md")))
    lines = {" ".join(line.split()) for line in re.findall(r"`python -m ops ([^`]+)`", pages)}
    assert lines
    for line in sorted(lines):
        command: click.Command = ops
        words = line.split()
        while isinstance(command, click.Group):
            command = command.commands[words.pop(0)]
        command.make_context(line, words, resilient_parsing=False)
