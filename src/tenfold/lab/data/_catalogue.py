"""The data sets that tenfold knows, and where each of them is on this machine."""

import difflib
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from tenfold.lab.data._files import DataError, DataSet, Digest, File, Source, data_folder
from tenfold.lab.data._find import Found, examine, in_folder, locate, where

MB = 1 << 20


def _idx(name: str, kind: bytes, md5: str) -> File:
    return File(name, 64 * MB, b"\0\0\x08" + kind, Digest("md5", md5))


def _text(name: str, sha256: str) -> File:
    return File(name, 64 * MB, published=Digest("sha256", sha256))


_TU = ("https://www.chrsmrrs.com/graphkerneldatasets/",)
"""The TU Dortmund collection of graphs."""

_SETS = (
    DataSet(
        "digits", "1,797 handwritten digits of 8 x 8 pixels, embedded in scikit-learn", "embedded"
    ),
    DataSet(
        "mnist",
        "70,000 handwritten digits of 28 x 28 pixels",
        "download",
        files=(
            _idx("train-images-idx3-ubyte.gz", b"\x03", "6bbc9ace898e44ae57da46a324031adb"),
            _idx("train-labels-idx1-ubyte.gz", b"\x01", "a25bea736e30d166cdddb491f175f624"),
            _idx("t10k-images-idx3-ubyte.gz", b"\x03", "2646ac647ad5339dbf082846283269ea"),
            _idx("t10k-labels-idx1-ubyte.gz", b"\x01", "27ae3e4e09519cfbb04c329615203637"),
        ),
        homes=(
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "http://yann.lecun.com/exdb/mnist/",
        ),
    ),
    DataSet(
        "cifar10",
        "60,000 colour photographs of 32 x 32 pixels in ten classes",
        "download",
        files=(
            File(
                "cifar-10-binary.tar.gz",
                256 * MB,
                published=Digest("md5", "c32a1d4ab5d03f1284b67883e8d87530", of="file"),
            ),
        ),
        homes=("https://www.cs.toronto.edu/~kriz/",),
        instead=(File("train.zip", 256 * MB, b"PK"), File("test.zip", 64 * MB, b"PK")),
    ),
    DataSet(
        "breast_cancer",
        "569 cell nuclei in 30 measures, embedded in scikit-learn",
        "embedded",
    ),
    DataSet(
        "miniboone",
        "MINIBOONE: 36,488 electron neutrinos in 43 measures",
        "download",
        files=(File("MiniBooNE_PID.txt", 128 * MB),),
        homes=("https://archive.ics.uci.edu/ml/machine-learning-databases/00199/",),
        instead=(File("data.npy", 64 * MB, b"\x93NUMPY"),),
    ),
    DataSet(
        "mocap",
        "CMU motion capture, subject 35 walking: 23 series of 300 frames in 50 dimensions",
        "folder",
        files=(File("mocap35.mat", 16 * MB, b"MATLAB 5.0"),),
    ),
    DataSet(
        "physionet2012",
        "PhysioNet/CinC Challenge 2012: 8,000 stays in intensive care, 48 hours each",
        "download",
        files=(
            File("set-a.tar.gz", 128 * MB),
            File("set-b.tar.gz", 128 * MB),
            File("Outcomes-a.txt", MB, b"RecordID,"),
            File("Outcomes-b.txt", MB, b"RecordID,"),
        ),
        homes=("https://physionet.org/files/challenge-2012/1.0.0/",),
    ),
    DataSet("densities", "two moons, pinwheel, checkerboard and other 2-D toys", "made"),
    DataSet("oscillators", "damped oscillators seen at irregular times, solved exactly", "made"),
    DataSet("walks", "noisy limit cycles in 50 channels, in the shape of the mocap set", "made"),
    DataSet("lorenz", "paths of the stochastic Lorenz system, seen with noise", "made"),
    DataSet("grids", "grid graphs of 10 to 19 nodes a side", "made"),
    DataSet(
        "lobsters", "random lobsters, trees that are nearly a path, of 10 to 100 nodes", "made"
    ),
    DataSet(
        "firstmm_db",
        "FIRSTMM_DB: 41 point clouds of household objects as graphs of up to 5,037 nodes",
        "download",
        files=(File("FIRSTMM_DB.zip", 64 * MB, b"PK"),),
        homes=_TU,
        instead=(
            _text(
                "FIRSTMM_DB_A.txt.gz",
                "fe2ce9e1db32c6ac5c836345bec0e73fbebf1d227e5d3141dc8a5d35969e2202",
            ),
            _text(
                "FIRSTMM_DB_graph_indicator.txt.gz",
                "e2684b0e45c9333876e9d0d71a979143717a39e690d368efee85b61a668122d1",
            ),
            _text(
                "FIRSTMM_DB_graph_labels.txt",
                "1bd43693b7b2a476f5604a1270dc3a72e2b2e99b935d32b309e00d1d4485f34c",
            ),
        ),
    ),
    DataSet(
        "dd",
        "DD: 1,178 proteins as graphs of their amino acids",
        "download",
        files=(File("DD.zip", 64 * MB, b"PK"),),
        homes=_TU,
    ),
    DataSet(
        "proteins",
        "PROTEINS: 1,113 proteins as graphs of their secondary structure",
        "download",
        files=(File("PROTEINS.zip", 64 * MB, b"PK"),),
        homes=_TU,
    ),
)
CATALOGUE: dict[str, DataSet] = {entry.name: entry for entry in _SETS}


