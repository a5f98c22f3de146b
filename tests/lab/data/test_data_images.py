"""digits, MNIST and CIFAR-10: what the files say, or an error that names what is wrong."""

import gzip
import struct

import made_files
import numpy as np
import pytest

from tenfold.lab.data import DataError, cifar10, digits, mnist
from tenfold.lab.data._files import File

ROW = 1 + 3 * 32 * 32


def test_digits_are_split_by_the_seed_alone():
    train, test = digits.load("train", seed=3), digits.load("test", seed=3)
    assert train.images.shape == (1437, 64)
    assert test.images.shape == (360, 64)
    assert train.images.dtype == np.float32
    assert train.labels.dtype == np.int32
    assert train.images.min() == 0
    assert train.images.max() == 1
    again, other = digits.load("test", seed=3), digits.load("test", seed=4)
    assert (again.images == test.images).all()
    assert (other.labels != test.labels).any()


def test_digits_splits_share_nothing_and_leave_nothing_out():
    from sklearn.datasets import load_digits

    both = np.concatenate([digits.load(s, seed=1).images for s in ("train", "test")])
    source = load_digits().data.astype(np.float32) / 16
    assert (np.sort(both.view("V256").ravel()) == np.sort(source.view("V256").ravel())).all()


@pytest.mark.parametrize("room", [digits, mnist, cifar10])
def test_another_split_is_refused(room):
    """By `load`, or by the type checker that the tests run under."""
    with pytest.raises(Exception, match=r"(?s)split.*'valid'"):
        room.load("valid")


def test_mnist_reads_what_was_written(folder, tweak, monkeypatch):
    files = made_files.mnist()
    tweak("mnist", files=made_files.publish("mnist", files))
    monkeypatch.setitem(mnist.COUNTS, "test", 3)
    made_files.lay(folder / "mnist", files)
    found = mnist.load("test")
    assert (found.images.ravel() == np.arange(3 * 784) % 256).all()
    assert found.labels.tolist() == [0, 1, 2]
    assert found.scaled().max() == 1
    assert found.scaled(np.array([2])).shape == (1, 28, 28)


HEADER = struct.pack(">HBBI", 0, 8, 1, 3)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (HEADER[:5], "is truncated: 5 bytes, its header alone has 8"),
        (b"\0\0\x0d\x01" + HEADER[4:] + b"abc", "magic 00000d01, expected 00000801"),
        (struct.pack(">HBBI", 0, 8, 1, 4) + b"abcd", r"shape \(4,\), expected \(3,\)"),
        (HEADER + b"ab", "2 bytes of pixels or labels, expected 3"),
        (HEADER + b"abcd", "4 bytes of pixels or labels, expected 3"),
    ],
)
def test_an_idx_file_that_is_not_as_it_says_is_refused(tmp_path, content, says):
    path = tmp_path / "labels.gz"
    path.write_bytes(gzip.compress(content))
    with pytest.raises(DataError, match=says) as raised:
        mnist.read_idx(path, File("labels.gz", 1000), (3,))
    assert str(path) in str(raised.value)


