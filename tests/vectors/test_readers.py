"""The readers in docs/vectors.md pass every case, and detect a wrong manifest or body."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from local.azurite import NODE
from tests.vectors.receiver import Vectors

PAGE = (Path(__file__).parents[2] / "docs/vectors.md").read_text(encoding="utf-8")
LANGUAGES = {"python": ("reader.py", sys.executable), "js": ("reader.mjs", str(NODE))}

Expected = dict[str, Any]


def source(language: str) -> str:
    """The one program in that language on the page."""
    (text,) = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    return str(text)


def run(language: str, directory: Path, set_: Path) -> tuple[int, list[str]]:
    """Exit code and lines of a reader."""
    name, program = LANGUAGES[language]
    (directory / name).write_text(source(language), encoding="utf-8")
    ended = subprocess.run(
        [program, str(directory / name), str(set_)], capture_output=True, text=True, encoding="utf-8", check=False
    )
    assert ended.stderr == ""
    return ended.returncode, ended.stdout.splitlines()


@pytest.mark.process
@pytest.mark.parametrize("language", LANGUAGES)
def test_a_reader_passes_every_case(language: str, vectors: Vectors, tmp_path: Path) -> None:
    assert run(language, tmp_path, vectors.directory) == (0, [f"{len(vectors.manifest['cases'])} cases, 0 failed"])


def test_the_page_says_how_many_cases_there_are(vectors: Vectors) -> None:
    assert f"{len(vectors.manifest['cases'])} requests" in " ".join(PAGE.split())


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_reader_is_short_and_needs_no_more_than_it_says(language: str) -> None:
    text = source(language)
    assert len(text.splitlines()) < 80
    assert max(map(len, text.splitlines())) <= 120
    if language == "js":
        assert set(re.findall(r'from "(.*?)"', text)) == {"node:crypto", "node:fs"}
    else:
        imported = set(re.findall(r"^(?:from|import) (.+?)(?: import .*)?$", text, re.MULTILINE))
        third = {name.partition(".")[0] for line in imported for name in line.split(", ")} - sys.stdlib_module_names
        assert third == {"cryptography", "jwt"}


def item(place: int, **changes: object) -> Callable[[Expected], None]:
    """Change the expectation of one item."""
    return lambda expected: expected["items"][place].update(changes)


def instead(**changes: object) -> Callable[[Expected], None]:
    return lambda expected: expected.update(changes)


def lacks(place: int, name: str) -> Callable[[Expected], None]:
    def remove(expected: Expected) -> None:
        del expected["items"][place][name]

    return remove


WRONG: dict[str, Callable[[Expected], None]] = {
    "handshake-usual": instead(body="cases/handshake-opaque/answer.txt"),
    "handshake-long": instead(status=[202]),
    "basic-mail": item(0, verdict="duplicate"),
    "basic-file": item(0, plainText="cases/rich-reply/plain-000.json"),
    "body-truncated": instead(status=[200, 202]),
    "client-state-wrong": item(2, verdict="accept"),
    "client-state-null": item(1, reason="token"),
    "collection-a-hundred-rich": item(57, verdict="reject", reason="token"),
    "collection-empty": instead(items=[{"verdict": "accept"}]),
    "content-truncated": item(0, reason="key"),
    "lifecycle-missed": item(0, lifecycleEvent="subscriptionRemoved"),
    "replay-within-a-body": item(1, verdict="accept"),
    "resource-chat-under-another-chat": item(1, reason="client_state"),
    "rich-presence": item(0, plainText="cases/rich-reply/plain-000.json"),
    "rich-transcript": lacks(0, "plainText"),
    "token-expired": item(0, verdict="accept"),
    "token-good-beside-bad": item(0, plainText="cases/rich-reply/plain-000.json"),
    "token-version-1": item(0, verdict="reject", reason="token"),
    "token-version-2": instead(items=[]),
}


@pytest.mark.process
@pytest.mark.parametrize("language", LANGUAGES)
def test_a_reader_contradicts_each_wrong_expectation_and_each_changed_body(
    language: str, vectors: Vectors, tmp_path: Path
) -> None:
    """In one set with links to the genuine one, except for the manifest and one body."""
    for part in ("keys", "login", "cases"):
        (tmp_path / part).symlink_to(vectors.directory / part, target_is_directory=True)
    manifest = json.loads(vectors.read("manifest.json"))
    cases = {case["name"]: case for case in manifest["cases"]}
    for name, wrong in WRONG.items():
        wrong(cases[name]["expected"])
    body = vectors.read("cases/rich-reply/body.json")
    place = body.index(b'"data":"') + 40
    (tmp_path / "body.json").write_bytes(
        body[:place] + (b"A" if body[place:][:1] != b"A" else b"B") + body[place + 1 :]
    )
    cases["rich-reply"]["request"]["body"] = "body.json"
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    code, lines = run(language, tmp_path, tmp_path)
    assert code == 1
    assert lines[0] == f"{len(cases)} cases, {len(WRONG) + 1} failed"
    assert set(lines[1:]) == {*WRONG, "rich-reply"}
