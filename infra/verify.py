"""Check a deployment and print a table of results, with a next step for each fault.

    python3 infra/verify.py --resource-group relay --app NAME --subscriptions subscriptions.json [--minutes 12]

Ends with 1 if there is a fault. Changes nothing. Facts that only the app knows (whether its roles are effective,
whether Graph accepts its subscriptions) come from its telemetry: at each run, renew_timer makes the checks of `python
-m ops doctor` that need the app's identity, and writes to storage and reads the vault for it.
"""

import argparse
import json
import re
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from infra import consent
from infra.az import AzError, az
from infra.deployed import Site, site, sites
from shared.configuration.schedule import longest_pause
from shared.resources.catalog import longest_lifetime
from shared.resources.permissions import Unsupported, kind_of, needs
from shared.resources.renewal import too_rare

FUNCTIONS = {"notify_http", "process_queue", "renew_timer"}
ROLES = {
    "974c5e8b-45b9-4653-ba55-5f855dd0fb88": "Storage Queue Data Contributor",
    "b7e6dc6d-f1e8-4753-8033-0f276bb0955b": "Storage Blob Data Owner",
    "0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3": "Storage Table Data Contributor",
    "4633458b-17de-408a-b874-0445c86b69e6": "Key Vault Secrets User",
    "3913510d-42f4-4e42-8a64-420c390055eb": "Monitoring Metrics Publisher",
}
STORAGE, VAULT = ("queue", "blobs", "tables"), ("keys",)
"""The resources that the app tests with its own identity, by their names in shared/access.py."""

OUR_ROLE = "Graph Relay key keeper"
TOKEN = "Validation: infra/verify.py asks +%&é"  # noqa: S105 - a handshake's, which is no secret
DRY_RUN = "subscription dry run"
RENEW_SCHEDULE = "0 */5 * * * *"
"""The default of the setting."""

PATIENCE = 180
"""Seconds to wait for results that Azure shows with delay."""

TELEMETRY = """
let heard = AppMetrics | where TimeGenerated > datetime({since});
union
  (heard | where Name == 'graph_relay.timer_runs' and Sum > 0 | project what = 'run', name = '', value = Sum),
  (heard | where Name == 'graph_relay.access'
    | summarize arg_max(TimeGenerated, Sum) by target = tostring(Properties.target)
    | project what = 'access', name = target, value = Sum),
  (heard | where Name == 'graph_relay.subscription_seconds_left'
    | summarize arg_max(TimeGenerated, Sum) by resource = tostring(Properties.resource)
    | project what = 'subscription', name = resource, value = Sum),
  (AppTraces | where TimeGenerated > datetime({since}) and SeverityLevel >= 2
    | summarize value = toreal(count()) by name = substring(Message, 0, 200) | project what = 'warning', name, value)
"""


@dataclass(frozen=True)
class CheckResult:
    """One row: the checked part, the observation, and the next step if there is a fault."""

    what: str
    observed: str
    next_step: str = ""

    @property
    def is_well(self) -> bool:
        """Whether there is nothing to do."""
        return not self.next_step


@dataclass(frozen=True)
class Deployment:
    """The deployment to check."""

    app: Site
    client_id: str
    permissions: Sequence[str]
    declared: Sequence[dict[str, Any]]
    url: str
    since: datetime
    patience: float
    minutes: float

    @property
    def resources(self) -> list[str]:
        """The declared resources."""
        return [str(declaration["resource"]) for declaration in self.declared]


def look(deployment: Deployment) -> Iterator[CheckResult]:
    """Yield all rows, in the order in which a deployment starts."""
    rows: list[Callable[[Deployment], Iterator[CheckResult]]] = [
        one_app,
        code,
        settings,
        roles,
        consented,
        dry_run,
        front_door,
        gateway,
        app_telemetry,
    ]
    for row in rows:
        try:
            yield from row(deployment)
        except (AzError, KeyError, TypeError, IndexError) as error:
            said = str(error).splitlines()[-1][:200] if str(error) else type(error).__name__
            yield CheckResult(
                row.__name__.replace("_", " "), f"Azure did not answer: {said}", "run infra/deploy.sh --verify again"
            )


def one_app(deployment: Deployment) -> Iterator[CheckResult]:
    """Only one app uses the queue: after a change of plan, the old one has to be deleted."""
    others = [site for site in sites(deployment.app.group) if site.name != deployment.app.name]
    for other in others:
        remove = f"az functionapp delete --resource-group {other.group} --name {other.name}"
        yield CheckResult("one app", f"{other.name} also exists and processes the same queue", remove)


