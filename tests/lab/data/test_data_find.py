"""Files are found in TENFOLD_DATA, then in the cache, then at their home; errors say what to do."""

import subprocess
import sys

import made_files
import pytest

from tenfold.lab import data
from tenfold.lab.data import mnist, mocap

HEAVY = ("jax", "numpy", "scipy", "sklearn", "pooch", "requests", "PIL")


def test_importing_the_rooms_imports_nothing_heavy():
    code = (
        "import sys, tenfold.lab.data as d; d.names(); "
        f"print([m for m in {HEAVY} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_each_name_is_a_module_with_a_docstring():
    for name in data.names():
        assert getattr(data, name).__doc__
    with pytest.raises(AttributeError, match="no attribute 'imagenet'"):
        _ = data.imagenet


def test_an_absent_file_is_one_line_that_says_both_ways(folder):
    with pytest.raises(data.DataError) as raised:
        mnist.load("test")
    text = str(raised.value)
    assert "\n" not in text
    assert f"TENFOLD_DATA={folder} lacks it" in text
    assert "set TENFOLD_DATA to a folder that holds mnist/train-images-idx3-ubyte.gz" in text
    assert "`tenfold data fetch mnist`" in text


def test_a_message_of_several_lines_becomes_one():
    assert str(data.DataError("a\n  b")) == "a b"


def test_a_set_without_an_official_home_says_so(server):
    """And doesn't offer a fetch that can't work."""
    with pytest.raises(data.DataError, match="no lasting official address") as raised:
        mocap.load()
    assert "fetch" not in str(raised.value)
    assert "mocap/mocap35.mat" in str(raised.value)


def test_offline_is_said_and_no_request_is_made(server, tweak, monkeypatch):
    tweak("mnist", homes=(server.address,))
    monkeypatch.setenv("TENFOLD_OFFLINE", "1")
    with pytest.raises(data.DataError, match="TENFOLD_OFFLINE forbids a download"):
        data.fetch("mnist")
    assert server.asked == []


def test_a_wrong_TENFOLD_DATA_is_an_error_at_once(monkeypatch, tmp_path):
    monkeypatch.setenv("TENFOLD_DATA", str(tmp_path / "typo"))
    for call in (mnist.load, data.rows, data.check):
        with pytest.raises(data.DataError, match="typo is not a folder"):
            call()


@pytest.mark.parametrize("damage", ["truncated", "corrupt", "swapped"])
def test_a_damaged_file_of_the_users_is_an_error_never_replaced(folder, server, tweak, damage):
    files = made_files.mnist()
    tweak("mnist", homes=(server.address,), files=made_files.publish("mnist", files))
    name = "t10k-images-idx3-ubyte.gz"
    good = files[name]
    labels = files["t10k-labels-idx1-ubyte.gz"]
    bad = {"truncated": good[:-20], "corrupt": good[:40] + b"\0" * 9 + good[49:], "swapped": labels}
    made_files.lay(folder / "mnist", {name: bad[damage]})
    server.files = {f"/{name}": good}
    with pytest.raises(data.DataError, match=rf"mine/mnist/{name} is .*; replace it") as raised:
        mnist.load("test")
    if damage == "swapped":
        assert "expected" in str(raised.value)
    assert server.asked == []


def test_the_users_folder_comes_before_the_cache(folder, cache, monkeypatch, tweak):
    monkeypatch.setitem(mnist.COUNTS, "test", 3)
    files = made_files.mnist()
    tweak("mnist", files=made_files.publish("mnist", files))
    made_files.lay(cache / "mnist", files)
    assert [row.found for row in data.rows() if row.name == "mnist"] == ["in part"]
    assert len(mnist.load("test").labels) == 3
    made_files.lay(folder / "mnist", dict.fromkeys(files, b"damaged"))
    with pytest.raises(data.DataError, match="mine/mnist"):
        mnist.load("test")


def test_rows_say_where_and_check_says_whether(folder, tweak):
    files = made_files.mnist() | made_files.mnist(prefix="train")
    tweak("mnist", files=made_files.publish("mnist", files))
    made_files.lay(folder / "mnist", files)
    made_files.lay(folder / "mocap", {"mocap35.mat": b"no MATLAB file"})
    rows = {row.name: row for row in data.rows()}
    assert rows["mnist"].found == rows["mocap"].found == "TENFOLD_DATA"
    assert rows["cifar10"].found == "absent"
    assert rows["digits"].found == "installed"
    assert rows["densities"].found == "made"
    assert rows["mnist"].verified == "by published hash"
    checks = data.check()
    assert [c.ok for c in checks if c.name == "mnist"] == [True] * 4
    assert [c.ok for c in checks if c.name == "mocap"] == [False]
    assert {c.ok for c in checks if c.name == "physionet2012"} == {None}
    assert data.check(["mocap"])[0].says.startswith(str(folder / "mocap"))


def test_a_misspelt_name_is_answered_with_the_nearest():
    with pytest.raises(data.DataError, match="did you mean mnist"):
        data.fetch("minst")
    with pytest.raises(data.DataError, match="no data set 'zzz'"):
        data.check(["zzz"])


def test_what_needs_no_file_is_fetched_as_nothing():
    assert data.fetch("digits") == data.fetch("densities") == []
