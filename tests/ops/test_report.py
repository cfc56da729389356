import json
import logging
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from io import StringIO

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console, Group

from ops.counters import Counted
from ops.queue_state import DeadLettersState, QueueState
from ops.report import PlainFormatter, Report, ReportTable, show, span, table
from ops.status import KeyState, Status, SweepState
from ops.subscription_state import SubscriptionState
from ops.time_argument import Moment, Span
from shared.graph.client import GraphRequestError
from shared.text import plain
from tests.builders import NOW, TENANT


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (None, None),
        (0, "0 s"),
        (119, "119 s"),
        (120, "2 min"),
        (7_200, "2 h"),
        (9_000, "2.5 h"),
        (172_800, "2 d"),
        (-300, "-5 min"),
    ],
)
def test_a_span_is_shown_in_the_unit_that_fits(seconds: float | None, shown: str | None) -> None:
    assert span(seconds) == shown


@given(st.text())
def test_no_text_can_do_anything_to_a_terminal(text: str) -> None:
    assert all(character.isprintable() or character == "\n" for character in plain(text))


HOSTILE = "\x1b]0;title\x07\x1b[2J\x9b31m\u202eAll is well.\nAll is well.\r\x00"
"""Sets the title, clears the screen, colours, reverses, and adds lines of its own."""


class Hostile(Report):
    words: str

    def shown(self) -> Iterable[str | ReportTable]:
        yield f"Attention: {self.words}"
        yield table(self.words, (self.words, "Name"), [(self.words, None)])


@pytest.mark.parametrize("as_json", [True, False])
def test_a_hostile_text_prints_nothing_but_its_letters(capsys: pytest.CaptureFixture[str], as_json: bool) -> None:
    show(Hostile(HOSTILE), as_json=as_json)
    printed = capsys.readouterr().out
    assert all(character.isprintable() or character in "\n\t" for character in printed)
    assert not any(shown.startswith("All is well") for shown in printed.splitlines())
    if as_json:
        assert json.loads(printed) == {"words": HOSTILE}


def test_a_log_line_on_a_terminal_is_plain() -> None:
    record = logging.LogRecord("x", logging.ERROR, "x", 1, "Graph says %s", (HOSTILE,), None)
    assert "\x1b" not in PlainFormatter("%(message)s").format(record)


def test_an_error_holds_the_words_of_others_on_one_plain_line() -> None:
    """Logs, dead letters and tables show them."""
    refusal = GraphRequestError(403, HOSTILE, HOSTILE)
    for text in (str(refusal), refusal.detail, refusal.message):
        assert text.isprintable()


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("2026-11-23", datetime(2026, 11, 23, tzinfo=UTC)),
        ("2026-11-23T10:00Z", datetime(2026, 11, 23, 10, tzinfo=UTC)),
        ("2026-11-23 10:00:30+02:00", datetime(2026, 11, 23, 8, 0, 30, tzinfo=UTC)),
    ],
)
def test_a_time_is_utc_unless_it_says_otherwise(typed: str, meant: datetime) -> None:
    assert Moment().convert(typed, None, None) == meant


@given(st.text())
def test_whatever_is_typed_is_a_time_or_wrong_usage(typed: str) -> None:
    with suppress(click.BadParameter):
        assert Moment().convert(typed, None, None).tzinfo is UTC


@pytest.mark.parametrize(("typed", "meant"), [("90s", 90), ("30m", 1_800), ("12h", 43_200), ("1w", 604_800)])
def test_a_span_has_a_unit(typed: str, meant: int) -> None:
    assert Span().convert(typed, None, None) == timedelta(seconds=meant)


@pytest.mark.parametrize("typed", ["", "12", "h", "1.5h", "-2d", "1y", "\u0661h"])
def test_anything_else_is_wrong_usage(typed: str) -> None:
    with pytest.raises(click.BadParameter):
        Span().convert(typed, None, None)


def test_the_status_of_a_small_system_fits_a_terminal_of_80_by_24() -> None:
    status = Status(
        at=NOW,
        subscriptions=[
            SubscriptionState(TENANT, f"/{name}/getAllMessages", "id", 259_200, 24) for name in ("teams", "chats")
        ],
        keys=[KeyState("enc-20261126-032333-582729-ac3d33ab", True, 894, 63_072_000, 2, None)],
        queue=QueueState(5, 77),
        dead_letters=DeadLettersState(0, {}, 0),
        sweeps=[SweepState(TENANT, f"/{name}/getAllMessages", NOW, False) for name in ("teams", "chats")],
        member_lists=[],
        lag_seconds=0.2,
        counted=Counted(858, {"client_state": 2}, {"destination": 90}, 0.2),
        waiting_for=[],
        attention=["the queue is not being processed: does process_queue run?"],
        unreachable=[],
    )
    console = Console(width=80, height=24, file=StringIO(), force_terminal=True)
    lines = console.render_lines(Group(*status.shown()), pad=False)
    assert len(lines) <= 24
    text = "\n".join("".join(segment.text for segment in line) for line in lines)
    assert text.startswith("Attention: the queue is not being processed")
    assert "5 queue messages; the oldest has waited 77 s" in text
    assert "enc-20261126-032333-582729-ac3d33ab" in text
