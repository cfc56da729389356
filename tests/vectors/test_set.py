"""A set of vectors is complete, valid by its schema, cites a source for each verdict, and is reproducible."""

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP, PSS
from cryptography.hazmat.primitives.hashes import SHA1, SHA256

from graph_simulator.vectors import rules
from graph_simulator.vectors.derivation import Draw
from graph_simulator.vectors.rsa import derived_key, encrypt_oaep, sign_pss
from tests.vectors.receiver import Vectors

ROOT = Path(__file__).parents[2]
PUBLISHED = "5ef414b16119e283651ce72f0d8bda68d8887056815072189ce4383bb5f3e413"
"""SHA-256 of SHA256SUMS of seed 0. A change to an octet of a case, or of an expectation, has to change this too:
raise FORMAT if readers of the older set would misread the newer one, and describe the change in CHANGELOG.md.
"""


def test_there_are_150_cases_and_more(vectors: Vectors) -> None:
    names = [case["name"].casefold() for case in vectors.manifest["cases"]]
    assert len(names) >= 150
    assert len(set(names)) == len(names)
    assert names == sorted(names, key=str.casefold)


def test_the_manifest_is_valid_by_the_schema_that_comes_with_it(vectors: Vectors) -> None:
    schema = json.loads(vectors.read("manifest.schema.json"))
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    assert [error.message for error in validator.iter_errors(vectors.manifest)] == []
    assert not validator.is_valid({**vectors.manifest, "cases": []})
    assert not validator.is_valid({**vectors.manifest, "more": 1})


def test_the_manifest_names_every_file_and_no_other(vectors: Vectors) -> None:
    manifest = vectors.manifest
    named = {"manifest.json", "manifest.schema.json", "SHA256SUMS", "README.txt"}
    named |= {path for name, path in manifest["login"].items() if name != "authority"}
    named |= {key[part] for key in manifest["encryptionKeys"] for part in ("privateKey", "certificate")}
    for case in manifest["cases"]:
        named |= {case["request"]["body"], case["expected"].get("body")} - {None}
        named |= {item["plainText"] for item in case["expected"].get("items", []) if "plainText" in item}
    assert sorted(named) == vectors.files()


def test_each_verdict_has_a_published_source(vectors: Vectors) -> None:
    without_source = {
        case["name"]
        for case in vectors.manifest["cases"]
        if not case["rule"]["text"] or case["rule"]["source"].partition("#")[0] not in pages()
    }
    assert without_source == set()


def pages() -> set[str]:
    return {source.partition("#")[0] for source in rules.PUBLISHED}


def test_each_reason_and_each_event_has_a_case(vectors: Vectors) -> None:
    items = [item for case in vectors.manifest["cases"] for item in case["expected"].get("items", [])]
    definitions = json.loads(vectors.read("manifest.schema.json"))["$defs"]["item"]["oneOf"]
    rejected, lifecycle = definitions[-1]["properties"], definitions[1]["properties"]
    assert {item["reason"] for item in items if "reason" in item} == set(rejected["reason"]["enum"])
    assert {item["detail"] for item in items if "detail" in item} == set(rejected["detail"]["enum"])
    assert {item["lifecycleEvent"] for item in items if "lifecycleEvent" in item} == set(
        lifecycle["lifecycleEvent"]["enum"]
    )


def test_the_set_is_the_one_that_was_published(vectors: Vectors) -> None:
    assert damaged(vectors) == []
    assert hashlib.sha256(vectors.read("SHA256SUMS")).hexdigest() == PUBLISHED


def test_one_octet_changed_anywhere_shows(vectors: Vectors, tmp_path: Path) -> None:
    copy = Vectors(tmp_path / "set")
    shutil.copytree(vectors.directory, copy.directory)
    files = [path for path in copy.files() if path != "SHA256SUMS"]
    for path in (*files[::37], "manifest.json", "manifest.schema.json"):
        octets = copy.read(path)
        place = len(path) * 7919 % len(octets) if octets else 0
        (copy.directory / path).write_bytes(octets[:place] + bytes([octets[place] ^ 4]) + octets[place + 1 :])
        assert damaged(copy) == [path]
        (copy.directory / path).write_bytes(octets)
    assert damaged(copy) == []


def damaged(vectors: Vectors) -> list[str]:
    """Return the files that differ from SHA256SUMS."""
    sums = {path: digest for digest, _, path in (line.partition("  ") for line in lines(vectors))}
    found = {path: hashlib.sha256(vectors.read(path)).hexdigest() for path in vectors.files() if path != "SHA256SUMS"}
    return sorted(path for path in found.keys() | sums.keys() if found.get(path) != sums.get(path))


def lines(vectors: Vectors) -> list[str]:
    return vectors.read("SHA256SUMS").decode().splitlines()


@pytest.mark.process
def test_another_process_writes_the_same_set_under_the_old_name_of_the_simulator(
    vectors: Vectors, tmp_path: Path
) -> None:
    other = Vectors(tmp_path / "set")
    command = [sys.executable, "-m", "local.graph", "vectors", str(other.directory), "--seed", "0"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout == f"{len(vectors.manifest['cases'])} cases in {other.directory}\n"
    assert other.files() == vectors.files()
    assert [path for path in vectors.files() if other.read(path) != vectors.read(path)] == []


def test_keys_belong_to_their_certificates_and_say_that_they_are_for_tests(vectors: Vectors) -> None:
    for key in vectors.manifest["encryptionKeys"]:
        certificate = x509.load_pem_x509_certificate(vectors.read(key["certificate"]))
        assert certificate.fingerprint(SHA1()).hex().upper() == key["thumbprint"]
        assert "test key" in certificate.subject.rfc4514_string()
        certificate.verify_directly_issued_by(certificate)
    assert b"FOR TESTS ONLY" in vectors.read("README.txt")
    assert "For tests only" in vectors.manifest["warning"]


def test_another_seed_or_name_gives_other_octets() -> None:
    draws = [Draw(0, "x"), Draw(1, "x"), Draw(0, "y")]
    assert len({draw.octets(16) for draw in draws}) == 3
    assert len({draw.octets(16) for draw in draws * 2}) == 6
    assert Draw(0, "x").guid() == Draw(0, "x").guid()


@pytest.mark.parametrize("bits", [1024, 1032])
def test_a_derived_key_agrees_with_the_library_in_oaep_and_pss(bits: int) -> None:
    key = derived_key(Draw(7, "a key"), bits)
    assert key.key_size == bits
    assert derived_key(Draw(7, "a key"), bits).private_numbers() == key.private_numbers()
    assert derived_key(Draw(8, "a key"), bits).private_numbers() != key.private_numbers()
    for digest, name in ((SHA1(), "sha1"), (SHA256(), "sha256")):
        wrapped = encrypt_oaep(b"0123456789", key.public_key(), bytes(digest.digest_size), name)
        assert key.decrypt(wrapped, OAEP(MGF1(digest), digest, None)) == b"0123456789"
    signature = sign_pss(b"message", key, bytes(range(32)))
    key.public_key().verify(signature, b"message", PSS(MGF1(SHA256()), 32), SHA256())
