"""References in the documentation lead somewhere: files, headings, and the facts about Graph that the code cites."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.errors import Reason

ROOT = Path(__file__).parents[1]
PAGES = (*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md")), ROOT / "graph_simulator" / "README.md")

# A citation in a comment or a docstring may continue in the next line.
_CITATION = re.compile(r'docs/graph\.md,[\s#]+"([^"]+)"')
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_FENCED = re.compile(r"^ *```.*?^ *```", re.DOTALL | re.MULTILINE)


def texts() -> Iterator[tuple[Path, str]]:
    """The repository's sources and pages, by their path from the root."""
    for folder in sorted(ROOT.iterdir()):
        if folder.name.startswith(".") or folder.name == "node_modules":
            continue
        for path in [folder] if folder.is_file() else sorted(folder.rglob("*")):
            if path.suffix in {".py", ".sh", ".md", ".bicep", ".js", ".mjs"}:
                yield path.relative_to(ROOT), path.read_text(encoding="utf-8")


def prose(page: Path) -> str:
    """A page without its blocks of code."""
    return _FENCED.sub("", page.read_text(encoding="utf-8"))


def headings(page: Path) -> list[str]:
    return re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)


def anchor(heading: str) -> str:
    """How GitHub names a heading in an address."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def dangling_links(page: Path) -> list[str]:
    """Return the links of a page, within this repository, that lead nowhere."""
    dangling = []
    for link in _LINK.findall(prose(page)):
        path, _, fragment = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if "://" in link or link.startswith("mailto:"):
            continue
        if not target.exists() or (fragment and fragment not in map(anchor, headings(target))):
            dangling.append(link)
    return dangling


def test_the_code_cites_headings_that_graph_md_has() -> None:
    known = set(headings(ROOT / "docs" / "graph.md"))
    cited = {
        (path.as_posix(), " ".join(re.sub(r"[\s#]+", " ", name).split()))
        for path, text in texts()
        for name in _CITATION.findall(text)
    }
    assert len(cited) > 30
    assert {(path, name) for path, name in cited if name not in known} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_a_pages_links_lead_somewhere(page: Path) -> None:
    assert dangling_links(page) == []


def test_each_named_page_of_microsofts_has_an_address() -> None:
    text = prose(ROOT / "docs" / "graph.md")
    named = {name.lower() for name in re.findall(r"\[([^\]]+)\](?![(:])", re.sub(r"`[^`]*`", "", text))}
    addresses = dict(re.findall(r"^\[(.+)\]: (.+)$", text, re.MULTILINE))
    assert named == {name.lower() for name in addresses}
    assert all(address.startswith("https://learn.microsoft.com/") for address in addresses.values())


def test_the_page_of_operations_explains_every_reason() -> None:
    section = (
        (ROOT / "docs" / "operations.md")
        .read_text(encoding="utf-8")
        .partition("\n## Reasons\n")[2]
        .partition("\n## ")[0]
    )
    first_column = "".join(line.split("|")[1] for line in section.splitlines() if line.startswith("|"))
    assert set(re.findall(r"`(\w+)`", first_column)) == {*Reason, "poison"}


def test_a_link_that_leads_nowhere_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# Two words\n[a](#two-words) [b](#three) [c](gone.md) [d](page.md#two-words) [e](https://x.test/)\n"
    )
    assert dangling_links(page) == ["#three", "gone.md"]
