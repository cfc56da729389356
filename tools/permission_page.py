"""Write the tables of Graph permissions in docs/permissions.md from shared/resources/catalog.py and
member_sources.py.

python -m tools.permission_page
"""

from collections.abc import Iterable
from pathlib import Path

from shared.resources.catalog import KINDS, Kind, Operation
from shared.resources.member_sources import MEMBER_SOURCES, MemberSource

PAGE = Path(__file__).parent.parent / "docs" / "permissions.md"
BEGIN = "<!-- tables of Graph permissions, written by: python -m tools.permission_page -->"
END = "<!-- end of the tables of Graph permissions -->"

_HEAD = (
    "resource",
    "subscribe (`renew_timer`)",
    "`hydrate` (`process_queue`)",
    "read back what was missed (`process_queue`)",
    "resource-specific consent",
    "also needed",
)


def main() -> None:
    """Replace the text between the two marks."""
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    PAGE.write_text(before + section() + rest.partition(END)[2], encoding="utf-8")


def section() -> str:
    """Return the tables, marks included."""
    notes = list(dict.fromkeys(sentence for kind in KINDS if kind.subscribe for sentence in kind.besides))
    return "\n".join(
        (
            BEGIN,
            "",
            f"| {' | '.join(_HEAD)} |",
            "|---|---|---|---|---|---|",
            *(_row(kind, notes) for kind in KINDS if kind.subscribe),
            "",
            *(f"{number}. {sentence}" for number, sentence in enumerate(notes, start=1)),
            "",
            "Lists that a declaration fans out over (`forEach`), for `renew_timer`:",
            "",
            "| list | to read it | to read its changes with a delta query |",
            "|---|---|---|",
            *(_list_row(source) for source in MEMBER_SOURCES),
            "",
            "Not for applications:",
            "",
            *(f"- {_paths(kind)}: {' '.join(kind.besides)}" for kind in KINDS if not kind.subscribe),
            "",
            "One of the permissions in a cell suffices. The first is the least privileged, and the one that the script",
            "requests; at most three are shown. Where a read needs two requests, a semicolon separates them.",
            "Sources of the column *subscribe*:",
            "",
            "| page | edition | read for |",
            "|---|---|---|",
            *_sources(),
            "",
            END,
        )
    )


def _row(kind: Kind, notes: list[str]) -> str:
    numbers = [f"({notes.index(sentence) + 1})" for sentence in kind.besides]
    cells = (
        _paths(kind),
        _names(kind.subscribe),
        _operations(kind.read),
        _operations(kind.sweep),
        _names(kind.specific),
        " ".join((*(["beta endpoint only"] if kind.beta else []), *numbers)),
    )
    return f"| {' | '.join(cell or 'none' for cell in cells)} |"


def _list_row(source: MemberSource) -> str:
    read, *delta = source.operations
    filtered = ", without `$filter`" if source.filtered else ""
    changes = f"{_operations(delta)}{filtered}" if delta else "none"
    return f"| `{source.path.replace('{}', '{id}')}` | {_names(read.accepted[:3])} | {changes} |"


def _paths(kind: Kind) -> str:
    return ", ".join(f"`{path.replace('{}', '{id}')}`" for path in kind.paths)


def _operations(operations: Iterable[Operation]) -> str:
    """Merge operations with the same permissions; long lists of permissions are shortened."""
    return "; ".join(dict.fromkeys(_names(operation.accepted[:3]) for operation in operations))


def _names(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _sources() -> Iterable[str]:
    pages: dict[tuple[str, str], dict[str, None]] = {}
    for kind in KINDS:
        pages.setdefault((kind.source.page, kind.source.edition), {})[kind.name] = None
    for (page, edition), names in sorted(pages.items()):
        yield f"| [{page.rpartition('/')[2]}]({page}) | {edition} | {', '.join(names)} |"


if __name__ == "__main__":
    main()
