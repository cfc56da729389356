"""The page about costs says what the script computes, from what is deployed."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tools.costs import PRICES, Load, Standing, costs, month

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "costs.md").read_text(encoding="utf-8")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "tools/costs.py", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.process
def test_the_page_tells_the_figures_of_the_script() -> None:
    printed = re.findall(r"\d+\.\d\d$", run().stdout, re.MULTILINE)
    assert sorted(re.findall(r"\$(\d+\.\d\d)", PAGE)) == sorted(printed)


@pytest.mark.process
def test_a_price_can_be_given_and_a_wrong_name_is_told() -> None:
    assert run("--price", "log_alert=0").stdout != run().stdout
    refused = run("--price", "log_alarm=1")
    assert refused.returncode == 2
    assert "log_alarm" in refused.stderr


def test_instances_are_as_many_as_are_deployed() -> None:
    template = (ROOT / "infra" / "main.bicep").read_text(encoding="utf-8")
    assert "param alwaysReady int = profile == 'gateway' ? 2 : 1" in template
    assert "param instanceMemoryMB int = 2048" in template
    assert (Standing("cheap", 1).instance_gb, Standing("cheap", 1).alerts < Standing("gateway", 2).alerts) == (2, True)


def test_each_price_counts() -> None:
    def together(prices: dict[str, float]) -> float:
        return sum(costs(Load(40), prices).values()) + sum(month(Standing("gateway", 2), prices).values())

    before = together(PRICES)
    assert [name for name in PRICES if together(PRICES | {name: PRICES[name] * 2}) <= before] == []
