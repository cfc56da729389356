"""Many alike lines of a log."""

import logging

import pytest

from shared.log_lines import MOST_LINES, log_first


@pytest.mark.parametrize(("rows", "lines"), [(0, 0), (1, 1), (MOST_LINES, MOST_LINES), (10_000, MOST_LINES + 1)])
def test_the_first_are_logged_and_the_others_counted(rows: int, lines: int, caplog: pytest.LogCaptureFixture) -> None:
    log_first(logging.getLogger("graph_relay.test"), logging.ERROR, "row %d", [(number,) for number in range(rows)])
    assert len(caplog.records) == lines
    if rows > MOST_LINES:
        assert caplog.records[-1].getMessage().startswith(f"{rows - MOST_LINES} more of these")
