"""Entra ID's token endpoint, scripted: the text of an access token is its tenant."""

from tests.servers import RecordedRequest, ScriptedResponse, in_json


def entra(request: RecordedRequest, url: str, *, refuses: bool = False) -> ScriptedResponse | None:
    """Answer requests to Entra ID at `url`; None for all others. `refuses`: the app is unknown."""
    path = request.path.partition("?")[0]
    tenant = path.strip("/").partition("/")[0]
    if path.endswith("/.well-known/openid-configuration"):
        return in_json(
            {
                "issuer": f"{url}/{tenant}/v2.0",
                "authorization_endpoint": f"{url}/{tenant}/oauth2/v2.0/authorize",
                "token_endpoint": f"{url}/{tenant}/oauth2/v2.0/token",
            }
        )
    if not path.endswith("/oauth2/v2.0/token"):
        return None
    if refuses:
        return in_json(
            {"error": "unauthorized_client", "error_description": "AADSTS700016: Application not found."}, 400
        )
    return in_json({"token_type": "Bearer", "expires_in": 3600, "access_token": tenant})
