"""A subscription, and the checks of its properties (docs/graph.md, "Subscriptions")."""

import binascii
from base64 import b64decode
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from graph_simulator.clock import iso, parse_iso
from graph_simulator.encryption import Recipient
from graph_simulator.event_hub import is_event_hub
from graph_simulator.login import Caller, is_guid
from graph_simulator.refusal import bad_request, validation_error
from graph_simulator.watchable import Kind, WatchedResource, parse_resource

SHORTEST = timedelta(minutes=45)
LONGEST_TEXT = 128
KEY_SIZES = range(2048, 4097)
TLS_VERSIONS = ("v1_0", "v1_1", "v1_2", "v1_3")
CREATE_PROPERTIES = frozenset({
    "changeType", "notificationUrl", "lifecycleNotificationUrl", "resource", "expirationDateTime", "clientState",
    "includeResourceData", "encryptionCertificate", "encryptionCertificateId", "latestSupportedTlsVersion",
    "notificationUrlAppId",
})  # fmt: skip
PATCH_PROPERTIES = frozenset({
    "expirationDateTime", "notificationUrl", "encryptionCertificate", "encryptionCertificateId",
})  # fmt: skip
LIFECYCLE_URL_REQUIRED = (
    "lifecycleNotificationUrl is a required property for subscription creation on this resource when the "
    "expirationDateTime value is set to greater than 1 hour"
)
BAD_CERTIFICATE = "Certificate validation error: Cannot find the requested object."


@dataclass
class Subscription:
    """One subscription as Graph keeps it. `expires` and the other times are virtual and in UTC."""

    id: str
    owner: Caller
    watched: WatchedResource
    resource: str
    change_types: frozenset[str]
    change_type: str
    notification_url: str
    lifecycle_url: str | None
    expires: datetime
    client_state: str | None
    recipient: Recipient | None
    tls_version: str
    audience: str
    authorized: datetime
    """When it was last created, renewed or reauthorized."""
    knows_all_types: bool = False
    """Whether its creation or last renewal had `Prefer: include-unknown-enum-members`."""
    immutable_ids: bool = False
    """Whether its creation had `Prefer: IdType="ImmutableId"`."""
    former_recipient: Recipient | None = None
    rekeyed: datetime | None = None
    reauthorized: datetime | None = None
    patched: datetime | None = None
    challenged: datetime | None = None
    """When the last `reauthorizationRequired` of this authorization was sent."""
    first_challenged: datetime | None = None

    @property
    def kind(self) -> Kind:
        """Its row of Graph's table of resources."""
        return self.watched.kind

    @property
    def rich(self) -> bool:
        """Whether its notifications carry the resource, encrypted."""
        return self.recipient is not None

    def authorize(self, now: datetime) -> None:
        """Start a new authorization, with no challenge sent yet."""
        self.authorized, self.challenged, self.first_challenged = now, None, None

    def shown(self) -> dict[str, Any]:
        """Return the properties that reads show: never the clientState or the certificate."""
        return {
            "@odata.context": "https://graph.microsoft.com/v1.0/$metadata#subscriptions/$entity",
            "id": self.id,
            "resource": self.resource,
            "applicationId": self.owner.app,
            "changeType": self.change_type,
            "clientState": None,
            "notificationUrl": self.notification_url,
            "lifecycleNotificationUrl": self.lifecycle_url,
            "notificationQueryOptions": None,
            "notificationContentType": None,
            "expirationDateTime": iso(self.expires),
            "creatorId": self.owner.app,
            "includeResourceData": self.rich,
            "latestSupportedTlsVersion": self.tls_version,
            "encryptionCertificate": None,
            "encryptionCertificateId": self.recipient.certificate_id if self.recipient else None,
            "notificationUrlAppId": self.audience if self.audience != self.owner.app else None,
        }


def drafted(properties: dict[str, Any], owner: Caller, subscription_id: str, now: datetime) -> Subscription:
    """Return the subscription that a create call requests, checked except for duplicates, quotas and handshake.

    Raises:
        Refusal: 400, with Graph's text where known.
    """
    given = {name: value for name, value in properties.items() if not name.startswith("@odata.")}
    for name in given.keys() - CREATE_PROPERTIES:
        raise bad_request(f"The property '{name}' cannot be set on a subscription for webhooks.")
    watched = parse_resource(_text(given, "resource"))
    change_type = _text(given, "changeType")
    lifecycle_url = endpoint_url(given, "lifecycleNotificationUrl") if given.get("lifecycleNotificationUrl") else None
    recipient = _recipient(given, watched)
    _check_select(watched, recipient is not None)
    return Subscription(
        id=subscription_id,
        owner=owner,
        watched=watched,
        resource=given["resource"],
        change_types=_change_types(change_type, watched.kind),
        change_type=change_type,
        notification_url=endpoint_url(given, "notificationUrl"),
        lifecycle_url=lifecycle_url,
        expires=expiry(given, watched.kind, recipient is not None, lifecycle_url is not None, now),
        client_state=_optional_text(given, "clientState"),
        recipient=recipient,
        tls_version=_tls_version(given),
        audience=_audience(given, owner),
        authorized=now,
    )


