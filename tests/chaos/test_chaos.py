"""Short fault runs: the long ones are `make chaos`."""

from pathlib import Path

import pytest

from local.host.waits import LEASE
from shared.configuration.destinations import DEFAULT
from tests.chaos.faults import FAULTS, GENTLE_FAULTS, LASTING
from tests.chaos.receivers import DEAD, SLOW
from tests.chaos.run import Run
from tests.chaos.system import ChaosSettings, ChaosSystem

pytestmark = pytest.mark.process

MESSAGES = 240
OF_SEVERAL = 60
RATE = 12  # a second: the duration of the faults decides, which more messages would not shorten


@pytest.mark.timeout(900)
def test_nothing_is_lost_doubled_or_forged_whatever_fails(tmp_path: Path) -> None:
    chaos = ChaosSettings(seed=11, hosts=2, hurry=20, lease=6, stubborn=60)
    with ChaosSystem(tmp_path / "run", chaos) as system:
        outcome = Run(system, MESSAGES, RATE, print).play()
    assert outcome.wrong == []
    assert set(outcome.faults) == {fault.name for fault in FAULTS}
    account = outcome.at_rest
    assert account.written >= MESSAGES
    assert (
        min(account.refused, account.dead_lettered, account.duplicates, account.bare, account.recovered, account.pings)
        > 0
    )


@pytest.mark.timeout(600)
def test_a_slow_and_a_dead_destination_delay_no_other_and_each_account_closes(tmp_path: Path) -> None:
    chaos = ChaosSettings(seed=13, hosts=1, hurry=40, stubborn=30, others=True, other_kinds=False)
    with ChaosSystem(tmp_path / "run", chaos) as system:
        outcome = Run(system, OF_SEVERAL, 30, print, (), {"duplicate": 0.05, "forge": 0.05}).play()
    assert outcome.wrong == []
    first, slow, dead = (outcome.abreast[name] for name in (DEFAULT, SLOW, DEAD))
    assert first >= OF_SEVERAL * 0.9
    assert (slow < first / 2, dead) == (True, 0)  # held up by them, the first would be as far as they are
    for at_rest, replayed in ((outcome.at_rest, outcome.replayed), *outcome.others.values()):
        assert at_rest.dead_lettered > replayed.dead_lettered
        assert replayed.delivered == outcome.replayed.delivered >= OF_SEVERAL


@pytest.mark.timeout(900)
def test_the_counters_add_up_to_the_unit_while_no_process_dies(tmp_path: Path) -> None:
    # Neither a lease that ends nor a slow machine may have a message handled twice.
    chaos = ChaosSettings(seed=12, hosts=2, hurry=40, lease=LEASE, stubborn=30, other_kinds=False)
    with ChaosSystem(tmp_path / "run", chaos) as system:
        outcome = Run(system, MESSAGES // 2, RATE, print, GENTLE_FAULTS, {**LASTING, "drop": 0.0, "bare": 0.0}).play()
    assert outcome.wrong == []
    counted, log = outcome.counted, system.notifications
    ended = sum(counted[name] for name in ("delivered", "duplicates", "refused", "dead_lettered"))
    beyond = ended - counted["received"] - counted["recovered"] - log.refused_bodies  # each is counted as one refusal
    unacknowledged = counted["received"] - outcome.at_rest.received
    assert 0 <= unacknowledged <= log.uncertain
    assert 0 <= unacknowledged + beyond <= 2 * log.uncertain  # a put is tried twice
