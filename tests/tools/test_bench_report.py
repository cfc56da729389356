"""What `make bench` writes: a table and a plot."""

from xml.etree import ElementTree

from bench.figure import Figure, at_least, at_most
from bench.report import machine, plot, table

HELD = at_most("requests & more, a notification", 0.15, 0.2, "0.15")
BROKEN = at_least("opening <bare>", 0.5, 0.9, "0.50", " times")
NOTED = Figure("lag", "p99 1.0 s")


def test_a_limit_holds_up_to_its_value_and_shows_the_used_share() -> None:
    assert (HELD.limit, HELD.holds, round(HELD.share or 0, 2)) == ("≤ 0.2", True, 0.75)
    assert (BROKEN.limit, BROKEN.holds, round(BROKEN.share or 0, 2)) == ("≥ 0.9 times", False, 1.8)
    assert at_most("", 2, 2, "").holds
    assert at_least("", 2, 2, "").holds
    assert at_least("", 0, 2, "").share == float("inf")


def test_the_table_has_a_row_for_each_figure() -> None:
    assert table([HELD, BROKEN, NOTED]).splitlines()[2:] == [
        "| requests & more, a notification | 0.15 | ≤ 0.2 | holds |",
        "| opening <bare> | 0.50 | ≥ 0.9 times | **does not hold** |",
        "| lag | p99 1.0 s |  |  |",
    ]


def test_the_plot_is_an_image_with_a_bar_for_each_limit() -> None:
    root = ElementTree.fromstring(plot([HELD, BROKEN]))
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert texts == ["the limit", HELD.name, "75%", BROKEN.name, "180%"]


def test_the_machine_is_named_with_its_load() -> None:
    assert "processors" in machine()
    assert "load average" in machine()
