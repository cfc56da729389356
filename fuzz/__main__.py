"""Fuzz the modules that read untrusted bytes.

    python -m fuzz                         all targets, some minutes in all
    python -m fuzz json_text --runs 5000000

Guided by atheris (`pip install atheris`; Linux, and the Python versions that it supports). A finding is written to the
corpus in .fuzz. Once it is fixed, add it to tests/security/seeds: every test run repeats these inputs.
"""

import argparse
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SEEDS = ROOT / "tests" / "security" / "seeds"
CORPUS = ROOT / ".fuzz"

RUNS = {
    "notification": 3_000_000,
    "json_text": 3_000_000,
    "resource_path": 2_500_000,
    "event": 1_000_000,
    "envelope": 500_000,
    "validation_token": 500_000,
    "decryption": 500_000,
    "item": 500_000,
    "queue_message": 500_000,
    "claim": 500_000,
    "retry_delay": 500_000,
    "link": 500_000,
}
"""Executions of each target: thirteen million and a half in all."""


def main() -> int:
    """Fuzz the named targets, or all, one after the other; return 0 if nothing was found."""
    parser = argparse.ArgumentParser(
        prog="python -m fuzz", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("targets", nargs="*", choices=[[], *RUNS], metavar="TARGET", help=", ".join(RUNS))
    parser.add_argument("--runs", type=int, help="executions of each target")
    arguments = parser.parse_args()
    if importlib.util.find_spec("atheris") is None:
        print("SKIPPED: atheris is not installed; the seeds are tried by the tests all the same")
        return 0
    done = [fuzz(name, arguments.runs or RUNS[name]) for name in arguments.targets or RUNS]
    print(f"{sum(done):,} executions in all")
    return 0


def fuzz(name: str, runs: int) -> int:
    """Fuzz one target and return the number of executions. Exits with a finding, if there is one."""
    corpus = CORPUS / name
    corpus.mkdir(parents=True, exist_ok=True)
    limits = [f"-runs={runs}", "-max_len=4096", "-timeout=20", "-rss_limit_mb=3000"]
    where = [f"-artifact_prefix={corpus}-", str(corpus), str(SEEDS / name)]
    command = [sys.executable, "-m", "fuzz.guided", name, *limits, "-print_final_stats=1", *where]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    executed = re.search(r"number_of_executed_units: (\d+)", ended.stderr)
    covered = re.findall(r"cov: (\d+)", ended.stderr)
    if ended.returncode or not executed:
        sys.exit(f"{name}: found something, see {CORPUS}\n{ended.stdout[-2000:]}{ended.stderr[-2000:]}")
    print(f"{name}: {int(executed[1]):,} executions, {covered[-1] if covered else '?'} branches reached", flush=True)
    return int(executed[1])


if __name__ == "__main__":
    sys.exit(main())
