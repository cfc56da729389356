"""Write the table of all resource kinds in docs/configuration.md from the app's own tables.

python -m tools.resource_page
"""

from datetime import timedelta
from pathlib import Path

from shared.configuration.declaration import Declaration
from shared.readback.declared import is_pinged
from shared.readback.pages import can_read
from shared.resources.catalog import KINDS, LATENCY, RICH, Kind
from shared.resources.delta_query import delta_path, view_of

PAGE = Path(__file__).parent.parent / "docs" / "configuration.md"
BEGIN = "<!-- table of resource kinds, written by: python -m tools.resource_page -->"
END = "<!-- end of the table of resource kinds -->"

_HEAD = ("watch", "content", "`hydrate`", "read back by", "latency", "permission to subscribe", "lifetime")


def main() -> None:
    """Replace the text between the two marks."""
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    PAGE.write_text(before + section() + rest.partition(END)[2], encoding="utf-8")


def section() -> str:
    """Return the table, marks included."""
    rows = [_row(kind, paths) for kind in KINDS if kind.subscribe and not kind.beta for paths in _alike(kind)]
    return "\n".join((BEGIN, "", f"| {' | '.join(_HEAD)} |", f"|{'---|' * len(_HEAD)}", *rows, "", END))


def _alike(kind: Kind) -> list[tuple[str, ...]]:
    """The paths of a row, separately if they are read back in different ways."""
    ways: dict[str, list[str]] = {}
    for path in kind.paths:
        ways.setdefault(_read_back(path), []).append(path)
    return [tuple(paths) for paths in ways.values()]


def _row(kind: Kind, paths: tuple[str, ...]) -> str:
    watch = ", ".join(f"`/{path.replace('{}', '{id}')}`" for path in paths)
    content = {True: "yes", False: "no"}[kind.name in RICH]
    if is_pinged(Declaration(paths[0].replace("{}", "1"), ("updated",))):
        content = "by a delta query that each notification starts"
    elif kind.rich_minutes:
        content = "with `$select`"
    life = _span(timedelta(minutes=kind.minutes))
    if kind.rich_minutes:
        life += f"; {_span(timedelta(minutes=kind.rich_minutes))} with content"
    cells = (
        watch,
        content,
        "yes" if kind.read else "no",
        _read_back(paths[0]),
        LATENCY.get(kind.name, "unknown"),
        kind.subscribe[0],
        life,
    )
    return f"| {' | '.join(cells)} |"


def _read_back(path: str) -> str:
    named = path.replace("{}", "1")
    if delta_path(named) is not None:
        return "delta query"
    if view_of(named) is not None:
        return "time of change; deletions by delta query"
    return "time of change" if can_read(named) else "nothing"


def _span(time: timedelta) -> str:
    days, rest = divmod(int(time.total_seconds()) // 60, 1440)
    parts = ((days, "d"), (rest // 60, "h"), (rest % 60, "min"))
    return " ".join(f"{number} {unit}" for number, unit in parts if number)


if __name__ == "__main__":
    main()
