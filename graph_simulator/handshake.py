"""The validation of an endpoint, before a subscription to it exists (docs/graph.md, "Handshake")."""

import asyncio
import random
import re
import uuid
from http import HTTPStatus
from urllib.parse import quote_plus

import httpx

from graph_simulator.refusal import Refusal, validation_error

SENTENCE = "Validation: Testing client application reachability for subscription Request-Id: "
UNUSUAL = "1+1 %2B 50% “ſéñ” ☂ "
HEADERS = {"Content-Type": "text/plain; charset=utf-8", "Content-Length": "0"}

_ESCAPE = re.compile(r"%[0-9A-F]{2}")


def token(chance: random.Random, unusual: bool) -> str:
    """Return a validation token: today's sentence, or a string that only a single decoding leaves intact."""
    return (UNUSUAL if unusual else "") + SENTENCE + str(uuid.UUID(int=chance.getrandbits(128), version=4))


def with_token(url: str, validation_token: str) -> str:
    """Append the token to a URL: form-encoded, with hexadecimal digits in lower case as Graph writes them."""
    encoded = _ESCAPE.sub(lambda escape: escape[0].lower(), quote_plus(validation_token))
    return f"{url}{'&' if '?' in url else '?'}validationToken={encoded}"


async def validate(client: httpx.AsyncClient, url: str, validation_token: str, within: float) -> None:
    """Ask an endpoint to echo the token, within `within` seconds.

    Raises:
        Refusal: 400, the answer is late or not exactly 200, text/plain, and the bytes of the token.
    """
    try:
        async with asyncio.timeout(within):
            response = await client.post(with_token(url, validation_token), headers=HEADERS)
    except (TimeoutError, httpx.TimeoutException) as error:
        raise validation_error("Subscription validation request timed out.") from error
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise _wrong_status("") from error
    if response.status_code != HTTPStatus.OK:
        raise _wrong_status(f"HTTP status code is '{_status_name(response.status_code)}'. ")
    media_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "text/plain" or response.content != validation_token.encode():
        raise validation_error(
            "Subscription validation request failed. Response must exactly match validationToken query parameter."
        )


def _wrong_status(what: str) -> Refusal:
    return validation_error(
        f"Subscription validation request failed. {what}"
        "Notification endpoint must respond with 200 OK to validation request."
    )


def _status_name(status: int) -> str:
    try:
        return re.sub(r"\W", "", HTTPStatus(status).phrase.title())
    except ValueError:
        return str(status)