def code(deployment: Deployment) -> Iterator[CheckResult]:
    """The functions are listed, and their host is running."""
    app = deployment.app
    names = wait(app.functions, lambda found: set(found) >= FUNCTIONS, deployment.patience)
    lacking = sorted(FUNCTIONS - set(names))
    yield CheckResult(
        "functions",
        ", ".join(names) or "none",
        f"{', '.join(lacking)} missing: the remote build failed or ran with another Python; read the log of the "
        "deployment, then infra/deploy.sh --code-only"
        if lacking
        else "",
    )
    state = wait(app.host_state, lambda found: found == "Running", deployment.patience)
    yield CheckResult("host", state, "" if state == "Running" else "portal, the app, Diagnose and solve problems")


def settings(deployment: Deployment) -> Iterator[CheckResult]:
    """The secrets were read from the vault."""
    waiting = deployment.app.unresolved()
    observed = "; ".join(f"{name}: {reason}" for name, reason in sorted(waiting.items())) or "resolved"
    step = f"python3 infra/resolve.py {deployment.app.group} {deployment.app.name}"
    yield CheckResult("settings from the vault", observed, step if waiting else "")


def roles(deployment: Deployment) -> Iterator[CheckResult]:
    """The app's identity has its roles; only the app can test whether they are effective."""
    (identity,) = deployment.app.get("")["identity"]["userAssignedIdentities"].values()
    listed = az("role", "assignment", "list", "--assignee-object-id", identity["principalId"], "--all")
    has = {assignment["roleDefinitionId"].rpartition("/")[2] for assignment in listed}
    names = " ".join(str(assignment.get("roleDefinitionName")) for assignment in listed)
    lacking = sorted(name for role, name in ROLES.items() if role not in has)
    lacking += [] if OUR_ROLE in names else [OUR_ROLE]
    observed = f"not assigned: {', '.join(lacking)}" if lacking else f"{len(ROLES) + 1} assigned"
    yield CheckResult(
        "roles", observed, "infra/deploy.sh assigns them, if you are User Access Administrator" if lacking else ""
    )


def consented(deployment: Deployment) -> Iterator[CheckResult]:
    """Graph's permissions are granted, and Graph may get tokens for the app."""
    app, microsoft_graph = consent.principal(deployment.client_id), consent.principal(consent.MICROSOFT_GRAPH_APP)
    if app is None:
        yield CheckResult(
            "consent", "no service principal", consent.advice(deployment.client_id, deployment.permissions)
        )
        return
    lacking = sorted(consent.missing(app, microsoft_graph, deployment.permissions))
    observed = f"not granted: {', '.join(lacking)}" if lacking else f"{len(deployment.permissions)} permissions granted"
    yield CheckResult(
        "consent", observed, consent.advice(deployment.client_id, deployment.permissions) if lacking else ""
    )
    if consent.principal(consent.CHANGE_TRACKING_APP) is None:
        step = f"an Application Administrator: az ad sp create --id {consent.CHANGE_TRACKING_APP}"
        yield CheckResult(
            "change tracking", "Graph's own service principal is missing: rich notifications have no valid tokens", step
        )


def dry_run(deployment: Deployment) -> Iterator[CheckResult]:
    """The subscriptions that renew_timer will request with the deployed settings, and what prevents them."""
    current = deployment.app.settings()
    redeploy = "infra/deploy.sh updates the app's settings"
    if not subscriptions_in_blob(current) and json.loads(current.get("SUBSCRIPTIONS") or "[]") != list(
        deployment.declared
    ):
        yield CheckResult(DRY_RUN, "the app's setting SUBSCRIPTIONS differs from the file", redeploy)
    if current.get("NOTIFICATION_URL") != deployment.url:
        yield CheckResult(
            DRY_RUN, f"NOTIFICATION_URL is {current.get('NOTIFICATION_URL')}, not {deployment.url}", redeploy
        )
    pause = longest_pause(current.get("RENEW_SCHEDULE") or RENEW_SCHEDULE, datetime.now(UTC).date())
    found = [words for declaration in deployment.declared for words in obstacles(declaration, pause)]
    for words in found:
        observed, _, step = words.partition(". ")
        yield CheckResult(DRY_RUN, observed, step or "remove the declaration")
    if not found:
        asked = "; ".join(
            f"{declaration['resource']} ({description(declaration)})" for declaration in deployment.declared
        )
        yield CheckResult(DRY_RUN, f"{len(deployment.declared)} to request from Graph: {asked}")


def subscriptions_in_blob(current: dict[str, str]) -> bool:
    """Whether a blob holds the declarations: `ops doctor` compares it with the value in force."""
    return current.get("SUBSCRIPTIONS", "").startswith("https://")


