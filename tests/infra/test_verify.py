"""After a deployment a table lists the results; each miss names its next step, and the script ends with an error."""

import json
import re
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from infra.verify import (
    RENEW_SCHEDULE,
    ROLES,
    STORAGE,
    VAULT,
    CheckResult,
    lives,
    obstacles,
    subscriptions_in_blob,
    table,
)
from shared.access import key_access, storage_access
from shared.configuration import values
from shared.keys.directory import KeyDirectory
from shared.keys.ring import KeyRing
from tests.builders import NOW
from tests.infra.bicep import INFRA, template, templates
from tests.infra.deployment import (
    APPLICATION,
    CLOSED,
    DECLARED,
    DEPLOYED,
    HEARD,
    OPEN,
    SITE,
    WAITING,
    Run,
    World,
    deploy,
    heard,
    named,
    settings,
    site,
)
from tests.memory import MemoryAccount
from tests.once import once

pytestmark = pytest.mark.process


def verify(directory: Path, *world: tuple[str, str], url: str = OPEN) -> Run:
    """Run infra/verify.py, without its waits, in a deployed world with these differences."""
    directory.mkdir(exist_ok=True)
    declared = directory / "declared.json"
    declared.write_text(json.dumps(DECLARED))
    script = [sys.executable, str(INFRA / "verify.py"), "--resource-group", "relay", "--app", "relay-app"]
    script += ["--client-id", APPLICATION, "--url", url, "--subscriptions", str(declared)]
    changed: World = [*world, *DEPLOYED]
    return deploy(directory, world=changed, command=[*script, "--patience", "0", "--minutes", "0"])


def row(run: Run, what: str) -> tuple[str, str]:
    """Return the mark and the text of a row with its next step."""
    found = re.search(rf"^(ok|MISS) +{re.escape(what)}  (.*(?:\n {{6}} .*)*)", run.said, re.MULTILINE)
    assert found, run.said
    return found[1], found[2]


