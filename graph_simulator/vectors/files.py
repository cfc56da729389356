"""A set as files: the manifest and the files that it names, each as path and octets."""

import hashlib
import json
from base64 import b64encode
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from graph_simulator.signing import metadata
from graph_simulator.vectors.case import NOW, Case, Expected
from graph_simulator.vectors.world import EncryptionKey, Subscription, World

FORMAT = 1
"""Increases when a reader of an older manifest would misread a newer one."""

MANIFEST, SCHEMA, SUMS, WARNING = "manifest.json", "manifest.schema.json", "SHA256SUMS", "README.txt"
LOGIN = "https://login.microsoftonline.com"
SUBSCRIPTION_ENDS = "2031-02-03T05:00:00Z"
LEEWAY_SECONDS = 3_600

_CHECKS = ("missing", "malformed", "algorithm", "key", "signature", "issuer", "audience", "publisher", "lifetime")
_REASONS = {
    **{f"token_{check}": "token" for check in _CHECKS},
    "tokens_null": "token",
    "content_unreadable": "content",
    "content_not_json": "content",
    "key_unknown": "key",
}
"""What a receiver must distinguish, by the failed check; other reasons are distinguished as they are."""

_README = """Test vectors for receivers of Microsoft Graph change notifications, seed {seed}.

FOR TESTS ONLY. Every key in this set can be derived from its seed by anybody: never use one for anything else.

manifest.json says what there is, what to do with it and what must come out; manifest.schema.json describes it.
`sha256sum -c SHA256SUMS` tells whether a file has changed since the set was written.
docs/vectors.md of Graph Relay explains how to test a receiver with it.
"""

Files = dict[str, bytes]


def files_of(world: World, chosen: Iterable[Case]) -> Files:
    """Return every file of a set with the chosen cases, by its path in the set."""
    files: Files = {
        SCHEMA: (Path(__file__).parent / SCHEMA).read_bytes(),
        WARNING: _README.format(seed=world.seed).encode(),
    }
    manifest = {
        "$schema": SCHEMA,
        "format": FORMAT,
        "seed": world.seed,
        "warning": "For tests only: every key in this set can be derived from its seed by anybody.",
        "clock": _moment(NOW),
        "leewaySeconds": LEEWAY_SECONDS,
        "app": {"clientId": world.client_id, "tenantId": world.tenants[0]},
        "clientStateSecret": b64encode(world.client_state_secret).decode(),
        "login": _login(world, files),
        "encryptionKeys": [_key(key, files) for key in world.keys],
        "subscriptions": [_subscription(subscription) for subscription in world.subscriptions.values()],
        "cases": [_case(case, files) for case in chosen],
    }
    files[MANIFEST] = _json(manifest)
    files[SUMS] = "".join(f"{hashlib.sha256(files[path]).hexdigest()}  {path}\n" for path in sorted(files)).encode()
    return files


def _login(world: World, files: Files) -> dict[str, str]:
    """Write what the authority publishes, at its usual paths; return the root."""
    keys = [{**key.jwk(), "issuer": f"{LOGIN}/{{tenantid}}/v2.0"} for key in world.signing_keys]
    paths = {
        "metadataV1": "login/common/.well-known/openid-configuration",
        "metadataV2": "login/common/v2.0/.well-known/openid-configuration",
        "keysV1": "login/common/discovery/keys",
        "keysV2": "login/common/discovery/v2.0/keys",
    }
    for version in (1, 2):
        files[paths[f"metadataV{version}"]] = _json(metadata(LOGIN, "common", version))
        files[paths[f"keysV{version}"]] = _json({"keys": keys})
    return {"authority": LOGIN, **paths}


def _key(key: EncryptionKey, files: Files) -> dict[str, str]:
    key_id = key.recipient.certificate_id
    private, public = f"keys/{key_id}.key.pem", f"keys/{key_id}.certificate.pem"
    files[private] = key.private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    files[public] = key.certificate.public_bytes(Encoding.PEM)
    return {"id": key_id, "thumbprint": key.recipient.thumbprint, "privateKey": private, "certificate": public}


def _subscription(subscription: Subscription) -> dict[str, Any]:
    return {
        "name": subscription.name,
        "id": subscription.id,
        "tenantId": subscription.tenant,
        "resource": subscription.resource,
        "changeType": subscription.change_type,
        "includeResourceData": subscription.rich,
        "clientState": subscription.client_state,
        "expirationDateTime": SUBSCRIPTION_ENDS,
    }


def _case(case: Case, files: Files) -> dict[str, Any]:
    here = f"cases/{case.name}"
    described = {
        "name": case.name,
        "description": case.description,
        "level": "must" if case.rule.must else "should",
        "rule": {"text": case.rule.text, "source": case.rule.source},
        "receivedAt": _moment(case.received),
    }
    if case.body is None:
        files[f"{here}/answer.txt"] = case.answer or b""
        return {
            **described,
            "request": {
                "method": "POST",
                "query": case.query,
                "contentType": "text/plain; charset=utf-8",
                "body": None,
            },
            "expected": {"status": list(case.status), "contentType": "text/plain", "body": f"{here}/answer.txt"},
        }
    files[f"{here}/body.json"] = case.body
    request = {
        "method": "POST",
        "query": "",
        "contentType": "application/json; charset=utf-8",
        "body": f"{here}/body.json",
    }
    items = [_item(item, f"{here}/plain-{place:03}.json", files) for place, item in enumerate(case.items)]
    return {**described, "request": request, "expected": {"status": list(case.status), "items": items}}


def _item(item: Expected, path: str, files: Files) -> dict[str, Any]:
    expected: dict[str, Any] = {"verdict": item.verdict}
    if item.reason is not None:
        expected |= {"reason": _REASONS.get(item.reason, item.reason), "detail": item.reason}
    if item.event is not None:
        expected["lifecycleEvent"] = item.event
    if item.plain is not None:
        files[path] = item.plain
        expected["plainText"] = path
    return expected


def _moment(moment: Any) -> str:
    return str(moment.strftime("%Y-%m-%dT%H:%M:%SZ"))


def _json(document: object) -> bytes:
    return (json.dumps(document, indent=1, ensure_ascii=True) + "\n").encode()