def expiry(given: dict[str, Any], kind: Kind, rich: bool, has_lifecycle_url: bool, now: datetime) -> datetime:
    """Return the expiry of a subscription that requests `expirationDateTime`: at least 45 minutes ahead.

    Raises:
        Refusal: 400, it is not a date-time, or beyond the longest lifetime.
    """
    text = _text(given, "expirationDateTime")
    try:
        wanted = parse_iso(text)
    except (ValueError, OverflowError) as error:
        raise bad_request("The value of 'expirationDateTime' is not a date-time in UTC.") from error
    minutes = kind.minutes(rich, has_lifecycle_url)
    if wanted - now > timedelta(minutes=minutes):
        if not has_lifecycle_url and kind.longest_without_lifecycle:
            raise validation_error(LIFECYCLE_URL_REQUIRED)
        raise validation_error(f"Subscription expiration can only be {minutes} minutes in the future.")
    return max(wanted, now + SHORTEST)


def recipient_of(given: dict[str, Any]) -> Recipient:
    """Return the recipient that the two certificate properties name.

    Raises:
        Refusal: 400, one is missing or unacceptable: Graph takes Base64 of a DER certificate, RSA 2,048 to 4,096.
    """
    encoded, certificate_id = _text(given, "encryptionCertificate"), _text(given, "encryptionCertificateId")
    if len(certificate_id) > LONGEST_TEXT:
        raise validation_error("encryptionCertificateId exceeds the maximum length of 128 characters.")
    try:
        certificate = x509.load_der_x509_certificate(b64decode(encoded, validate=True))
        public_key = certificate.public_key()
    except (ValueError, binascii.Error, TypeError) as error:
        raise validation_error(BAD_CERTIFICATE) from error
    if not isinstance(public_key, RSAPublicKey) or public_key.key_size not in KEY_SIZES:
        raise validation_error("Certificate validation error: an RSA key of 2048 to 4096 bits is required.")
    return Recipient.of(certificate, certificate_id)


def endpoint_url(given: dict[str, Any], name: str) -> str:
    """Return a URL property, of a webhook or of an event hub.

    Raises:
        Refusal: 400, it is missing or neither.
    """
    url = _text(given, name)
    if is_event_hub(url):
        return url
    try:
        parts = urlsplit(url)
        usable = parts.scheme == "https" and bool(parts.hostname) and parts.port != 0 and not parts.fragment
    except ValueError:
        usable = False
    if not usable or not url.isascii():
        raise validation_error(f"'{name}' must be a well-formed URL with the scheme HTTPS.")
    return url


def _text(given: dict[str, Any], name: str) -> str:
    value = given.get(name)
    if not isinstance(value, str) or not value:
        raise bad_request(f"'{name}' is a required property for subscription creation and must be a string.")
    return value


def _optional_text(given: dict[str, Any], name: str) -> str | None:
    if given.get(name) is None:
        return None
    value = _text(given, name)
    if len(value) > LONGEST_TEXT:
        raise validation_error(f"{name} exceeds the maximum length of {LONGEST_TEXT} characters.")
    return value


def _change_types(text: str, kind: Kind) -> frozenset[str]:
    wanted = [word.strip().lower() for word in text.split(",")]
    if len(set(wanted)) != len(wanted) or not kind.change_types.issuperset(wanted):
        raise validation_error(f"changeType '{text}' is not supported for the resource '{kind.name}'.")
    return frozenset(wanted)


def _recipient(given: dict[str, Any], watched: WatchedResource) -> Recipient | None:
    rich = given.get("includeResourceData", False)
    if rich not in {True, False, None}:
        raise bad_request("'includeResourceData' must be a Boolean.")
    if not rich:
        if watched.kind.rich_only:
            raise validation_error("includeResourceData is required for this resource.")
        if "encryptionCertificate" in given or "encryptionCertificateId" in given:
            raise validation_error("An encryption certificate is of use with includeResourceData only.")
        return None
    if not watched.kind.rich:
        raise validation_error("includeResourceData is not supported for this resource.")
    return recipient_of(given)


def _check_select(watched: WatchedResource, rich: bool) -> None:
    selects = "$select=" in watched.query.lower()
    if selects and watched.kind.select == "refused":
        raise validation_error("$select is not supported for this resource.")
    if rich and not selects and watched.kind.select == "required":
        raise validation_error("$select is required for this resource with includeResourceData.")


def _tls_version(given: dict[str, Any]) -> str:
    version = given.get("latestSupportedTlsVersion") or "v1_2"
    if version not in TLS_VERSIONS:
        raise bad_request("latestSupportedTlsVersion is not a known version.")
    return str(version)


def _audience(given: dict[str, Any], owner: Caller) -> str:
    audience = given.get("notificationUrlAppId") or owner.app
    if not isinstance(audience, str) or not is_guid(audience):
        raise bad_request("notificationUrlAppId must be the id of an application.")
    return audience
