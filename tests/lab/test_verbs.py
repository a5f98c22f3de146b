"""What each verb answers, and what it answers to words that it does not know."""

import subprocess
import sys

import pytest

from tenfold.lab import registry, verbs
from tenfold.lab.study import RUN_OPTIONS

pytestmark = pytest.mark.usefixtures("tiny")

VERBS = ("list", "run", "resume", "report", "cite", "data")


@pytest.mark.parametrize("words", ["", "--help", "-h"])
def test_help_names_every_verb(command, words):
    said = command(*words.split())
    assert (said.code, said.err) == (0, "")
    assert all(f"  {verb} " in said.out for verb in VERBS)


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ("list --help", ["usage: tenfold list"]),
        ("run --help", ["usage: tenfold run STUDY|all [PRESET]"]),
        ("run tiny --help", ["--steps INT", "Steps of the training.", "--seeds", "--sabotage"]),
        ("run tiny paper --help", ["(default: 40)"]),
        ("run all --help", ["--seeds", "--workers"]),
        ("resume --help", ["usage: tenfold resume", "The run directory.", "--keep"]),
        ("report --help", ["usage: tenfold report", "--out"]),
        ("cite --help", ["usage: tenfold cite", "Names of studies"]),
        ("data --help", ["{list,fetch,check}"]),
    ],
)
def test_every_verb_has_help(command, words, names):
    """`run STUDY --help` lists the fields of the study's config with the preset's values."""
    said = command(*words.split())
    assert (said.code, said.err) == (0, "")
    assert [name for name in names if name not in said.out] == []


def test_the_version_is_that_of_the_package(command):
    import tenfold

    assert command("--version").out == f"tenfold {tenfold.__version__}\n"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("rnu", "unknown command 'rnu'; did you mean 'run'?"),
        ("--verson", "unknown command '--verson'; did you mean '--version'?"),
        ("list all", "list takes no arguments, got 'all'"),
        ("run", "run needs a study: "),
        ("run --steps 3", "run needs a study: "),
        ("run tny", "unknown study 'tny'; did you mean 'tiny'?"),
        ("run al", "unknown study 'al'; did you mean 'all'?"),
        ("run tiny smal", "unknown preset of tiny 'smal'; did you mean 'small'?"),
        ("run all smal", "unknown preset of "),
        ("run tiny --step 3", "unknown option of run tiny small '--step'; did you mean '--steps'?"),
        ("run all --steps 3", "unknown option of run all '--steps'; "),
        ("run tiny --steps x", "run tiny small: Error parsing --steps: "),
        (
            "run tiny --trouble nan2",
            "run tiny small: invalid choice 'nan2' for argument '--trouble'.",
        ),
        ("run tiny --seeds 0", "run: --seeds must be at least 1, got 0"),
        ("run tiny --seeds -2", "run: --seeds must be at least 1, got -2"),
        ("run tiny --workers 0", "run: --workers must be at least 1, got 0"),
        (
            "run tiny --checkpoint-seconds -1",
            "run: --checkpoint-seconds must be at least 0, got -1",
        ),
        (
            "run tiny --checkpoint-seconds nan",
            "run: --checkpoint-seconds must be at least 0, got n",
        ),
        ("run tiny --fresh --keep", "run: --fresh and --keep exclude each other"),
        ("run tiny --sabotage of", "unknown sabotage 'of'; known: switched-off"),
        ("resume", "resume: Missing from tenfold resume: PATH The run directory. (required)"),
        ("resume a b", "resume: Unrecognized options: b"),
        ("resume a --workers 0", "resume: --workers must be at least 1, got 0"),
        ("cite tny", "unknown study 'tny'; did you mean 'tiny'?"),
        ("data", "data: Missing from tenfold data: {list,fetch,check} action (required)"),
        ("data lst", "data: invalid choice 'lst' for argument 'action'. Expected one of "),
        ("data fetch", "data fetch needs a name: digits, mnist, "),
        ("data fetch mnst", "unknown data set 'mnst'; did you mean 'mnist'?"),
        ("data check digit", "unknown data set 'digit'; did you mean 'digits'?"),
    ],
)
def test_what_is_not_understood_is_one_line_with_the_nearest_name(command, words, says, tmp_path):
    """Exit code 2, no traceback, and nothing is written."""
    before = set(tmp_path.iterdir())
    said = command(*words.split())
    assert (said.code, said.out) == (2, "")
    assert said.line.startswith(f"tenfold: {says}")
    assert set(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("resume nowhere", "nowhere holds no run: config.json is missing"),
        ("report nowhere", "nowhere holds no run: config.json is missing"),
        ("report", "there is no finished run below runs; try: tenfold run all"),
        ("report --out else", "there is no finished run below else; try: tenfold run all"),
    ],
)
def test_a_run_that_is_not_there_is_one_line(command, words, says):
    said = command(*words.split())
    assert (said.code, said.line) == (1, f"tenfold: {says}")


def test_list_shows_the_studies_of_all_packages(command):
    lines = command("list").out.splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("taylor       learned dynamics"))
    assert "https://arxiv.org/abs/2007.04504" in lines[at + 1]
    assert "tiny         (from another package)" in lines


def test_cite_gives_the_entries_in_order(command):
    """Of strangers' studies too; of tenfold's own papers when none is named."""
    everything, own = command("cite").out, command("cite", "taylor").out
    each = [command("cite", name).out for name in registry.names() if name != "tiny"]
    assert everything == "\n".join(each)
    assert own.startswith("@inproceedings{kelly2020easynode,")
    assert command("cite", "tiny", "taylor").out == f"@x\n\n{own}"


def test_data_lists_what_there_is_and_where(command):
    lines = command("data", "list").out.splitlines()
    assert lines[0].split()[:2] == ["digits", "installed"]
    assert {line.split()[0] for line in lines} >= {"digits", "mnist", "cifar10", "densities"}


def test_data_without_files_of_its_own_has_nothing_to_check_or_fetch(command):
    assert command("data", "check", "digits").out.startswith("no files to check")
    said = command("data", "fetch", "digits")
    assert said.code == 0
    assert "digits: ready in " in said.out


def test_no_field_of_a_config_may_be_named_like_an_option_of_the_command():
    """`Study` refuses the names in this list, which must be that of the options."""
    import dataclasses

    assert {field.name for field in dataclasses.fields(verbs.RunOptions)} == RUN_OPTIONS


CHECK = """
import sys
sys.argv = ["tenfold", *sys.argv[1:]]
from tenfold.lab import cli
try:
    cli.main()
except SystemExit as stop:
    assert not stop.code, stop.code
heavy = [m for m in ("jax", "matplotlib", "orbax", "sklearn", "numpy") if m in sys.modules]
print("imported:", *heavy)
"""


@pytest.mark.parametrize(
    "words",
    [
        "list",
        "--help",
        "run --help",
        "resume --help",
        "report --help",
        "cite",
        "data --help",
        "graphs",
        "graphs fit --help",
        "graphs sample --help",
    ],
)
def test_quick_answers_import_nothing_heavy(words):
    """So that they come in a fraction of a second."""
    line = [sys.executable, "-c", CHECK, *words.split()]
    said = subprocess.run(line, capture_output=True, text=True, check=False, timeout=60)
    assert said.returncode == 0, said.stderr
    assert said.stdout.splitlines()[-1] == "imported:"
