"""Short fault runs: the long ones are `make chaos`."""

from pathlib import Path

import pytest

from tests.chaos.faults import FAULTS, GENTLE_FAULTS, LASTING
from tests.chaos.run import Run
from tests.chaos.system import ChaosSettings, ChaosSystem

pytestmark = pytest.mark.process

MESSAGES = 240
RATE = 12  # a second: the faults take their time, which more messages would not make shorter


@pytest.mark.timeout(900)
def test_nothing_is_lost_doubled_or_forged_whatever_fails(tmp_path: Path) -> None:
    chaos = ChaosSettings(seed=11, hosts=2, hurry=20, lease=6, stubborn=60)
    with ChaosSystem(tmp_path / "run", chaos) as system:
        outcome = Run(system, MESSAGES, RATE, print).play()
    assert outcome.wrong == []
    assert set(outcome.faults) == {fault.name for fault in FAULTS}
    account = outcome.at_rest
    assert account.written >= MESSAGES
    assert min(account.refused, account.dead_lettered, account.duplicates, account.bare, account.recovered) > 0


@pytest.mark.timeout(900)
def test_the_counters_add_up_to_the_unit_while_no_process_dies(tmp_path: Path) -> None:
    chaos = ChaosSettings(seed=12, hosts=2, hurry=40, stubborn=30)
    with ChaosSystem(tmp_path / "run", chaos) as system:
        outcome = Run(system, MESSAGES // 2, RATE, print, GENTLE_FAULTS, {**LASTING, "drop": 0.0, "bare": 0.0}).play()
        graph = system.simulator("summary")
    assert outcome.wrong == []
    if "503" in graph["answers"] or "503" in graph["hostile_answers"]:
        pytest.skip("storage was too slow for the app to answer in time: the items of such a POST are received again")
    counted = outcome.counted
    assert counted["received"] == outcome.at_rest.received
    refused_bodies = graph["hostile_answers"].get("400", 0)  # each counted as one refusal, its items not as received
    ended = (counted[name] for name in ("delivered", "duplicates", "refused", "dead_lettered"))
    assert counted["received"] + counted["recovered"] + refused_bodies == sum(ended)
