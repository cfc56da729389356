"""The table of all resource kinds in the documentation is generated from the app's own tables."""

from shared.resources.catalog import KINDS, LATENCY, RICH
from tools import resource_page


def test_the_table_in_the_documentation_is_that_of_the_code() -> None:
    assert resource_page.section() in resource_page.PAGE.read_text("utf-8"), "python -m tools.resource_page"


def test_every_kind_that_an_application_can_watch_has_a_row() -> None:
    table = resource_page.section()
    for kind in KINDS:
        for path in kind.paths:
            assert (f"`/{path.replace('{}', '{id}')}`" in table) is (bool(kind.subscribe) and not kind.beta), path


def test_the_tables_name_kinds_that_there_are() -> None:
    assert {*LATENCY, *RICH} <= {kind.name for kind in KINDS}
