"""PhysioNet 2012, motion capture and the oscillators: times, values and what is missing."""

import made_files
import numpy as np
import pytest
from scipy.io import savemat

from tenfold.lab.data import DataError, mocap, oscillators, physionet2012

HR, WEIGHT = physionet2012.PARAMETERS.index("HR"), physionet2012.PARAMETERS.index("Weight")
PH = physionet2012.PARAMETERS.index("pH")
RECORDS = {
    "set-a/12.txt": made_files.stay(12, ["00:00,HR,70", "01:30,pH,7.4", "48:00,HR,90"], "81.5"),
    "set-a/11.txt": made_files.stay(11, ["00:10,HR,60", "00:10,HR,61", "00:50,HR,62"]),
    "set-a/13.txt": made_files.stay(13),
}
DEATHS = made_files.outcomes({11: 0, 12: 1, 13: 0})


@pytest.fixture
def lay(folder, monkeypatch):
    """`lay(records, deaths)` writes a set a."""
    monkeypatch.setattr(physionet2012, "STAYS", 3)

    def write(records=RECORDS, deaths=DEATHS, letter="a"):
        files = {f"set-{letter}.tar.gz": made_files.tar(records), f"Outcomes-{letter}.txt": deaths}
        made_files.lay(folder / "physionet2012", files)

    return write


def test_stays_are_padded_in_the_order_of_their_records(lay):
    lay()
    stays = physionet2012.load(["a"])
    assert stays.records.tolist() == [11, 12, 13]
    assert stays.died.tolist() == [False, True, False]
    assert stays.lengths.tolist() == [2, 3, 0]
    hours = [[10 / 60, 50 / 60, 50 / 60], [0, 1.5, 48], [0, 0, 0]]
    np.testing.assert_allclose(stays.times, np.array(hours, np.float32))
    assert stays.mask.sum() == 6
    assert stays.values[0, :2, HR].tolist() == [61, 62]
    assert stays.values[1, 1, PH] == np.float32(7.4)
    assert not stays.values[~stays.mask].any()


def test_a_missing_descriptor_is_nan_and_the_first_weight_is_both(lay):
    """-1 stands for missing in the files, and a missing weight is no measurement either."""
    lay()
    stays = physionet2012.load(["a"])
    assert stays.static[1, [0, 1, 3, 4]].tolist() == [54, 0, 4, 81.5]
    assert np.isnan(stays.static[:, 2]).all()
    assert np.isnan(stays.static[0, 4])
    assert stays.mask[:, 0, WEIGHT].tolist() == [False, True, False]
    assert stays.values[1, 0, WEIGHT] == 81.5


def test_two_sets_follow_one_another(lay):
    lay()
    later = {
        f"set-b/{i}.txt": made_files.stay(i, [f"0{i}:00,HR,{i}", "09:00,K,4"]) for i in (4, 5, 6)
    }
    lay(later, made_files.outcomes({4: 1, 5: 0, 6: 0}), "b")
    both = physionet2012.load()
    assert both.records.tolist() == [11, 12, 13, 4, 5, 6]
    assert both.died.tolist() == [False, True, False, True, False, False]
    assert both.values[:, 0, HR].tolist() == [61, 70, 0, 4, 5, 6]
    assert both.times[3:, 0].tolist() == [4, 5, 6]


def test_bins_keep_the_last_value_and_the_last_minute(lay):
    lay()
    hourly = physionet2012.binned(physionet2012.load(["a"]))
    assert hourly.values.shape == (3, 48, 37)
    assert hourly.mask.sum() == 5
    assert hourly.values[0, 0, HR] == 62
    assert hourly.values[1, 47, HR] == 90
    assert hourly.mask[1, 1, PH]
    assert physionet2012.binned(physionet2012.load(["a"]), bins=2).mask.sum() == 5


def test_parsed_stays_are_kept_by_content(lay, monkeypatch):
    lay()
    first = physionet2012.load(["a"])
    monkeypatch.setattr(physionet2012, "_stay", None)
    assert (physionet2012.load(["a"]).values == first.values).all()
    lay({**RECORDS, "set-a/13.txt": made_files.stay(13, ["00:00,HR,1"])})
    with pytest.raises(TypeError):
        physionet2012.load(["a"])


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"Time,Value", "expected 'Time,Parameter,Value'"),
        (b"", "expected 'Time,Parameter,Value'"),
        (made_files.stay(13, ["00:00,Mood,1"]), "the parameter 'Mood' is not"),
        (made_files.stay(13, ["49:00,HR,1"]), "'49:00' is outside the 48 hours"),
        (made_files.stay(13, ["00:00,HR,nan"]), "not finite"),
        (made_files.stay(13, ["00:00,HR"]), "not enough values"),
        (b"Time,Parameter,Value\n00:00,HR,1", "no RecordID"),
    ],
)
def test_a_stay_that_is_not_as_it_should_be_is_named(lay, body, says):
    lay({**RECORDS, "set-a/13.txt": body})
    with pytest.raises(DataError, match=rf"set-a/13\.txt: .*{says}"):
        physionet2012.load(["a"])


