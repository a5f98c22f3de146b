"""Downloads from a local server: whole, checked and recorded, or an error and nothing left."""

import errno
import gzip
import json
import os
from pathlib import Path

import made_files
import pytest

from tenfold.lab import data
from tenfold.lab.data import _download, mnist
from tenfold.lab.data._files import File
from tenfold.lab.data._hashes import RECORD

IMAGES = "t10k-images-idx3-ubyte.gz"


@pytest.fixture
def served(server, tweak, monkeypatch):
    """The server, with an MNIST of three test digits whose hashes the catalogue knows."""
    files = made_files.mnist()
    published = made_files.publish("mnist", files)
    tweak("mnist", homes=(server.address,), files=tuple(f for f in published if f.name in files))
    monkeypatch.setitem(mnist.COUNTS, "test", 3)
    server.files = {f"/{name}": body for name, body in files.items()}
    return server


@pytest.fixture
def unhashed(server, tweak):
    """The server, with one file of which no hash is published."""
    tweak("physionet2012", homes=(server.address,), files=(File("o.txt", 999, b"RecordID,"),))
    server.files = {"/o.txt": b"RecordID,1"}
    return server


def left(cache: Path) -> list[str]:
    """Whatever is in the cache, hidden files included."""
    return sorted(str(p.relative_to(cache)) for p in cache.rglob("*") if p.is_file())


def test_load_downloads_once_and_then_reads_the_cache(served, cache):
    first = mnist.load("test")
    again = mnist.load("test")
    assert first.images.shape == (3, 28, 28)
    assert (first.images == again.images).all()
    assert len(served.asked) == 2
    assert left(cache) == [f"mnist/{IMAGES}", "mnist/t10k-labels-idx1-ubyte.gz"]


def test_fetch_takes_a_mirror_and_says_what_is_verified(served, tweak):
    tweak("mnist", homes=("http://127.0.0.1:9/",))
    found = data.fetch("mnist", home=served.address.rstrip("/"))
    assert [f.place for f in found] == ["cache", "cache"]
    assert {f.verified for f in found} == {"verified (published md5)"}


def test_the_gzip_wrapper_may_differ_but_not_the_content(served):
    content = gzip.decompress(served.files[f"/{IMAGES}"])
    served.files[f"/{IMAGES}"] = gzip.compress(content, 1)
    data.fetch("mnist")


def test_a_second_home_is_tried_where_the_first_fails(served, tweak):
    tweak("mnist", homes=(served.address + "gone/", served.address))
    assert len(data.fetch("mnist")) == 2


@pytest.mark.parametrize(
    ("body", "announce", "says"),
    [
        (None, 0, "HTTP 404"),
        (made_files.idx(made_files.np.zeros((3, 28, 28))), 0, "md5 is .*, expected"),
        (made_files.mnist()[IMAGES][:-30], 0, "truncated"),
        (made_files.mnist()[IMAGES][:-30], 30, "ended before the file did"),
        (b"<html>please log in</html>", 0, "not gzip"),
    ],
    ids=["404", "other content", "truncated", "cut connection", "error page"],
)
def test_a_bad_download_is_an_error_and_leaves_nothing(served, cache, body, announce, says):
    served.files[f"/{IMAGES}"] = body
    served.announce = announce
    with pytest.raises(data.DataError, match=says) as raised:
        data.fetch("mnist")
    assert "\n" not in str(raised.value)
    assert "set TENFOLD_DATA" in str(raised.value)
    assert left(cache) == []


def test_no_connection_is_said_in_a_line(tweak, cache, monkeypatch):
    monkeypatch.delenv("TENFOLD_OFFLINE")
    tweak("mnist", homes=("http://127.0.0.1:9/",))
    with pytest.raises(data.DataError, match="no connection"):
        data.fetch("mnist")
    assert left(cache) == []


def test_a_server_that_sends_without_end_is_cut_off(unhashed, cache):
    unhashed.files["/o.txt"] = b"RecordID," + bytes(1 << 21)
    with pytest.raises(data.DataError, match="sends more than the data can be"):
        data.fetch("physionet2012")
    assert left(cache) == []


def test_a_small_file_of_much_content_is_refused(unhashed, cache, tweak):
    tweak("physionet2012", files=(File("o.gz", 999),))
    unhashed.files["/o.gz"] = gzip.compress(bytes(1 << 20))
    with pytest.raises(data.DataError, match="more than the 999 bytes"):
        data.fetch("physionet2012")
    assert left(cache) == []


def test_a_hash_is_recorded_at_the_first_download(unhashed, cache):
    found = data.fetch("physionet2012")
    assert found[0].verified == "unverified (recorded at first download)"
    kept = json.loads((cache / RECORD).read_text())["physionet2012/o.txt"]
    assert kept["sha256"] == found[0].digest
    assert kept["url"] == f"{unhashed.address}o.txt"


def test_content_that_differs_from_the_record_is_an_error(unhashed, cache):
    data.fetch("physionet2012")
    file = cache / "physionet2012" / "o.txt"
    file.write_bytes(b"RecordID,2")
    with pytest.raises(data.DataError, match=r"recorded at the first download; delete it and run"):
        data.fetch("physionet2012")
    assert [c.ok for c in data.check(["physionet2012"])] == [False]
    file.unlink()
    unhashed.files["/o.txt"] = b"RecordID,3"
    with pytest.raises(data.DataError, match=r"if you trust the new content, delete"):
        data.fetch("physionet2012")
    assert left(cache) == [RECORD]


def test_a_page_that_is_not_the_file_is_never_recorded(unhashed, cache):
    unhashed.files["/o.txt"] = b"<html>"
    with pytest.raises(data.DataError, match="expected b'RecordID,'"):
        data.fetch("physionet2012")
    assert left(cache) == []


def test_a_damaged_record_is_not_taken_for_an_empty_one(unhashed, cache):
    made_files.lay(cache, {RECORD: b"{"})
    with pytest.raises(data.DataError, match="mend it, or delete it"):
        data.fetch("physionet2012")


def test_a_full_disk_is_said_and_leaves_nothing(served, cache, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(_download._Bounded, "write", full)
    with pytest.raises(
        data.DataError, match="No space left on device; make room, or set TENFOLD_C"
    ):
        data.fetch("mnist")
    assert left(cache) == []


def test_an_unwritable_cache_is_said(served, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("TENFOLD_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(data.DataError, match="cannot be written: Not a directory"):
        data.fetch("mnist")
