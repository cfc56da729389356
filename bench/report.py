"""Writes the figures into docs/performance.md, as a table and a plot."""

import os
import platform
import re
from collections.abc import Sequence
from pathlib import Path
from xml.sax.saxutils import escape

from bench.figure import Figure

PAGE = Path(__file__).parent.parent / "docs" / "performance.md"
PLOT = PAGE.with_suffix(".svg")
_BEGIN, _END = "<!-- written by make bench -->", "<!-- end -->"

_ROW, _NAMES, _BAR, _MOST = 24, 540, 300, 1.5
"""Pixels: height of a row, width of the names, length of a bar at its limit. The share at which bars are cut."""


def write(figures: Sequence[Figure]) -> None:
    """Replace the table in the page, and the plot beside it."""
    write_into(PAGE, table(figures))
    PLOT.write_text(plot([figure for figure in figures if figure.share is not None]), encoding="utf-8")


def write_into(page: Path, measured: str) -> None:
    """Replace the text between the marks in a page with a sentence about this machine and what was measured."""
    before, rest = page.read_text(encoding="utf-8").split(_BEGIN)
    after = rest.split(_END)[1]
    page.write_text(f"{before}{_BEGIN}\n{machine()}\n\n{measured}\n{_END}{after}", encoding="utf-8")


def machine() -> str:
    """Return a sentence about the environment of the measurement."""
    cpus = re.findall(r"^model name\s*:\s*(.*)$", _cpus(), re.MULTILINE)
    model = f" ({cpus[0]})" if cpus else ""
    load = os.getloadavg()[2]
    return (
        f"Measured with Python {platform.python_version()} on {os.cpu_count()} processors{model}, {platform.system()}; "
        f"the load average of the last 15 minutes was {load:.1f}."
    )


def _cpus() -> str:
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return ""  # not Linux


def table(figures: Sequence[Figure]) -> str:
    """Return a table in Markdown."""
    verdicts = {True: "holds", False: "**does not hold**", None: ""}
    rows = [f"| {figure.name} | {figure.measured} | {figure.limit} | {verdicts[figure.holds]} |" for figure in figures]
    return "\n".join(["| what | measured | limit | |", "|---|---|---|---|", *rows])


def plot(figures: Sequence[Figure]) -> str:
    """Return an SVG: a bar for each limit, as long as the used share of it."""
    height, width = (len(figures) + 2) * _ROW, _NAMES + int(_BAR * _MOST) + 20
    rows = "".join(_row(number, figure) for number, figure in enumerate(figures))
    line = f'<path d="M{_NAMES + _BAR} {_ROW}V{height - _ROW}" stroke="#444" stroke-dasharray="4 3"/>'
    legend = f'<text x="{_NAMES + _BAR}" y="16" text-anchor="middle">the limit</text>'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'font-family="sans-serif" font-size="12" role="img"><title>Share of each limit that is used</title>'
        f'<rect width="100%" height="100%" fill="#fff"/>{legend}{rows}{line}</svg>\n'
    )


def _row(number: int, figure: Figure) -> str:
    share = figure.share or 0.0
    top = (number + 1) * _ROW
    colour = "#3a7d44" if figure.holds else "#b3261e"
    length = max(int(min(share, _MOST) * _BAR), 1)
    return (
        f'<text x="{_NAMES - 8}" y="{top + 16}" text-anchor="end">{escape(figure.name)}</text>'
        f'<rect x="{_NAMES}" y="{top + 4}" width="{length}" height="{_ROW - 8}" fill="{colour}"/>'
        f'<text x="{_NAMES + 6}" y="{top + 16}" fill="#fff">{share:.0%}</text>'
    )
