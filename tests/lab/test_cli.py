"""No traceback ever reaches the user of the command, whatever happens beneath it."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tenfold.lab import verbs
from tenfold.lab.files import FileError
from tenfold.lab.registry import UnknownName
from tenfold.lab.run import Stopped


def raising(error):
    def dispatch(arguments):
        raise error

    return dispatch


ERRORS = [
    (UnknownName("verb", "rnu", ["run"]), 2, "unknown verb 'rnu'; did you mean 'run'?"),
    (FileError("cannot write x:\n  no room"), 1, "cannot write x: no room"),
    (Stopped("loss became non-finite", 0), 1, "loss became non-finite; none was saved yet;"),
    (PermissionError(errno.EACCES, "Permission denied", "a/b"), 1, "Permission denied: a/b"),
    (OSError("odd"), 1, "odd"),
    (ModuleNotFoundError("no", name="torch"), 1, "the Python module torch is missing"),
]


@pytest.mark.parametrize(("error", "code", "says"), ERRORS, ids=lambda x: type(x).__name__)
def test_an_error_is_one_line(command, monkeypatch, error, code, says):
    """Exit code 2 for what was typed, 1 for what went wrong."""
    monkeypatch.setattr(verbs, "dispatch", raising(error))
    said = command("list")
    assert said.code == code
    assert said.line.startswith(f"tenfold: {says}")


def test_of_an_error_nobody_foresaw_the_details_are_kept_in_a_file(command, monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(verbs, "dispatch", raising(ZeroDivisionError("one\ntwo")))
    said = command("list")
    assert (said.code, said.line.split(";")[0]) == (
        1,
        "tenfold: unexpected ZeroDivisionError: one two",
    )
    log = Path(said.line.rsplit(" ", 1)[1])
    assert log.parent == tmp_path
    assert "in dispatch" in log.read_text()


def test_where_no_file_can_be_written_the_line_still_comes(command, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", "/nowhere/at/all")
    monkeypatch.setattr(verbs, "dispatch", raising(ZeroDivisionError("one")))
    assert command("list").line == "tenfold: unexpected ZeroDivisionError: one"


def test_ctrl_c_is_one_line(command, monkeypatch):
    monkeypatch.setattr(verbs, "dispatch", raising(KeyboardInterrupt()))
    said = command("list")
    assert (said.code, said.line) == (130, "tenfold: interrupted")


def test_a_reader_who_leaves_early_is_no_error():
    """`tenfold cite | head -1` ends quietly, also when the pipe is closed before the first word."""
    reader, writer = os.pipe()
    os.close(reader)
    words = [sys.executable, "-m", "tenfold", "cite"]
    done = subprocess.run(words, stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


WITHOUT = """
import sys
for name in sys.argv.pop(1).split(","):
    sys.modules[name] = None
import tenfold.taylor, tenfold.base, tenfold.nets
from tenfold.lab import cli
cli.main(sys.argv[1:])
"""


@pytest.mark.parametrize(
    ("absent", "packages"),
    [
        ("tyro", "tyro"),
        ("tyro,rich,matplotlib,orbax,sklearn,pooch",
         "tyro, rich, matplotlib, orbax-checkpoint, scikit-learn, pooch"),
    ],
    ids=["one", "all"],
)  # fmt: skip
def test_without_the_extra_the_library_works_and_the_command_says_what_to_install(absent, packages):
    """The methods import nothing of the lab."""
    words = [sys.executable, "-c", WITHOUT, absent, "list"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    says = f"tenfold: the command needs {packages}: pip install 'tenfold[lab]'\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", says)


@pytest.mark.parametrize("module", ["tenfold", "tenfold.lab.cli"])
def test_the_command_is_also_a_module(module):
    words = [sys.executable, "-m", module, "--version"]
    done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.startswith("tenfold ")