def obstacles(declared: dict[str, Any], pause: timedelta) -> Iterator[str]:
    """Yield why Graph would refuse a subscription, or let it expire."""
    resource = str(declared["resource"])
    try:
        kind = kind_of(resource)
        needs(resource, hydrate=declared.get("hydrate", False), consent=declared.get("consent", "tenant"))
    except Unsupported as unsupported:
        yield str(unsupported)
        return
    if kind.beta:
        yield f"{resource}: only Graph's beta endpoint offers it, and the app does not use that endpoint"
    if complaint := too_rare(resource, rich=declared.get("includeResourceData", False), pause=pause):
        yield complaint


def description(declared: dict[str, Any]) -> str:
    """Return the change types, whether there is content, and the lifetime, in words."""
    rich = declared.get("includeResourceData", False)
    hours = longest_lifetime(str(declared["resource"]), rich=rich) / timedelta(hours=1)
    return f"{', '.join(declared['changeTypes'])}; {'with' if rich else 'without'} content; {hours:.0f} h"


def front_door(deployment: Deployment) -> Iterator[CheckResult]:
    """An open endpoint echoes the handshake; a closed one refuses it, since this computer is not Graph."""
    if deployment.url.startswith("EventHub:"):
        yield CheckResult("handshake", "an event hub has no handshake")
        return
    is_open = deployment.app.tags.get("profile") == "cheap"
    status, body, seconds = wait(
        lambda: handshake(deployment.url),
        lambda answer: answer[:2] == (200, TOKEN) if is_open else answer[0] == 403,
        deployment.patience,
    )
    observed = f"{status} in {seconds:.1f} s" if status else body
    if is_open:
        echoed = (status, body) == (200, TOKEN)
        step = "the app's log; python -m ops doctor" if not echoed else ""
        yield CheckResult("handshake", f"echoed, {observed}" if echoed else f"not echoed: {observed}", step)
    elif status == 403:
        yield CheckResult(
            "front door", "closed to this computer (403), as expected; Graph's own handshake shows in the rows below"
        )
    else:
        step = "point the host name at the gateway" if not status else "it must be closed: run infra/deploy.sh again"
        yield CheckResult("front door", f"expected 403, saw {observed}", step)


def gateway(deployment: Deployment) -> Iterator[CheckResult]:
    """The gateway reaches the app."""
    if deployment.app.tags.get("profile") != "gateway":
        return
    group = deployment.app.group
    (name,) = [gateway["name"] for gateway in az("network", "application-gateway", "list", "--resource-group", group)]
    health = az("network", "application-gateway", "show-backend-health", "--resource-group", group, "--name", name)
    states = [
        server["health"]
        for pool in health["backendAddressPools"]
        for entry in pool["backendHttpSettingsCollection"]
        for server in entry["servers"]
    ]
    step = "" if states and set(states) == {"Healthy"} else "portal, the gateway, Backend health"
    yield CheckResult("gateway", f"the app behind it: {', '.join(states) or 'none'}", step)


def app_telemetry(deployment: Deployment) -> Iterator[CheckResult]:
    """Results from the app's telemetry: a timer run uses storage, vault and Graph with the app's identity."""
    end = time.monotonic() + deployment.minutes * 60
    found = telemetry(deployment)
    while not has_telemetry_of(found, deployment) and time.monotonic() < end:
        time.sleep(30)
        found = telemetry(deployment)
    warnings = "; ".join(name for what, name, _ in found if what == "warning") or "no warnings"
    has = {what for what, _, _ in found}
    if "run" not in has:
        nothing = f"no run of renew_timer within {deployment.minutes:.0f} minutes; the app's log: {warnings}"
        yield CheckResult("the app itself", nothing, "docs/runbook/no-heartbeat.md")
        return
    may = {name: value > 0 for what, name, value in found if what == "access"}
    for what, wanted, did in (
        ("storage, by the app", STORAGE, "can write to its queue, blobs and tables"),
        ("vault, by the app", VAULT, "can read its encryption key"),
    ):
        denied = [name for name in wanted if not may.get(name)]
        observed = f"no access to: {', '.join(denied)}; log: {warnings}" if denied else did
        yield CheckResult(
            what, observed, "docs/permissions.md, Azure roles; then wait, roles take minutes" if denied else ""
        )
    alive = {name for what, name, value in found if what == "subscription" and value > 0}
    lacking = [resource for resource in deployment.resources if not lives(resource, alive)]
    observed = f"missing: {', '.join(lacking)}; log: {warnings}" if lacking else f"{len(alive)} at Graph"
    yield CheckResult("subscriptions", observed, "docs/runbook/reconcile-failed.md" if lacking else "")


