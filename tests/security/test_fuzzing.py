"""The fuzzer's targets, run on its corpus, on mutations of it, and on hypothesis's examples."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuzz.__main__ import RUNS, SEEDS
from fuzz.targets import TARGETS

pytestmark = pytest.mark.filterwarnings("ignore:The RSA key is 1024 bits")  # fast, and nothing secret depends on it

KEPT = {name: sorted((SEEDS / name).iterdir()) for name in TARGETS}


@pytest.mark.parametrize(
    "seed", [seed for kept in KEPT.values() for seed in kept], ids=lambda seed: f"{seed.parent.name}-{seed.name}"
)
def test_a_seed_breaks_no_promise(seed: Path) -> None:
    TARGETS[seed.parent.name](seed.read_bytes())


def test_every_target_has_seeds_and_the_fuzzer_runs_it() -> None:
    assert all(KEPT.values())
    assert RUNS.keys() == TARGETS.keys()


@pytest.mark.parametrize("name", TARGETS)
@given(data=st.data())
@settings(max_examples=4 * settings().max_examples)
def test_nothing_breaks_a_promise(name: str, data: st.DataObject) -> None:
    text = data.draw(st.binary(max_size=2000) | st.sampled_from([seed.read_bytes() for seed in KEPT[name]]))
    for _ in range(data.draw(st.integers(0, 4))):
        place = data.draw(st.integers(0, len(text)))
        length = data.draw(st.integers(0, 8))
        text = text[:place] + data.draw(st.binary(max_size=8)) + text[place + length :]
    TARGETS[name](text)
