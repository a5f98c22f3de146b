"""Archives are read in memory; one that points outside itself is refused whole."""

import io
import tarfile

import made_files
import pytest

from tenfold.lab.data import DataError
from tenfold.lab.data._archives import tar_members, zip_members

READERS = {"tar.gz": (made_files.tar, tar_members), "zip": (made_files.zipped, zip_members)}


@pytest.fixture(params=READERS)
def archive(request, tmp_path):
    """`archive(members, most)` writes an archive and reads it back."""
    make, read = READERS[request.param]
    path = tmp_path / f"made.{request.param}"

    def roundtrip(members, most=100, spoil=lambda data: data):
        path.write_bytes(spoil(make(members)))
        return dict(read(path, most=most))

    return roundtrip


def test_members_come_back_as_they_were(archive):
    members = {"a/1": b"one", "a/..b": b"two"}
    assert archive(members) == members


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/etc/evil", "C:\\evil", "a\\..\\b"])
def test_a_member_that_points_outside_is_refused(archive, name, tmp_path):
    with pytest.raises(DataError, match="points out of the archive"):
        archive({"good": b"", name: b"evil"})
    assert len(list(tmp_path.iterdir())) == 1


def test_a_member_too_large_is_refused(archive):
    with pytest.raises(DataError, match="has 101 bytes, at most 100 expected"):
        archive({"a": bytes(101)})


def test_a_damaged_archive_is_said_by_name(archive):
    with pytest.raises(DataError, match=r"made\.\S+ is truncated or corrupt"):
        archive({"a": b"one"}, spoil=lambda data: data[: len(data) // 2])


def test_a_link_in_a_tar_is_refused(tmp_path):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as made:
        info = tarfile.TarInfo("link")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        made.addfile(info)
    path = tmp_path / "link.tar.gz"
    path.write_bytes(buffer.getvalue())
    with pytest.raises(DataError, match="no regular file"):
        list(tar_members(path, most=100))
