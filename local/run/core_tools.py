"""`func start` of Azure Functions Core Tools, for machines that have it: the real host instead of the stand-in."""

import secrets
import shutil
import sys
from pathlib import Path

from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, load_pem_private_key
from cryptography.hazmat.primitives.serialization.pkcs12 import serialize_key_and_certificates
from cryptography.x509 import load_pem_x509_certificates

from graph_simulator.authority import Authority, write_private
from local.host.process import HostProcess

FUNC = shutil.which("func")
PASSWORD = secrets.token_urlsafe()  # func wants one


class CoreTools(HostProcess):
    """Runs the app with `func`, which serves HTTPS with a PKCS #12 file; it reads the same settings."""

    def _command(self) -> list[str]:
        tls: list[str] = []
        if self.authority:
            bundle = self.authority.key.with_suffix(".pfx")
            write_private(bundle, pkcs12(self.authority))
            tls = ["--useHttps", "--cert", str(bundle), "--password", PASSWORD]
        return [str(FUNC), "start", "--port", str(self.port), *tls]

    def _environment(self) -> dict[str, str]:
        inherited = super()._environment()
        # It takes the first `python` on the PATH, which must be the one with our packages.
        return {**inherited, "PATH": f"{Path(sys.executable).parent}:{inherited['PATH']}", "VIRTUAL_ENV": sys.prefix}


def pkcs12(authority: Authority) -> bytes:
    """Return the server's key and certificates in the only form that `func` reads."""
    key = load_pem_private_key(authority.key.read_bytes(), None)
    certificate, *chain = load_pem_x509_certificates(authority.certificate.read_bytes())
    encryption = BestAvailableEncryption(PASSWORD.encode())
    return serialize_key_and_certificates(b"localhost", key, certificate, chain, encryption)  # type: ignore[arg-type]
