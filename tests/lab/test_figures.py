import csv
import subprocess
import sys

import jax.numpy as jnp
import matplotlib
import numpy as np
import pytest

from tenfold.lab import figures


def drawn():
    with figures.style():
        figure = figures.new(ncols=2)
        figure.axes[0].plot([1.0, 2.0], label="line")
        figure.axes[0].legend()
        figure.axes[1].bar(["a", "b"], [1, 2])
    return figure


def test_the_same_figure_gives_the_same_bytes_without_a_date(tmp_path):
    for name in ("one", "two"):
        figures.save(drawn(), {"x": [1, 2]}, name, tmp_path)
    one = (tmp_path / "one.svg").read_text()
    assert one == (tmp_path / "two.svg").read_text()
    assert "dc:date" not in one
    assert ">line</text>" in one, "text stays text"


def test_columns_of_unequal_length_keep_every_bit(tmp_path):
    numbers = {"x": np.array([0.1, 1 / 3]), "y": jnp.arange(3), "z": 2.5, "arm, name": ["a"]}
    figures.save(drawn(), numbers, "figure", tmp_path)
    with open(tmp_path / "figure.csv", newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["x", "y", "z", "arm, name"]
    assert rows == [["0.1", "0", "2.5", "a"], [repr(1 / 3), "1", "", ""], ["", "2", "", ""]]


def test_a_two_dimensional_column_is_refused_and_nothing_is_written(tmp_path):
    with pytest.raises(ValueError, match=r"'x' has shape \(2, 2\)"):
        figures.save(drawn(), {"x": np.eye(2)}, "figure", tmp_path)
    assert not list(tmp_path.iterdir())


def test_axes_come_row_by_row_and_panels_set_the_size():
    figure = figures.new(2.0, 1.0, nrows=2, ncols=3, sharex=True)
    assert len(figure.axes) == 6
    assert tuple(figure.get_size_inches()) == (6.0, 2.0)


def test_the_users_settings_are_left_alone():
    with matplotlib.rc_context({"font.size": 31.0}):
        drawn()
        assert matplotlib.rcParams["font.size"] == 31.0


def test_lines_differ_by_dashes_and_not_by_colour_alone():
    with figures.style():
        axes = figures.new().axes[0]
        lines = [axes.plot([0, index])[0] for index in range(len(figures.PALETTE))]
    assert len({line.get_color() for line in lines}) == len(lines)
    assert len({str(line._dash_pattern) for line in lines}) == len(lines)


def test_drawing_touches_neither_pyplot_nor_jax(tmp_path):
    program = (
        "import sys; from pathlib import Path; from tenfold.lab import figures;"
        "assert 'matplotlib' not in sys.modules;"
        "figures.save(figures.new(), {}, 'x', Path(sys.argv[1]));"
        "assert not {'matplotlib.pyplot', 'jax'} & set(sys.modules)"
    )
    command = [sys.executable, "-W", "error", "-c", program, str(tmp_path)]
    subprocess.run(command, check=True)