@dataclass(frozen=True)
class Row:
    """One line of `tenfold data list`."""

    name: str
    says: str
    source: Source
    found: Literal["made", "installed", "TENFOLD_DATA", "cache", "in part", "absent"]
    verified: str
    """What its integrity rests on; `check` is what verifies it."""


@dataclass(frozen=True)
class FileCheck:
    """One line of `tenfold data check`."""

    name: str
    file: str
    path: Path | None
    """None where the file is absent."""
    ok: bool | None
    """None where the file is absent."""
    says: str


def names() -> tuple[str, ...]:
    """The data sets by name; each is a module of `tenfold.lab.data`."""
    return tuple(CATALOGUE)


def entry(name: str) -> DataSet:
    """The data set of this name; DataError with the nearest names if there is none."""
    if name in CATALOGUE:
        return CATALOGUE[name]
    near = difflib.get_close_matches(name, CATALOGUE) or list(CATALOGUE)
    raise DataError(f"no data set {name!r}: did you mean {' or '.join(near)}?")


def file(name: str, file_name: str) -> tuple[DataSet, File]:
    """A data set and one of its files."""
    found = entry(name)
    return found, next(f for f in found.files + found.instead if f.name == file_name)


def present(dataset: DataSet) -> tuple[File, ...]:
    """The files by which a data set is judged: its own, or what the user's folder has instead."""
    here = [in_folder(dataset, each) for each in dataset.instead]
    own = [in_folder(dataset, each) for each in dataset.files]
    return dataset.instead if any(here) and not all(own) else dataset.files


def _found(dataset: DataSet):
    if dataset.source == "made":
        return "made"
    if dataset.source == "embedded":
        return "installed" if importlib.util.find_spec("sklearn") else "absent"
    places = [where(dataset, each) for each in present(dataset)]
    known = [place[0] for place in places if place]
    if len(known) < len(places):
        return "in part" if known else "absent"
    return "cache" if "cache" in known else "TENFOLD_DATA"


def _basis(dataset: DataSet) -> str:
    files = present(dataset)
    if not files:
        return "needs none"
    if all(each.published for each in files):
        return "by published hash"
    brought = dataset.homes and _found(dataset) != "TENFOLD_DATA"
    return f"unverified ({'recorded at first download' if brought else 'no published hash'})"


def rows() -> list[Row]:
    """What there is and where, for `tenfold data list`; reads no data, so it is quick."""
    return [Row(d.name, d.says, d.source, _found(d), _basis(d)) for d in CATALOGUE.values()]


def fetch(name: str, *, home: str | None = None) -> list[Found]:
    """Makes sure that data set `name` is on this machine, downloading what is not.

    `home` is the address of a mirror to use instead of the official one. Returns the files, none
    for a data set that is made or embedded. Raises DataError.
    """
    dataset = entry(name)
    if home:
        dataset = replace(dataset, homes=(home.rstrip("/") + "/",))
    return [locate(dataset, each) for each in present(dataset)]


def _check(dataset: DataSet, each: File) -> FileCheck:
    here = where(dataset, each)
    if here is None:
        return FileCheck(dataset.name, each.name, None, None, "absent")
    try:
        found = examine(dataset, each, *here)
    except DataError as error:
        return FileCheck(dataset.name, each.name, here[1], False, str(error))
    return FileCheck(dataset.name, each.name, found.path, True, found.verified)


def check(chosen: Sequence[str] = ()) -> list[FileCheck]:
    """Reads and verifies the files of the `chosen` data sets (all, if none), a line a file."""
    data_folder()  # a wrong TENFOLD_DATA is one error, not one a file
    sets = [entry(name) for name in chosen or names()]
    return [_check(dataset, each) for dataset in sets for each in present(dataset)]
