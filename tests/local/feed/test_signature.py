from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook

from local.feed.signature import BadSignature, Unsigned, Verifier
from tests.local.feed.sender import new_secret

BODY = '[{"text":"ünïcode"}]'.encode()


def signed(secret: str, body: bytes = BODY, age: timedelta = timedelta()) -> dict[str, str]:
    when = datetime.now(UTC) - age
    signature = Webhook(secret).sign("msg_1", when, body.decode())
    return {"webhook-id": "msg_1", "webhook-timestamp": str(int(when.timestamp())), "webhook-signature": signature}


def test_what_either_of_two_live_secrets_signed_is_accepted() -> None:
    old, new = new_secret(), new_secret()
    verifier = Verifier(f"{old}, {new}")
    verifier.verify(BODY, signed(old))
    verifier.verify(BODY, signed(new))


def test_one_good_signature_among_several_is_enough() -> None:
    ours, other = new_secret(), new_secret()
    headers = signed(ours)
    headers["webhook-signature"] = f"{signed(other)['webhook-signature']} {headers['webhook-signature']}"
    Verifier(ours).verify(BODY, headers)


def test_an_altered_body_another_secret_and_a_wrong_timestamp_are_refused() -> None:
    secret = new_secret()
    for body, headers in (
        (BODY + b" ", signed(secret)),
        (BODY, signed(new_secret())),
        (BODY, signed(secret, age=timedelta(minutes=6))),
        (BODY, signed(secret, age=timedelta(minutes=-6))),
    ):
        with pytest.raises(BadSignature):
            Verifier(secret).verify(body, headers)


@pytest.mark.parametrize("missing", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_a_missing_header_is_distinguished_from_a_wrong_one(missing: str) -> None:
    secret = new_secret()
    headers = signed(secret)
    del headers[missing]
    with pytest.raises(Unsigned):
        Verifier(secret).verify(BODY, headers)


@given(signature=st.text(min_size=1), timestamp=st.text(min_size=1), body=st.binary())
def test_no_malformed_header_or_body_is_anything_but_a_bad_signature(
    signature: str, timestamp: str, body: bytes
) -> None:
    verifier = Verifier(new_secret())
    now = str(int(datetime.now(UTC).timestamp()))
    for when, what in ((timestamp, "v1,AAAA"), (now, signature), (now, f"v1,{signature}"), (now, "v1"), (now, "v1,A")):
        with pytest.raises(BadSignature):
            verifier.verify(body, {"webhook-id": "m", "webhook-timestamp": when, "webhook-signature": what})


@pytest.mark.parametrize("value", ["", " ", "whsec_", "whsec_A", f"{new_secret()},"])
def test_a_malformed_secret_is_reported_without_its_value(value: str) -> None:
    with pytest.raises(ValueError, match="DESTINATION_SECRET: expected whsec_"):
        Verifier(value)
