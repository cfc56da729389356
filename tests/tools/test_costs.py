"""The page about costs shows the figures of the script, for the deployed resources."""

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tools.costs import (
    PRICES,
    PROFILES,
    REAL,
    TENANTS,
    WORKING_SECONDS,
    Profile,
    Tenant,
    active_seconds,
    month,
    sources,
    totals,
)

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "costs.md").read_text(encoding="utf-8")
KNOWN = {name: price.dollars for name, price in PRICES.items()}
TEMPLATE = (ROOT / "infra" / "main.bicep").read_text(encoding="utf-8")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tools.costs", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_page_has_the_totals_and_the_sources_of_the_script() -> None:
    assert [row for row in [*totals(KNOWN), *sources()] if row not in PAGE.splitlines()] == []


def test_the_page_says_what_the_middle_tenant_is_made_of() -> None:
    columns = [month(TENANTS[1], profile, KNOWN) for profile in PROFILES]
    rows = [f"| {what} | " + " | ".join(f"${column[what]:.2f}" for column in columns) + " |" for what in columns[0]]
    assert [row for row in rows if row not in PAGE.splitlines()] == []


def test_the_set_up_page_compares_the_profiles_by_the_same_totals() -> None:
    page = (ROOT / "docs" / "setup.md").read_text(encoding="utf-8")
    (row,) = re.findall(r"^\| a month, 50 / 5,000 / 100,000 people .*$", page, re.MULTILINE)
    together = [[f"${sum(month(tenant, profile, KNOWN).values()):,.0f}" for tenant in TENANTS] for profile in PROFILES]
    assert [" / ".join(totals) in row for totals in together] == [True] * len(PROFILES)


def test_every_price_has_a_source_and_says_where_it_was_seen_and_by_whom() -> None:
    for name, price in PRICES.items():
        assert price.source.startswith("https://azure.microsoft.com/"), name
        assert price.seen, name
        assert price.by in ("Microsoft", "price API", "quoted", "computed"), name


@pytest.mark.process
def test_a_price_can_be_set_and_a_wrong_name_is_reported() -> None:
    assert run("--price", "log_alert=0").stdout != run().stdout
    refused = run("--price", "log_alarm=1")
    assert refused.returncode == 2
    assert "log_alarm" in refused.stderr


def test_instances_and_profiles_are_those_that_are_deployed() -> None:
    assert "param alwaysReady int = profile == 'gateway' ? 2 : 1" in TEMPLATE
    assert {profile.ready for profile in PROFILES if profile.behind_gateway} == {2}
    assert {profile.ready for profile in PROFILES if not profile.behind_gateway} == {1}
    assert f"param instanceMemoryMB int = {REAL.instance_gb * 1024:.0f}" in TEMPLATE
    (allowed,) = re.findall(r"@allowed\(\[(.*)\]\)\nparam profile", TEMPLATE)
    assert {profile.profile for profile in PROFILES} == set(re.findall(r"'(\w+)'", allowed))
    gateway = (ROOT / "infra" / "modules" / "gateway.bicep").read_text(encoding="utf-8")
    assert "minCapacity: 1," in gateway  # ten capacity units


def test_the_default_budget_covers_a_small_tenant() -> None:
    (behind, on_plan, other) = map(
        int, re.findall(r"monthlyBudget int = .* \? (\d+) : \(.* \? (\d+) : (\d+)\)", TEMPLATE)[0]
    )
    for profile in PROFILES:
        budget = behind if profile.behind_gateway else on_plan if profile.plan == "dedicated" else other
        assert sum(month(TENANTS[0], profile, KNOWN).values()) < budget


def test_each_price_counts() -> None:
    def together(prices: dict[str, float]) -> float:
        return sum(sum(month(tenant, profile, prices).values()) for tenant in TENANTS for profile in PROFILES)

    before = together(KNOWN)
    assert [name for name in KNOWN if together(KNOWN | {name: KNOWN[name] * 2}) <= before] == []


def test_a_million_single_notifications_cost_two_seconds_each_and_overlapping_ones_do_not() -> None:
    alone = replace(Tenant(1, 1), messages_a_day=1_000_000, notifications_a_message=1, working_days=1)
    never_busy = replace(REAL, http_concurrency=10**9, notify_seconds=1, process_seconds=1, instance_gb=2)
    free = dict.fromkeys(KNOWN, 0.0) | {name: KNOWN[name] for name in ("gb_second", "ready_active_gb_second")}
    most = 1e6 * 2 * (KNOWN["gb_second"] + KNOWN["ready_active_gb_second"])
    assert most == pytest.approx(84)
    assert month(alone, Profile("cheap", "cheap"), free, never_busy)["instances"] < most
    assert active_seconds(100, 0.05, 16) == 100
    assert active_seconds(10_000_000, 0.05, 16) == WORKING_SECONDS


def test_a_larger_tenant_costs_more_and_a_gateway_its_reserved_units() -> None:
    for profile in PROFILES:
        dollars = [sum(month(tenant, profile, KNOWN).values()) for tenant in TENANTS]
        assert dollars == sorted(dollars)
    assert month(TENANTS[0], PROFILES[3], KNOWN)["Application Gateway"] == pytest.approx(428.51)