def binary(rows=2, batches=6):
    """A tar of the official binary form; every pixel of row i of batch b is 10 b + i."""
    names = [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"][:batches]
    table = {
        f"cifar-10-batches-bin/{name}": b"".join(
            bytes([i]) + bytes([10 * b + i]) * 1024 + bytes(2048) for i in range(rows)
        )
        for b, name in enumerate(names)
    }
    return made_files.tar({"cifar-10-batches-bin/readme.html": b"", **table})


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setitem(cifar10.COUNTS, "train", 10)
    monkeypatch.setitem(cifar10.COUNTS, "test", 2)


@pytest.fixture
def tarred(folder, tweak, small):
    """`tarred(data)` makes `data` the published binary form."""

    def lay(data):
        files = {"cifar-10-binary.tar.gz": data}
        tweak("cifar10", files=made_files.publish("cifar10", files))
        made_files.lay(folder / "cifar10", files)

    return lay


def test_cifar10_reads_the_official_binary_form(tarred, folder):
    tarred(binary())
    (folder / "cifar10" / "test.zip").write_bytes(b"not looked at")
    train, test = cifar10.load("train"), cifar10.load("test")
    assert train.source == "binary"
    assert train.images[:, 0, 0, 0].tolist() == [0, 1, 10, 11, 20, 21, 30, 31, 40, 41]
    assert (train.images[:, 1:] == 0).all()
    assert test.images[:, 0, 31, 31].tolist() == [50, 51]
    assert test.labels.tolist() == [0, 1]
    assert test.scaled(slice(1)).shape == (1, 3, 32, 32)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (binary(batches=5), "lacks test_batch.bin"),
        (binary(rows=1), f"has {ROW} bytes, expected {2 * ROW}"),
        (made_files.tar({"test_batch.bin": b"\x0a" * ROW * 2}), "labels go to 10"),
        (made_files.tar({"../test_batch.bin": b""}), "points out of the archive"),
    ],
)
def test_a_cifar10_tar_that_is_not_as_it_should_be_is_refused(tarred, data, says):
    tarred(data)
    with pytest.raises(DataError, match=says):
        cifar10.load("test")


def test_the_pickled_form_is_refused(folder):
    made_files.lay(folder / "cifar10", {"cifar-10-python.tar.gz": b""})
    with pytest.raises(DataError, match="a pickle runs whatever it says"):
        cifar10.load()


def test_cifar10_decodes_the_jpeg_form_once_and_mixes_its_classes(folder, monkeypatch, cache):
    names = {f"{kind}/{i:04}.jpg": 20 * k for k, kind in enumerate(cifar10.CLASSES) for i in (0, 1)}
    members = {name: made_files.jpeg(value) for name, value in names.items()}
    made_files.lay(folder / "cifar10", {"test.zip": made_files.zipped(members)})
    monkeypatch.setitem(cifar10.COUNTS, "test", 20)
    first = cifar10.load("test")
    assert first.source == "jpeg"
    assert first.labels.tolist() != sorted(first.labels.tolist())
    assert sorted(first.labels.tolist()) == [k // 2 for k in range(20)]
    assert (np.abs(first.images.mean((1, 2, 3)) - 20 * first.labels) < 2).all()
    monkeypatch.setattr(cifar10, "_jpegs", None)
    assert (cifar10.load("test").images == first.images).all()


def test_a_damaged_or_unwritable_decoded_copy_costs_only_time(folder, small, cache, tmp_path):
    members = {f"frog/{i:04}.jpg": made_files.jpeg(7) for i in range(2)}
    made_files.lay(folder / "cifar10", {"test.zip": made_files.zipped(members)})
    cifar10.load("test")
    (copy,) = (cache / "decoded").iterdir()
    copy.write_bytes(b"PK damaged")
    assert cifar10.load("test").labels.tolist() == [6, 6]
    copy.unlink()
    (cache / "decoded").rmdir()
    (cache / "decoded").touch()
    assert cifar10.load("test").labels.tolist() == [6, 6]


@pytest.mark.parametrize(
    ("members", "says"),
    [
        ({"frog/0.jpg": made_files.jpeg(1)}, "holds 1 images, expected 2"),
        ({"toad/0.jpg": made_files.jpeg(1)}, "in none of the ten classes"),
        ({"frog/0.jpg": made_files.jpeg(1, (64, 64))}, r"is of \(64, 64\) pixels"),
        ({"frog/0.jpg": b"GIF89a"}, "no whole JPEG"),
        ({"frog/0.jpg": made_files.jpeg(1)[:300]}, "no whole JPEG"),
        ({"../frog/0.jpg": b""}, "points out of the archive"),
    ],
)
def test_a_cifar10_zip_that_is_not_as_it_should_be_is_refused(folder, small, members, says):
    made_files.lay(folder / "cifar10", {"test.zip": made_files.zipped(members)})
    with pytest.raises(DataError, match=says):
        cifar10.load("test")