@pytest.fixture(scope="module")
def well(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return once(tmp_path_factory, "well", verify)


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Every row is a miss."""
    second = {"id": f"{SITE}-before", "tags": {"purpose": "relay-app", "profile": "cheap"}}
    may = [["access", "blobs", 1], ["access", "keys", 0]]
    warning = ["warning", "Invalid settings; subscriptions are not renewed", 3]
    world = (
        ("resource list --resource-group relay --resource-type Microsoft.Web/sites --output json",
         json.dumps([*json.loads(site("cheap")), second])),
        (f"rest --method get --url {SITE}/functions?", json.dumps({"value": [named("notify_http")]})),
        (f"rest --method get --url {SITE}/host/default",
         json.dumps({"properties": {"state": "Error", "errors": ["host.json is invalid"]}})),
        (f"rest --method get --url {SITE}/config/configreferences", WAITING),
        ("role assignment list", "[]"),
        ("functionapp config appsettings list", settings(CLOSED, SUBSCRIPTIONS="[]")),
        ("rest --method get --url https://graph.microsoft.com/v1.0/servicePrincipals/made", json.dumps({"value": []})),
        ("rest --method post --url https://api.loganalytics.io", heard(HEARD[0], *may, HEARD[-2], warning)),
    )  # fmt: skip
    return once(tmp_path_factory, "broken", lambda directory: verify(directory, *world, url=CLOSED))


def test_a_deployment_that_is_well_is_seen_to_be(well: Run) -> None:
    assert well.code == 0, well.said
    assert "MISS" not in well.said
    for what in ("functions", "host", "settings from the vault", "roles", "consent", "handshake", "subscriptions"):
        assert row(well, what)[0] == "ok"


@pytest.mark.parametrize(
    ("what", "observed", "step"),
    [
        (
            "one app",
            "relay-app-before also exists and processes the same queue",
            "az functionapp delete --resource-group relay --name relay-app-before",
        ),
        ("functions", "notify_http", "process_queue, renew_timer missing: the remote build failed"),
        ("host", "Error host.json is invalid", "Diagnose and solve problems"),
        ("settings from the vault", "DESTINATION_SECRET: Key Vault reference was", "infra/resolve.py relay relay-app"),
        ("roles", "not assigned: Key Vault Secrets User, Monitoring", "User Access Administrator"),
        ("consent", "not granted: ChannelMessage.Read.All, Chat.Read.All", "python3 infra/consent.py"),
        ("handshake", "not echoed: 403", "doctor"),
        ("storage, by the app", "no access to: queue, tables; log: Invalid settings", "docs/permissions.md"),
        ("vault, by the app", "no access to: keys; log: Invalid settings", "docs/permissions.md"),
        ("subscription dry run", "the app's setting SUBSCRIPTIONS differs from the file", "infra/deploy.sh"),
        ("subscriptions", "missing: /teams/getAllMessages", "reconcile-failed.md"),
    ],
)
def test_each_miss_says_what_was_seen_and_what_to_do(what: str, observed: str, step: str, broken: Run) -> None:
    mark, said = row(broken, what)
    assert mark == "MISS"
    assert observed in said
    assert step in said
    assert broken.code == 1


@pytest.mark.parametrize(
    ("declared", "pause", "says"),
    [
        ({"resource": "/chats/getAllMessages"}, 5, None),
        ({"resource": "/communications/presences/1"}, 5, "there is no application permission for it"),
        ({"resource": "/chat/1/messages"}, 5, "Near it: chats/{id}/messages"),
        ({"resource": "/chats/1/messages", "consent": "resource"}, 5, "no resource-specific consent"),
        ({"resource": "communications/adhocCalls/getAllTranscripts"}, 5, "only Graph's beta endpoint offers it"),
        ({"resource": "/teams/1/schedule/shifts"}, 300, "Set RENEW_SCHEDULE"),
    ],
)
def test_the_dry_run_names_what_would_keep_a_subscription_from_living(
    declared: dict[str, Any], pause: int, says: str | None
) -> None:
    found = list(obstacles({"changeTypes": ["created"], **declared}, timedelta(minutes=pause)))
    assert [words for words in found if says is None or says not in words] == []
    assert bool(found) is bool(says)


def test_the_dry_run_says_what_graph_is_asked_for(well: Run) -> None:
    mark, said = row(well, "subscription dry run")
    asked = [f"{declaration['resource']} (created; without content; 72 h)" for declaration in DECLARED]
    assert (mark, said.strip()) == ("ok", f"2 to request from Graph: {'; '.join(asked)}")


def test_an_app_of_which_nothing_is_heard_is_a_miss(tmp_path: Path) -> None:
    run = verify(tmp_path, ("rest --method post --url https://api.loganalytics.io", heard()))
    assert run.code == 1
    assert "no-heartbeat.md" in row(run, "the app itself")[1]


def test_what_azure_does_not_say_is_a_miss_and_stops_no_other_row(tmp_path: Path) -> None:
    run = verify(tmp_path, ("role assignment list", "ERROR: AuthorizationFailed"))
    assert run.code == 1
    assert "Azure did not answer: ERROR: AuthorizationFailed" in row(run, "roles")[1]
    assert row(run, "subscriptions")[0] == "ok"


@pytest.mark.parametrize("profile", ["middle", "gateway"])
def test_a_door_that_should_be_closed_is_tried(profile: str, tmp_path: Path) -> None:
    closed = ("resource list --resource-group relay --resource-type Microsoft.Web/sites --output json", site(profile))
    assert row(verify(tmp_path / "closed", closed, url=CLOSED), "front door")[0] == "ok"
    mark, said = row(verify(tmp_path / "open", closed, url=OPEN), "front door")
    assert (mark, "expected 403, saw 200" in said) == ("MISS", True)


def test_it_reads_what_the_app_tries(tmp_path: Path) -> None:
    tried = [check.to for check in storage_access(MemoryAccount().clients(), NOW)]
    tried.append(key_access(KeyRing(KeyDirectory(tmp_path), lambda: NOW), NOW).to)
    assert tuple(tried) == (*STORAGE, *VAULT)
    assert RENEW_SCHEDULE == values.RENEW_SCHEDULE


def test_it_looks_for_the_roles_that_are_assigned() -> None:
    assigned = {word for template in templates() for word in template.strings() if word in ROLES}
    assert assigned == set(ROLES)
    assert "roleName: 'Graph Relay key keeper (" in template("modules/keys.bicep").text


def test_the_table_has_a_step_under_each_miss() -> None:
    assert table([CheckResult("host", "Running"), CheckResult("roles", "none", "assign them")]).splitlines() == [
        "ok    host   Running",
        "MISS  roles  none",
        "             → assign them",
    ]


def test_of_a_declaration_that_fans_out_one_member_shows_that_it_works() -> None:
    template = "/teams/{parent}/channels/{id}/messages"
    assert lives(template, {"/teams/t1/channels/19:c@thread.tacv2/messages"})
    assert not lives(template, {"/teams/t1/channels/messages", "/chats/1/messages"})
    assert lives("/chats/getAllMessages", {"/chats/getAllMessages"})


def test_declarations_in_a_blob_are_not_compared_with_the_file() -> None:
    assert subscriptions_in_blob(
        {"SUBSCRIPTIONS": "https://config.blob.core.windows.net/relay-settings/subscriptions.json"}
    )
    assert not subscriptions_in_blob({"SUBSCRIPTIONS": "[]"})
    assert not subscriptions_in_blob({})
