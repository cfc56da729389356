"""Entra ID, scripted: metadata, the signing keys of validation tokens, and access tokens with roles."""

from urllib.parse import urlsplit

import jwt

from graph_simulator.vectors.tokens import base64url
from tests.builders import TENANT, rsa_key
from tests.servers import RecordedRequest, ScriptedResponse, in_json
from tests.stand_ins.entra import entra
from tests.token_cases import ISSUERS

LOGIN = "https://login.example.org"


def login(request: RecordedRequest) -> ScriptedResponse:
    """Answer a request to LOGIN. The one signing key is rsa_key("authority")."""
    path = urlsplit(request.path).path
    if path.endswith("/keys"):
        numbers = rsa_key("authority").public_key().public_numbers()
        modulus = base64url(numbers.n.to_bytes(256, "big"))
        return in_json({"keys": [{"kty": "RSA", "use": "sig", "kid": "authority-1", "n": modulus, "e": "AQAB"}]})
    if path.startswith("/common/"):
        version = "2.0" if "/v2.0/" in path else "1.0"
        return in_json({"issuer": ISSUERS[version], "jwks_uri": f"{LOGIN}/common/{version}/keys"})
    answer = entra(request, LOGIN)
    if answer is None:
        return in_json({"error": {"code": "NotFound"}}, 404)
    if path.endswith("/token"):
        roles = ["Chat.Read.All", "User.Read.All", "User.ReadBasic.All"]
        token = jwt.encode({"roles": roles, "tid": TENANT}, "k" * 32, algorithm="HS256")
        return in_json({"token_type": "Bearer", "expires_in": 3600, "access_token": token})
    return answer
