"""The command: what is wrong is one line with the nearest right name, and no traceback."""

import subprocess
import sys

import pytest

USAGE = [
    (("run", "tayler"), "unknown study 'tayler'; did you mean 'taylor'?"),
    (("run", "taylor", "smal"), "did you mean 'small'?"),
    (("run", "taylor", "small", "--hiden", "3"), "did you mean '--hidden'?"),
    (("run", "taylor", "small", "--steps", "many"), "steps"),
    (("run", "taylor", "small", "--seeds", "0"), "--seeds must be at least 1"),
    (("run", "taylor", "small", "--sabotage", "weight"), "did you mean 'weight-0'?"),
    (("run", "taylor", "small", "--fresh", "--keep"), "exclude each other"),
    (("run",), "run needs a study"),
    (("rum", "taylor"), "did you mean 'run'?"),
    (("list", "all"), "takes no arguments"),
    (("cite", "tailor"), "did you mean 'taylor'?"),
    (("data", "fetch"), "needs a name"),
    (("data", "fetch", "mnits"), "did you mean 'mnist'?"),
    (("data", "eat"), "data"),
]


@pytest.mark.parametrize(("words", "says"), USAGE, ids=[" ".join(words) for words, _ in USAGE])
def test_a_mistake_is_one_line_and_exit_code_two(command, words, says):
    said = command(*words)
    assert said.code == 2
    assert says in said.line


def test_a_folder_without_a_run_is_named(command, tmp_path):
    said = command("resume", tmp_path / "nothing")
    assert said.code == 1
    assert "nothing" in said.line


@pytest.mark.parametrize("verb", ["run", "resume", "report", "cite", "data"])
def test_every_verb_explains_itself(command, verb):
    said = command(verb, "--help")
    assert said.code == 0
    assert verb in said.out


def test_list_and_cite_name_the_paper(command):
    assert "2007.04504" in command("list").out
    assert "@inproceedings{kelly2020easynode" in command("cite", "taylor").out


@pytest.mark.parametrize(
    "code",
    [
        "import tenfold",
        "from tenfold.lab.cli import main\ntry: main(['list'])\nexcept SystemExit: pass",
        "from tenfold.lab.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass",
    ],
    ids=["import", "list", "help"],
)
def test_what_must_be_quick_imports_no_jax(code):
    check = f"{code}\nimport sys\nassert 'jax' not in sys.modules, 'jax was imported'"
    subprocess.run([sys.executable, "-c", check], check=True, capture_output=True, timeout=60)


def test_a_folder_that_cannot_be_written_is_one_line(command, tmp_path):
    """Below a regular file nothing can be made, whoever asks."""
    (tmp_path / "file").write_text("")
    said = command("run", "taylor", "smoke", "--out", tmp_path / "file" / "runs")
    assert said.code == 1
    assert "file" in said.line
