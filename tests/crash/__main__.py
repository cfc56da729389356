"""`make crash`: every window of every scenario, two instances in many interleavings, and a table."""

import argparse
import os
import sys
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor

from tests.crash import interleaving
from tests.crash.harness import Result, explore
from tests.crash.interleaving import MEETINGS
from tests.crash.scenarios import SCENARIOS

_NAME = 38


def main() -> int:
    """Print a row for each scenario, and each violation. Return 1 if there is one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenario", nargs="*", help="part of a scenario's name; all without one")
    wanted = parser.parse_args().scenario
    names = [
        scenario.name
        for scenario in (*SCENARIOS, *MEETINGS)
        if not wanted or any(part in scenario.name for part in wanted)
    ]
    began = time.monotonic()
    print(f"{'scenario':{_NAME}}{'operations':>12}{'windows':>10}{'violations':>12}")
    with ProcessPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        results = list(_shown(pool.map(_explored, names)))
    windows, broken = sum(result.windows for result in results), sum(len(result.violations) for result in results)
    print(f"{'together':{_NAME}}{sum(result.operations for result in results):>12}{windows:>10}{broken:>12}")
    print(f"{time.monotonic() - began:.0f} s")
    for result in results:
        for where, promises in result.violations.items():
            print(f"{result.scenario}, {where}: {'; '.join(promises)}")
    return 1 if broken else 0


def _explored(name: str) -> Result:
    for scenario in SCENARIOS:
        if scenario.name == name:
            return explore(scenario)
    return interleaving.explore(next(meeting for meeting in MEETINGS if meeting.name == name))


def _shown(results: Iterable[Result]) -> Iterable[Result]:
    for result in results:
        row = f"{result.scenario:{_NAME}}{result.operations:>12}{result.windows:>10}{len(result.violations):>12}"
        print(row, flush=True)
        yield result


if __name__ == "__main__":
    sys.exit(main())
