"""One TLS context for all HTTP clients of the tests that trust the public authorities.

httpx loads these authorities for each client, and for each `httpx.get`: 0.06 seconds of a processor, even where the
address is one of plain HTTP.
"""

import os
import ssl
from functools import cache

import httpx


@cache
def _public(trust_env: bool, _file: str | None, _directory: str | None) -> ssl.SSLContext:
    return httpx.create_ssl_context(trust_env=trust_env)


def context(verify: ssl.SSLContext | str | bool = True, cert: object = None, trust_env: bool = True) -> ssl.SSLContext:
    """Replaces httpx.create_ssl_context in its transports."""
    if verify is True and cert is None:
        return _public(trust_env, os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))
    return httpx.create_ssl_context(verify, cert, trust_env)  # type: ignore[arg-type]