@pytest.mark.parametrize(
    ("deaths", "says"),
    [
        (made_files.outcomes({11: 0, 12: 1}), "2 outcomes, 1 stays without one, expected 3"),
        (made_files.outcomes({11: 0, 12: 1, 13: 2}), "line 4: .* is no outcome"),
        (b"RecordID,Survival\n11,1\n", "In-hospital_death"),
    ],
)
def test_outcomes_that_do_not_fit_are_refused(lay, deaths, says):
    lay(deaths=deaths)
    with pytest.raises(DataError, match=says):
        physionet2012.load(["a"])


def test_a_set_that_lacks_stays_is_refused(lay):
    lay({"set-a/11.txt": RECORDS["set-a/11.txt"]})
    with pytest.raises(DataError, match="holds 1 stays, expected 3"):
        physionet2012.load(["a"])


def series(**changed):
    """Variables of a mocap file, some of them changed."""
    names = {"Xtr": "train", "Xval": "val", "Xtest": "test"}
    return {n: np.full(mocap.SHAPES[s], len(n) / 2) for n, s in names.items()} | changed


def test_mocap_reads_each_split(folder):
    (folder / "mocap").mkdir()
    savemat(folder / "mocap" / "mocap35.mat", series())
    for split, shape in mocap.SHAPES.items():
        found = mocap.load(split)
        assert found.series.shape == shape
        assert found.series.dtype == np.float32
    assert (mocap.load("test").series == 2.5).all()


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"Xtr": np.zeros((16, 300, 49))}, r"float64\[16, 300, 49\], expected floats of shape"),
        ({"Xtr": np.full((16, 300, 50), np.nan)}, "not finite"),
        ({"Xtr": None}, "lacks the variable Xtr"),
    ],
)
def test_a_mocap_file_of_other_content_is_refused(folder, changed, says):
    (folder / "mocap").mkdir()
    kept = {k: v for k, v in series(**changed).items() if v is not None}
    savemat(folder / "mocap" / "mocap35.mat", kept)
    with pytest.raises(DataError, match=says):
        mocap.load()


def test_a_truncated_mocap_file_is_said(folder):
    (folder / "mocap").mkdir()
    path = folder / "mocap" / "mocap35.mat"
    savemat(path, series())
    path.write_bytes(path.read_bytes()[:4000])
    with pytest.raises(DataError, match=r"mocap35\.mat is truncated or corrupt"):
        mocap.load()


def test_oscillators_are_their_closed_form_plus_noise():
    """The noise's standard deviation, of 7,000 values or so, within 4 standard errors."""
    found = oscillators.load(100, 1, noise=0.1)
    residual = (found.values - found.exact(found.times))[found.mask]
    error = 0.1 / np.sqrt(2 * len(residual))
    assert abs(residual.std() - 0.1) < 4 * error
    assert abs(residual.mean()) < 4 * 0.1 / np.sqrt(len(residual))
    assert not found.values[~found.mask].any()
    assert abs(found.mask.mean() - 0.8) < 4 * np.sqrt(0.16 / found.mask.size)


def test_the_closed_form_solves_the_equation_and_is_consistent_with_its_velocity():
    found = oscillators.load(5, 2)
    t, h = np.linspace(0, 10, 30), 1e-4
    before, now, after = (found.exact(t + d) for d in (-h, 0, h))
    rate = (after - before) / (2 * h)
    g, w = found.decay[:, None], found.frequency[:, None]
    force = -2 * g * now[..., 1] - (g**2 + w**2) * now[..., 0]
    np.testing.assert_allclose(rate[..., 0], now[..., 1], atol=1e-6)
    np.testing.assert_allclose(rate[..., 1], force, atol=1e-6)


def test_oscillators_are_a_function_of_their_arguments():
    first, again, other = (oscillators.load(3, seed) for seed in (0, 0, 1))
    assert (first.values == again.values).all()
    assert (first.times != other.times).all()
    assert (np.diff(first.times) >= 0).all()
    assert (first.times[0] != first.times[1]).all()
    with pytest.raises(ValueError, match="seen=0"):
        oscillators.load(3, seen=0.0)
