"""Options are read into dataclasses; what can't be read is one line that says what is wrong."""

import dataclasses
from pathlib import Path
from typing import Literal

import pytest

from tenfold.lab.parsing import UsageError, _first_sentence, read
from tenfold.lab.registry import UnknownName


@dataclasses.dataclass(frozen=True)
class Inner:
    out_dir: Path = Path("runs")
    """Where."""


@dataclasses.dataclass(frozen=True)
class Options:
    inner: Inner = Inner()
    steps: int = 3
    rate: float = 0.5
    kind: Literal["adam", "sgd"] = "adam"
    """Which."""
    pair: tuple[float, float] = (1.0, 2.0)
    many: tuple[float, ...] = ()
    seeds: int | None = None
    keep: bool = False


def options(*words):
    return read(Options, list(words), verb="run tiny")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("", Options()),
        ("--steps 7", Options(steps=7)),
        ("--steps=7 --rate 1e-3", Options(steps=7, rate=1e-3)),
        ("--rate -1", Options(rate=-1.0)),
        ("--kind sgd --keep", Options(kind="sgd", keep=True)),
        ("--no-keep", Options()),
        ("--pair 3 4 --many 1 2 3", Options(pair=(3.0, 4.0), many=(1.0, 2.0, 3.0))),
        ("--seeds 2", Options(seeds=2)),
        ("--out-dir a/b", Options(inner=Inner(Path("a/b")))),
        ("--out_dir a/b", Options(inner=Inner(Path("a/b")))),
    ],
)
def test_options_are_read(words, expected):
    """In every spelling; options of a nested dataclass have no prefix."""
    assert options(*words.split()) == expected


def test_what_is_not_given_is_that_of_the_default():
    default = Options(steps=9, inner=Inner(Path("x")))
    found = read(Options, ["--rate", "2"], verb="run", default=default)
    assert found == dataclasses.replace(default, rate=2.0)


@pytest.mark.parametrize(
    ("typed", "near"),
    [
        ("--step", "--steps"),
        ("--out-dirr", "--out-dir"),
        ("--sed", "--seeds"),
        ("--Kind", "--kind"),
    ],
)
def test_an_unknown_option_gets_the_nearest_one(typed, near):
    with pytest.raises(UnknownName) as error:
        options(typed, "1")
    assert str(error.value) == f"unknown option of run tiny {typed!r}; did you mean {near!r}?"


@pytest.mark.parametrize("words", ["--no-steps", "--no-kep", "--="])
def test_only_known_switches_can_be_negated(words):
    with pytest.raises((UnknownName, UsageError)):
        options(words)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("--steps x", "Error parsing --steps: invalid literal for int() with base 10: 'x'"),
        ("--steps 1.5", "Error parsing --steps: invalid literal for int() with base 10: '1.5'"),
        ("--steps", "Missing value for argument '--steps'. Expected 1 values."),
        ("--rate fast", "Error parsing --rate: could not convert string to float: 'fast'"),
        (
            "--kind rms",
            "invalid choice 'rms' for argument '--kind'. Expected one of ('adam', 'sgd').",
        ),
        ("--pair 1", "Missing value for argument '--pair'. Expected 2 values."),
        ("--many a", "Error parsing --many: Could not find valid parse for arguments: ['a']"),
        ("small", "Unrecognized options: small"),
        ("-x", "Unrecognized options: -x"),
        ("--steps=", "Error parsing --steps: invalid literal for int() with base 10: ''"),
    ],
)
def test_an_unusable_value_is_one_line_that_names_it(words, says, capsys):
    """Nothing else is printed, no frame and no hint at other words."""
    with pytest.raises(UsageError) as error:
        options(*words.split(" "))
    assert str(error.value) == f"run tiny: {says}"
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""


FRAMED = """
╭─ Value error ──────────────────────────────────────╮
│ Error parsing --steps: no number, and more words   │
│ than fit                                           │
│ ────────────────────────────────────────────────── │
│ For full helptext, see tenfold run --help          │
╰────────────────────────────────────────────────────╯
"""
PLAIN = """
 Value error                                         
 --------------------------------------------------- 
  Error parsing --steps: no number, and more words   
  than fit                                           
  -------------------------------------------------  
  For full helptext, see tenfold run --help          
"""


@pytest.mark.parametrize("box", [FRAMED.lstrip("\n"), PLAIN.lstrip("\n")])
def test_the_sentence_is_found_in_either_frame(box):
    """tyro draws one for terminals with UTF-8, one for all others."""
    assert _first_sentence(box) == "Error parsing --steps: no number, and more words than fit"


def test_silence_still_gives_a_sentence():
    assert _first_sentence("") == "the options can't be understood; try --help"


def test_help_is_printed_with_the_fields_and_their_docstrings(capsys):
    with pytest.raises(SystemExit) as stop:
        options("--help")
    assert not stop.value.code
    printed = capsys.readouterr().out
    for word in ("usage: tenfold run tiny", "--out-dir", "Where.", "--kind {adam,sgd}", "Which."):
        assert word in printed
