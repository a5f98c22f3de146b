import io
import math

import pytest
from fake_runs import claim, judged, units, write_run
from rich.console import Console

from tenfold.lab import report


def printed(records, width=80, encoding="utf-8"):
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    report.print_claims(records, Console(file=stream, width=width))
    stream.flush()
    return stream.buffer.getvalue().decode(encoding)


def squeezed(text):
    return " ".join(text.split())


def test_the_table_fits_80_columns_without_colour(tmp_path):
    text = printed([report.read_run(write_run(tmp_path))])
    assert "\x1b" not in text
    assert max(len(line) for line in text.splitlines()) <= 80
    for word in ("taylor/nfe", "taylor/loss", "taylor/exact", "taylor/cost"):
        assert word in text
    for word in ("0.463 x none", "[0.382, 0.543]", "needs < 0.67 x none", "0.519 x none"):
        assert word in text
    assert "2 hold, 1 fails, 1 is unclear" in text


def test_a_remark_on_scale_stands_once_below_the_table(tmp_path):
    """Equal remarks share a sign, in all runs; a second one gets the next."""
    remarks = ("8x8 digits", "8x8 digits", "a toy", "")
    claims = [
        judged(claim(f"taylor/{i}", scale=scale), [4.0, 5.0, 6.0], [8.0, 10.0, 12.0])
        for i, scale in enumerate(remarks)
    ]
    first, second = (write_run(tmp_path, hash=name, claims=claims) for name in ("a", "b"))
    text = printed([report.read_run(first), report.read_run(second)])
    assert text.count("different scale: 8x8 digits") == 1
    for said in ("taylor/0 (a)", "taylor/1 (a)", "taylor/2 (b)", "taylor/3 "):
        assert text.count(said) == 2, said


def test_without_numbers_of_the_paper_there_is_no_column_for_them_but_a_note(tmp_path):
    text = printed([report.read_run(write_run(tmp_path))])
    assert " paper " in text
    assert "No number of the paper" not in text
    some = judged(claim(), [41.0, 44.0, 38.0], [92.0, 88.0, 86.0])
    text = printed([report.read_run(write_run(tmp_path, hash="ff", claims=[some]))])
    assert " paper  " not in text
    assert "No number of the paper is shown" in text


def test_a_stream_that_is_not_utf8_gets_what_it_can_show(tmp_path):
    wide = judged(claim(says="μ ≤ 0.1"), [1.0, 1.0, 1.0], [2.0, 2.0, 2.0])
    text = printed([report.read_run(write_run(tmp_path, claims=[wide]))], encoding="ascii")
    assert "taylor/nfe" in text


def test_markup_and_escape_sequences_are_shown_and_not_obeyed(tmp_path):
    nasty = judged(claim(says="[red]x[/red] \x1b[31mred"), [1.0] * 3, [2.0] * 3)
    text = printed([report.read_run(write_run(tmp_path, claims=[nasty]))])
    assert "[red]x[/red]" in text
    assert "\x1b" not in text


def test_what_is_unfinished_is_named(tmp_path):
    some = units()
    some["none-1"] |= {"state": "failed", "error": "loss is not finite"}
    path = write_run(tmp_path, status={"state": "failed", "units": some})
    text = squeezed(printed([report.read_run(path)]))
    assert "taylor small: The run has failed: 8 of 9 units are finished." in text
    assert "Failed: none, seed 1 (loss is not finite)." in text


def test_sabotaged_runs_are_not_counted_but_checked(tmp_path):
    plain = report.read_run(write_run(tmp_path))
    fails = judged(claim(), [90.0, 91.0, 92.0], [90.0, 92.0, 91.0])
    other = judged(claim("taylor/exact", sabotage="wrong-coefficient"), [1.0] * 3, [2.0] * 3)
    path = write_run(tmp_path, hash="ff", config={"sabotage": "penalty-off"}, claims=[fails, other])
    text = squeezed(printed([plain, report.read_run(path)]))
    assert "2 hold, 1 fails, 1 is unclear, negative controls: 1 of 1 failed as they must" in text


@pytest.mark.parametrize(
    ("changes", "values", "against", "value", "interval", "needs"),
    [
        ({}, [4, 5, 6], [8, 10, 12], "0.5 x none", "[0.5, 0.5]", "needs < 0.67 x none"),
        ({}, [4.0], [8.0], "0.5 x none", "no interval (1 seed)", "needs < 0.67 x none"),
        ({}, [math.nan] * 3, [8.0] * 3, "not measured", "no interval (3 seeds)", "needs < 0.67"),
        (
            {"compare": "difference", "tolerance": -0.5, "direction": "higher"},
            [1, 2, 3],
            [2, 2, 2],
            "0.0 vs none",
            "[-2.5, +2.5]",
            "needs > -0.5",
        ),
        (
            {"compare": "difference", "against": 10.0, "direction": "near", "tolerance": 1.0},
            [10, 11, 12],
            10.0,
            "11.0",
            "[8.5, 13.5]",
            "needs 9 to 11",
        ),
        (
            {"compare": "difference", "against": 0.0, "direction": "near", "tolerance": 0.02},
            [0.01, 0.02, 0.03],
            0.0,
            "0.020",
            "[-0.005, 0.045]",
            "needs +-0.02",
        ),
        (  # rounded as the other end is, it would be 0.0
            {"compare": "difference", "tolerance": 0.0},
            [1.515, 2.515, 3.515],
            [5, 5, 5],
            "-2.5 vs none",
            "[-5.0, -0.001]",
            "needs < 0",
        ),
        (  # ... and here what it must exceed
            {"compare": "difference", "tolerance": 0.1, "direction": "higher"},
            [6.585, 7.585, 8.585],
            [5, 5, 5],
            "+2.6 vs none",
            "[+0.101, +5.1]",
            "needs > +0.1",
        ),
    ],
)
def test_a_measurement_is_said_beside_what_it_needs(
    tmp_path, changes, values, against, value, interval, needs
):
    there = [float(one) for one in against] if isinstance(against, list) else against
    record = judged(claim(**changes), [float(one) for one in values], there)
    text = squeezed(printed([report.read_run(write_run(tmp_path, claims=[record]))], width=200))
    for said in (value, interval, needs):
        assert said in text