def lives(resource: str, alive: Collection[str]) -> bool:
    """Whether there is a subscription to a resource; for `forEach`, to that of any member."""
    pattern = re.escape(resource).replace(re.escape("{id}"), "[^/]+").replace(re.escape("{parent}"), "[^/]+")
    return any(re.fullmatch(pattern, name) for name in alive)


def has_telemetry_of(found: Sequence[tuple[str, str, float]], deployment: Deployment) -> bool:
    """Whether the telemetry shows all that is expected, so that waiting can end."""
    alive = {name for what, name, value in found if what == "subscription" and value > 0}
    may = {name for what, name, value in found if what == "access" and value > 0}
    live = all(lives(resource, alive) for resource in deployment.resources)
    return "run" in {what for what, _, _ in found} and may >= {*STORAGE, *VAULT} and live


def telemetry(deployment: Deployment) -> list[tuple[str, str, float]]:
    """Return the app's telemetry since the deployment. Raises AzError."""
    (workspace,) = az("monitor", "log-analytics", "workspace", "list", "--resource-group", deployment.app.group)
    api = "https://api.loganalytics.io"
    query = TELEMETRY.format(since=deployment.since.isoformat())
    answer = az("rest", "--method", "post", "--url", f"{api}/v1/workspaces/{workspace['customerId']}/query",
                "--resource", api, "--body", json.dumps({"query": query}))  # fmt: skip
    return [(str(what), str(name), float(value)) for what, name, value in answer["tables"][0]["rows"]]


def handshake(url: str) -> tuple[int, str, float]:
    """Return status, body and seconds of a handshake such as Graph's; without an answer, status 0 and the reason."""
    if not url.startswith("https://"):
        return 0, f"NOTIFICATION_URL is not an https URL: {url}", 0
    began = time.monotonic()
    asked = urllib.request.Request(  # noqa: S310 - https, as was just looked at
        f"{url}?{urllib.parse.urlencode({'validationToken': TOKEN})}", data=b"", method="POST",
        headers={"Content-Type": "text/plain; charset=utf-8"},
    )  # fmt: skip
    try:
        with urllib.request.urlopen(asked, timeout=20) as answer:  # noqa: S310 - the same
            return answer.status, answer.read(4096).decode(errors="replace"), time.monotonic() - began
    except urllib.error.HTTPError as error:
        return error.code, "", time.monotonic() - began
    except OSError as error:
        return 0, f"nothing answers ({error})", time.monotonic() - began


def wait(ask: Callable[[], Any], is_well: Callable[[Any], bool], patience: float) -> Any:
    """Return the first good answer, or the last one after `patience` seconds."""
    end = time.monotonic() + patience
    while True:
        answer = ask()
        if is_well(answer) or time.monotonic() >= end:
            return answer
        time.sleep(10)


def table(rows: Sequence[CheckResult]) -> str:
    """Return the rows for a terminal: a mark, the checked part, the observation; below each fault its next step."""
    width = max(len(row.what) for row in rows)
    lines = []
    for row in rows:
        lines.append(f"{'ok  ' if row.is_well else 'MISS'}  {row.what:{width}}  {row.observed}")
        if not row.is_well:
            lines += [f"      {'':{width}}  → {line}" for line in row.next_step.splitlines()]
    return "\n".join(lines)


def main() -> None:
    """Check, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--resource-group", required=True)
    parser.add_argument("--app", required=True)
    parser.add_argument("--client-id", required=True)
    parser.add_argument("--url", required=True, help="NOTIFICATION_URL")
    parser.add_argument("--subscriptions", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=12, help="minutes to wait for the app's first timer run")
    parser.add_argument(
        "--patience", type=float, default=PATIENCE, help="seconds to wait for results that Azure shows with delay"
    )
    given = parser.parse_args()
    declared = json.loads(given.subscriptions.read_text(encoding="utf-8"))
    script = [sys.executable, str(Path(__file__).with_name("graph_permissions.py")), str(given.subscriptions)]
    needed = subprocess.run(script, check=True, capture_output=True, text=True).stdout.split()  # noqa: S603
    try:
        app = site(given.resource_group, given.app)
    except AzError as error:
        sys.exit(str(error))
    deployment = Deployment(app, given.client_id, needed, declared, given.url, datetime.now(UTC), given.patience,
                            given.minutes)  # fmt: skip
    rows = list(look(deployment))
    print(table(rows))
    sys.exit(0 if all(row.is_well for row in rows) else 1)


if __name__ == "__main__":
    main()
