"""The source of each verdict: a sentence, and the page or RFC that states it."""

from dataclasses import dataclass

_LEARN = "https://learn.microsoft.com/graph/"
_RFC = "https://www.rfc-editor.org/rfc/"

DELIVERY = f"{_LEARN}change-notifications-delivery-webhooks"
RICH = f"{_LEARN}change-notifications-with-resource-data"
LIFECYCLE = f"{_LEARN}change-notifications-lifecycle-events"
TEAMS = f"{_LEARN}teams-changenotifications-chatmessage"
TRANSCRIPTS = f"{_LEARN}teams-changenotifications-callrecording-and-calltranscript"
OVERVIEW = f"{_LEARN}change-notifications-overview"
OUTLOOK = f"{_LEARN}outlook-change-notifications-overview"
COLLECTION = f"{_LEARN}api/resources/changenotificationcollection"
NOTIFICATION = f"{_LEARN}api/resources/changenotification"
ENCRYPTED_CONTENT = f"{_LEARN}api/resources/changenotificationencryptedcontent"
SUBSCRIPTION = f"{_LEARN}api/resources/subscription"
CHAT_MESSAGE = f"{_LEARN}api/resources/chatmessage"
CLAIMS = "https://learn.microsoft.com/entra/identity-platform/access-token-claims-reference"
CLAIMS_VALIDATION = "https://learn.microsoft.com/entra/identity-platform/claims-validation"
SIGNING_KEYS = "https://learn.microsoft.com/entra/identity-platform/access-tokens"

HTTP = f"{_RFC}rfc9110"
JSON = f"{_RFC}rfc8259"
BASE64 = f"{_RFC}rfc4648"
UTF8 = f"{_RFC}rfc3629"
JWS = f"{_RFC}rfc7515"
JWA = f"{_RFC}rfc7518"
JWT = f"{_RFC}rfc7519"
JWT_PRACTICE = f"{_RFC}rfc8725"
HMAC = f"{_RFC}rfc2104"
OAEP = f"{_RFC}rfc8017#section-7.1"
PADDING = f"{_RFC}rfc5652#section-6.3"
GUIDS = f"{_RFC}rfc9562#section-4"
ODATA_URLS = "https://docs.oasis-open.org/odata/odata/v4.01/odata-v4.01-part2-url-conventions.html"
ODATA_JSON = "https://docs.oasis-open.org/odata/odata-json-format/v4.01/odata-json-format-v4.01.html"
FORMS = "https://url.spec.whatwg.org/#urlencoded-parsing"


@dataclass(frozen=True)
class Rule:
    """The rule that decides a case. `must`: the source states it; otherwise this is the safe reading."""

    text: str
    source: str
    must: bool = True


def should(text: str, source: str) -> Rule:
    """Return a rule that the source leaves open."""
    return Rule(text, source, must=False)


PUBLISHED = (
    DELIVERY, RICH, LIFECYCLE, TEAMS, TRANSCRIPTS, OVERVIEW, OUTLOOK, COLLECTION, NOTIFICATION, ENCRYPTED_CONTENT,
    SUBSCRIPTION, CHAT_MESSAGE, CLAIMS, CLAIMS_VALIDATION, SIGNING_KEYS, HTTP, JSON, BASE64, UTF8, JWS, JWA, JWT,
    JWT_PRACTICE, HMAC, OAEP, PADDING, GUIDS, ODATA_URLS,
    ODATA_JSON, FORMS,
)  # fmt: skip
"""Every page that a rule may cite; a section may follow."""
