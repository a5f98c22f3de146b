"""Tables: rows split and standardised, the choice of events, and what is refused."""

import made_files
import numpy as np
import pytest

from tenfold.lab.data import DataError, breast_cancer, miniboone


def lay_events(folder, signal):
    """UCI's form: counts, then signal events, then background, which must not be read."""
    background = np.full((4, signal.shape[1]), 7.0)
    rows = [" ".join(f"{v:.6e}" for v in row) for row in np.concatenate([signal, background])]
    text = "\n".join([f" {len(signal)} 4", *rows]) + "\n"
    made_files.lay(folder / "miniboone", {"MiniBooNE_PID.txt": text.encode()})


@pytest.fixture
def events(monkeypatch):
    """100 events, 2 of them outliers; of 5 columns one repeats its least value 6 times."""
    monkeypatch.setattr(miniboone, "SHAPE", (98, 4))
    rows = np.random.default_rng(0).normal(size=(100, 5))
    rows[[3, 50], 0] = -999.0
    rows[10:16, 2] = -5.0
    rows[20:25, 3] = -5.0
    return rows


def test_miniboone_keeps_the_right_events_and_columns(folder, events):
    lay_events(folder, events)
    parts = [miniboone.load(split).values for split in ("train", "val", "test")]
    assert [len(part) for part in parts] == [81, 8, 9]
    kept = np.delete(np.delete(events, [3, 50], axis=0), 2, axis=1)
    mean, scale = kept[:89].mean(0), kept[:89].std(0)
    assert np.allclose(np.concatenate(parts), (kept - mean) / scale, atol=1e-4)


def test_prepared_rows_are_read_as_they_are(folder, events):
    lay_events(folder, events)
    from_text = miniboone.load("test").values
    (folder / "miniboone" / "MiniBooNE_PID.txt").unlink()
    kept = np.delete(np.delete(events, [3, 50], axis=0), 2, axis=1)
    np.save(folder / "miniboone" / "data.npy", kept)
    assert np.allclose(miniboone.load("test").values, from_text, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("MiniBooNE_PID.txt", b"<html>no such page</html>", "not UCI's table"),
        ("MiniBooNE_PID.txt", b"2 1\n1 2 3\n4 5\n", "not UCI's table"),
        ("MiniBooNE_PID.txt", b"2 1\n1 2 3\n4 5 6\n", "expected"),
        ("data.npy", b"\x93NUMPY\x01", "no array that NumPy can read"),
    ],
)
def test_a_damaged_file_is_one_line(folder, name, content, says):
    made_files.lay(folder / "miniboone", {name: content})
    with pytest.raises(DataError, match=says):
        miniboone.load()


def test_breast_cancer_is_standardised_and_split_by_the_seed():
    train, val, test = (breast_cancer.load(s, seed=1).values for s in ("train", "val", "test"))
    assert [part.shape for part in (train, val, test)] == [(462, 30), (51, 30), (56, 30)]
    both = np.concatenate([train, val])
    assert np.allclose(both.mean(0), 0, atol=1e-4)
    assert np.allclose(both.std(0), 1, atol=1e-4)
    assert not np.array_equal(test, breast_cancer.load("test", seed=2).values)
