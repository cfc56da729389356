"""A fake `func` for tests: it takes the arguments of Core Tools, and starts the stand-in.

It records its arguments and the settings of a host in FAKE_FUNC_RECORD. FAKE_FUNC=ends: it exits
at once, with code 0 like Core Tools. FAKE_FUNC=hangs: it serves no request, and starts a child that outlives it.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, pkcs12

from local.host.configuration import PYTHON_SETTING

ROOT = Path(__file__).parents[2]

OWN_PYTHON = {PYTHON_SETTING: sys.executable}
"""The environment of this Python, which runs the functions: a test installs no other."""


def write_program(directory: Path, **environment: str) -> Path:
    """Write the program and return its path, for FUNC. `environment`: of the program; "" removes a variable."""
    program = directory / "func"
    changes = [f"export {name}='{value}'" if value else f"unset {name}" for name, value in environment.items()]
    run = f'PYTHONPATH={ROOT} exec {sys.executable} -m {__name__} "$@"'
    program.write_text("\n".join(["#!/bin/sh", *changes, run, ""]))
    program.chmod(0o755)
    return program


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    with suppress(FileNotFoundError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def main() -> None:
    """Behave like `func start`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=["start"])
    parser.add_argument("--port", required=True)
    parser.add_argument("--useHttps", action="store_true")
    parser.add_argument("--cert", type=Path)
    parser.add_argument("--password")
    parser.add_argument("--enableAuth", action="store_true")
    asked = parser.parse_args()
    _record()
    match os.environ.get("FAKE_FUNC"):
        case "ends":
            sys.stdout.write("Value cannot be null. (Parameter 'provider')\n")
            sys.exit(0)
        case "hangs":
            child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
            Path(os.environ["FAKE_FUNC_RECORD"]).with_suffix(".child").write_text(str(child.pid))
            time.sleep(600)
    if asked.enableAuth:
        os.environ["LOCAL_HOST_KEY"] = "nobody knows it"
    elif "HOST_KEY" in os.environ:
        os.environ["LOCAL_HOST_KEY"] = os.environ["HOST_KEY"]
    command = [sys.executable, "-m", "local.host", "--port", asked.port]
    if asked.useHttps:
        command += _pem(asked.cert, asked.password)
    os.execv(command[0], command)


def _record() -> None:
    if "FAKE_FUNC_RECORD" in os.environ:
        executable = os.environ.get(PYTHON_SETTING)
        seen = {"arguments": sys.argv[1:], "directory": str(Path.cwd()), "python": executable, "pid": os.getpid()}
        with Path(os.environ["FAKE_FUNC_RECORD"]).open("a") as record:
            record.write(json.dumps(seen) + "\n")


def _pem(bundle: Path, password: str) -> list[str]:
    found = pkcs12.load_pkcs12(bundle.read_bytes(), password.encode())
    assert found.cert is not None
    assert found.key is not None
    key, certificate = bundle.with_suffix(".func-key"), bundle.with_suffix(".func-chain")
    chain = [found.cert.certificate, *(certificate.certificate for certificate in found.additional_certs)]
    key.touch(0o600)
    key.write_bytes(found.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    certificate.write_bytes(b"".join(certificate.public_bytes(Encoding.PEM) for certificate in chain))
    return ["--certificate", str(certificate), "--key", str(key)]


if __name__ == "__main__":
    main()
