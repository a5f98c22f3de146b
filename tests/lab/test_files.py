"""Files are whole or absent, also when the disk is full or the process dies."""

import errno
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tenfold.lab import files
from tenfold.lab.files import FileError


def full(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_what_is_written_is_read_back_bit_for_bit(tmp_path):
    value = {"x": 0.1 + 0.2, "tiny": 5e-324, "text": "dz/dt \u2264 \u03b5", "list": [1, None]}
    files.write_json(tmp_path / "new" / "a.json", value)
    assert files.read_json(tmp_path / "new" / "a.json") == value


def test_a_written_file_can_be_read_by_others(tmp_path):
    files.write_text_atomic(tmp_path / "report.html", "hello")
    assert stat.S_IMODE((tmp_path / "report.html").stat().st_mode) == 0o644


@pytest.mark.parametrize("call", ["fsync", "replace", "chmod"])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, call):
    """Disk full at any point of the write: the old content stays, the temporary file goes."""
    path = tmp_path / "a.json"
    files.write_json(path, "old")
    monkeypatch.setattr(os, call, full)
    with pytest.raises(FileError) as error:
        files.write_json(path, "new")
    assert str(error.value) == f"cannot write {path}: No space left on device"
    assert files.read_json(path) == "old"
    assert os.listdir(tmp_path) == ["a.json"]


def test_a_value_that_is_not_json_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.json"
    files.write_json(path, "old")
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_json(path, float("nan"))
    assert files.read_json(path) == "old"


def test_below_a_regular_file_nothing_can_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    path = tmp_path / "file" / "a.json"
    for write in (files.write_json, files.append_jsonl):
        with pytest.raises(FileError, match=f"cannot write {path}: "):
            write(path, {})


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "cannot read {path}: No such file or directory"),
        (b"{", "{path} is not valid JSON"),
        (b"", "{path} is not valid JSON"),
        (b"\xff\xfe", "{path} is not valid JSON"),
    ],
)
def test_json_that_cannot_be_read_is_one_line_with_its_path(tmp_path, content, says):
    path = tmp_path / "a.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(FileError) as error:
        files.read_json(path)
    assert str(error.value).startswith(says.format(path=path))
    assert "\n" not in str(error.value)


def test_a_folder_is_not_json(tmp_path):
    with pytest.raises(FileError, match="Is a directory"):
        files.read_json(tmp_path)


def test_records_come_back_in_order(tmp_path):
    path = tmp_path / "m.jsonl"
    for step in range(3):
        files.append_jsonl(path, {"step": step})
    assert [record["step"] for record in files.read_jsonl(path)] == [0, 1, 2]


def test_no_file_is_no_records(tmp_path):
    assert list(files.read_jsonl(tmp_path / "m.jsonl")) == []


@pytest.mark.parametrize("torn", ['{"step": 1', '{"step": 1, "lo', "{", "\x00\x00", "7", "\udcff"])
def test_a_torn_line_is_skipped_and_the_next_record_is_whole(tmp_path, torn):
    """A crash in the middle of a write costs that one record, never the following."""
    path = tmp_path / "m.jsonl"
    files.append_jsonl(path, {"step": 0})
    with path.open("ab") as file:
        file.write(torn.encode("utf-8", "surrogateescape"))
    assert list(files.read_jsonl(path)) == [{"step": 0}]
    files.append_jsonl(path, {"step": 2})
    assert list(files.read_jsonl(path)) == [{"step": 0}, {"step": 2}]


def test_a_cut_at_any_byte_leaves_the_earlier_records(tmp_path):
    path = tmp_path / "m.jsonl"
    for step in range(3):
        files.append_jsonl(path, {"step": step})
    whole = path.read_bytes()
    for length in range(len(whole) + 1):
        path.write_bytes(whole[:length])
        steps = [record["step"] for record in files.read_jsonl(path)]
        assert steps == list(range(len(steps)))
        assert len(steps) >= whole[:length].count(b"\n")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_appending_to_a_full_disk_is_one_line():
    with pytest.raises(FileError, match="cannot write /dev/full: No space left on device"):
        files.append_jsonl(Path("/dev/full"), {"step": 1})


WRITER = """
import sys
from pathlib import Path
from tenfold.lab.files import append_jsonl
for step in range(200):
    append_jsonl(Path(sys.argv[1]), {"who": sys.argv[2], "step": step, "pad": "x" * 200})
"""


def test_concurrent_writers_never_interleave(tmp_path):
    """Each record is one write in append mode, so lines of two processes stay whole."""
    path = tmp_path / "m.jsonl"
    words = [sys.executable, "-c", WRITER, str(path)]
    children = [subprocess.Popen([*words, name]) for name in ("a", "b")]
    assert [child.wait(timeout=60) for child in children] == [0, 0]
    lines = path.read_text().splitlines()
    assert len([json.loads(line) for line in lines if line]) == 400


def test_a_record_written_in_part_is_an_error(tmp_path, monkeypatch):
    """A disk that fills up in the middle of a line takes some bytes and says nothing."""

    class Almost:
        """A file that takes all but the last byte."""

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def seek(self, *_):
            return 0

        def write(self, line):
            return len(line) - 1

    monkeypatch.setattr("builtins.open", lambda *_, **__: Almost())
    with pytest.raises(FileError, match=r"m\.jsonl: No space left on device"):
        files.append_jsonl(tmp_path / "m.jsonl", {"step": 1})
