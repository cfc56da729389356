"""A certificate authority for one run, so that HTTPS is verified on one machine as in production."""

import os
from dataclasses import dataclass
from pathlib import Path

import trustme

NAMES = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Authority:
    """Three PEM files: the authority, a server's certificate with its chain, and the server's key.

    `ca` is what clients trust; `certificate` and `key` are what a server on this machine presents.
    """

    ca: Path
    certificate: Path
    key: Path

    @classmethod
    def at(cls, directory: Path) -> "Authority":
        """Return the authority with files in `directory`, whether or not the files exist yet."""
        return cls(directory / "ca.pem", directory / "server.pem", directory / "server.key")

    @classmethod
    def create(cls, directory: Path) -> "Authority":
        """Create an authority and one certificate for this machine's own names; write both to `directory`.

        The directory is created if necessary. The authority's own key is discarded: nothing else can be issued.
        """
        directory.mkdir(parents=True, exist_ok=True)
        authority = cls.at(directory)
        issuer = trustme.CA()
        server = issuer.issue_cert(*NAMES)
        issuer.cert_pem.write_to_path(str(authority.ca))
        authority.certificate.write_bytes(b"".join(pem.bytes() for pem in server.cert_chain_pems))
        write_private(authority.key, server.private_key_pem.bytes())
        return authority


def write_private(path: Path, content: bytes) -> None:
    """Write `content` to a file that only its owner can read, from the moment of its creation."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
