"""Logs a message for many subscriptions: the first lines, and the number of the others."""

import logging
from collections.abc import Sequence

MOST_LINES = 20
"""Ten thousand similar lines are no more useful."""


def log_first(log: logging.Logger, level: int, message: str, rows: Sequence[tuple[object, ...]]) -> None:
    """Log a message with each of the first rows of arguments, and the number of the others."""
    for row in rows[:MOST_LINES]:
        log.log(level, message, *row)
    if len(rows) > MOST_LINES:
        log.log(level, "%d more of these in this run; `python -m ops status` shows them", len(rows) - MOST_LINES)
