"""`func start` of Azure Functions Core Tools: the real host instead of the stand-in, if selected and installed."""

import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import httpx
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, load_pem_private_key
from cryptography.hazmat.primitives.serialization.pkcs12 import serialize_key_and_certificates
from cryptography.x509 import load_pem_x509_certificates

from graph_simulator.authority import Authority, write_private
from local.child import ChildFailed
from local.host.configuration import PYTHON_SETTING
from local.host.process import ROOT, HostProcess

PASSWORD = secrets.token_hex(16)
"""The password of the certificate, which `func` requires; `func` reads a password that begins with `-` as an option."""

HOSTS = ("func", "local")


class NoHost(Exception):
    """The selected host is not installed; the message says what to do."""


class CoreTools(HostProcess):
    """Runs the app with `func`, which serves HTTPS with a PKCS #12 file; it reads the same settings.

    HOST_KEY is the master key of a program that already has one. `auth`: `func` closes `/admin` to everybody, since
    nobody knows a key then; a POST to `probe`, the URL of a function, shows that the host runs.
    """

    auth = False
    probe: str | None = None

    @property
    def key(self) -> str | None:  # type: ignore[override]
        """The master key, if one is known."""
        return os.environ.get("HOST_KEY") or None

    def _command(self) -> list[str]:
        tls: list[str] = []
        if self.authority:
            bundle = self.authority.key.with_suffix(".pfx")
            write_private(bundle, pkcs12(self.authority))
            tls = ["--useHttps", "--cert", str(bundle), "--password", PASSWORD]
        closed = ["--enableAuth"] if self.auth and not self.key else []
        return [program(os.environ), "start", "--port", str(self.port), *closed, *tls]

    def _environment(self) -> dict[str, str]:
        inherited = super()._environment()
        inherited.pop("PYTHONPATH")
        python = os.environ.get(PYTHON_SETTING) or app_python()
        return {
            **inherited,
            PYTHON_SETTING: python,
            "PATH": f"{Path(python).parent}:{inherited['PATH']}",
            "FUNCTIONS_CORE_TOOLS_TELEMETRY_OPTOUT": "1",
            **{name: os.environ[name] for name in ("HOST_KEY", "DOTNET_ROOT") if name in os.environ},
        }

    def _says_running(self, answer: httpx.Response, client: httpx.Client) -> bool:
        if answer.status_code != httpx.codes.UNAUTHORIZED:
            return answer.headers.get("content-type", "").startswith("application/json") and super()._says_running(
                answer, client
            )
        if not self.auth or self.key:
            raise ChildFailed("functions host: its /admin requires another key. Put its master key into HOST_KEY")
        if self.probe is None:
            return True
        try:
            return client.post(f"{self.url}{self.probe}").is_success
        except httpx.TransportError:
            return False


def host_class(environ: Mapping[str, str], *, prefer_func: bool = False) -> type[HostProcess]:
    """Return the host that HOST names: `func` or `local`, the stand-in; the stand-in by default.

    prefer_func: take func by default, if the PATH has it.

    Raises:
        NoHost: HOST names another host, or func is not installed.
    """
    named = environ.get("HOST", "")
    if named not in ("", *HOSTS):
        raise NoHost(f"HOST: expected one of {', '.join(HOSTS)}, or nothing")
    if named == "func":
        program(environ)
        return CoreTools
    return CoreTools if not named and prefer_func and is_there(environ) else HostProcess


def is_there(environ: Mapping[str, str]) -> bool:
    """Whether `func` is installed."""
    try:
        program(environ)
    except NoHost:
        return False
    return True


def program(environ: Mapping[str, str]) -> str:
    """Return the path of `func`: FUNC, or the one on the PATH.

    Raises:
        NoHost: there is none.
    """
    wanted = environ.get("FUNC") or "func"
    found = shutil.which(wanted, path=environ.get("PATH"))
    if found is None:
        raise NoHost(
            "HOST=func: FUNC does not name a program"
            if environ.get("FUNC")
            else "HOST=func: there is no `func` on the PATH. Install Azure Functions Core Tools 4, or name it with FUNC"
        )
    return found


@cache
def app_python() -> str:
    """Return a Python with exactly the packages of the deployed app; installs them if necessary.

    The packages of the development environment would take precedence over those of the worker that `func` starts.

    Raises:
        ChildFailed: the installation failed; its output has been printed.
    """
    prepared = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "setup.py"), "--app"], stdout=subprocess.PIPE, text=True, check=False
    )
    if prepared.returncode:
        raise ChildFailed("set-up: the environment of the app for `func` could not be made ready")
    return prepared.stdout.strip()


def pkcs12(authority: Authority) -> bytes:
    """Return the server's key and certificates as PKCS #12, the only form that `func` reads."""
    key = load_pem_private_key(authority.key.read_bytes(), None)
    certificate, *chain = load_pem_x509_certificates(authority.certificate.read_bytes())
    encryption = BestAvailableEncryption(PASSWORD.encode())
    return serialize_key_and_certificates(b"localhost", key, certificate, chain, encryption)  # type: ignore[arg-type]
