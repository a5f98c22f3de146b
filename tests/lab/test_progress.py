"""A pipe gets plain lines, a terminal gets bars; both say how each unit ended."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from tenfold.lab.progress import Bars, Lines, for_console

UNIT = {"arm": "R_2", "seed": 1}
STORY = [
    {"event": "start", **UNIT},
    {"event": "progress", "step": 10, "steps": 40, **UNIT},
    {"event": "say", "line": "[bold]chunk 0x1f is damaged[/bold]", **UNIT},
    {"event": "done", "seconds": 1.25, **UNIT},
    {"event": "start", "arm": "none", "seed": 0},
    {"event": "failed", "error": "loss became non-finite", "arm": "none", "seed": 0},
    {"event": "start", "arm": "none", "seed": 1},
    {"event": "interrupted", "step": 7, "arm": "none", "seed": 1},
]
ENDS = [
    "R_2 seed 1: [bold]chunk 0x1f is damaged[/bold]",
    "R_2 seed 1: done in 1.2 s",
    "none seed 0: FAILED: loss became non-finite",
    "none seed 1: interrupted, kept at step 7",
]


def told(progress, stream):
    progress.open(Path("runs/taylor/small-1"), 4, 3)
    for event in STORY:
        progress.show(event)
    progress.close()
    return stream.getvalue()


def test_a_pipe_gets_plain_lines():
    """No escape codes, no markup read into what a study says, one line a thing."""
    stream = io.StringIO()
    progress = for_console(Console(file=stream))
    assert isinstance(progress, Lines)
    text = told(progress, stream)
    head = "runs/taylor/small-1: 4 units (arm x seed), 1 of them finished before"
    assert text.splitlines() == [head, *ENDS]
    assert "\x1b" not in text


def test_a_long_line_is_not_broken_in_a_pipe():
    stream = io.StringIO()
    Lines(Console(file=stream, width=40)).show(
        {"event": "failed", "error": "x" * 200, "arm": "a", "seed": 0}
    )
    assert stream.getvalue().count("\n") == 1


@pytest.mark.parametrize(("every", "lines"), [(0.0, 1), (1e6, 0)])
def test_a_long_training_gives_a_sign_of_life_now_and_then(every, lines):
    stream = io.StringIO()
    Lines(Console(file=stream), every).show(STORY[1])
    assert stream.getvalue().splitlines() == ["R_2 seed 1: step 10 of 40"] * lines


def test_a_terminal_gets_bars_and_the_same_ends():
    stream = io.StringIO()
    progress = for_console(Console(file=stream, force_terminal=True, width=120))
    assert isinstance(progress, Bars)
    text = told(progress, stream)
    assert all(end in text for end in ENDS)


def test_a_run_with_nothing_to_do_opens_no_bar():
    stream = io.StringIO()
    progress = for_console(Console(file=stream, force_terminal=True, width=120))
    progress.open(Path("r"), 4, 0)
    progress.close()
    assert stream.getvalue().count("\n") <= 2
