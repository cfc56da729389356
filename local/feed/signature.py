"""Verifies the sender: the Standard Webhooks signature of a request, over its raw body."""

from collections.abc import Mapping

from standardwebhooks import Webhook, WebhookVerificationError
from standardwebhooks.webhooks import EmptyWebhookSecretError


class Unsigned(Exception):
    """A signature header is missing."""


class BadSignature(Exception):
    """The signature is malformed, too old or too new, or made with another secret."""


class Verifier:
    """Accepts signatures by any of its secrets: two are valid during a rotation."""

    def __init__(self, secrets: str) -> None:
        """`secrets`: one or two `whsec_…`, separated by a comma. Raises ValueError for anything else."""
        try:
            self._webhooks = [Webhook(secret.strip()) for secret in secrets.split(",")]
        except (EmptyWebhookSecretError, ValueError) as error:
            expected = "DESTINATION_SECRET: expected whsec_ and base64, or two of these with a comma between"
            raise ValueError(expected) from error

    def verify(self, body: bytes, headers: Mapping[str, str]) -> None:
        """Return if the request is genuine.

        Raises:
            Unsigned: `webhook-id`, `webhook-timestamp` or `webhook-signature` is absent.
            BadSignature: they are there and do not hold.
        """
        signed = {name: headers.get(name, "") for name in ("webhook-id", "webhook-timestamp", "webhook-signature")}
        if not all(signed.values()):
            raise Unsigned
        if not any(_holds(webhook, body, signed) for webhook in self._webhooks):
            raise BadSignature


def _holds(webhook: Webhook, body: bytes, signed: dict[str, str]) -> bool:
    try:
        webhook.verify(body, signed, json_parse=False)
    except (WebhookVerificationError, ValueError):  # ValueError, binascii.Error too: raised for malformed headers
        return False
    return True
